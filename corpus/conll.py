"""CoNLL-2012, written and read: a line a token, the clusters as brackets in the last column.

What the format cannot carry: titles, pictures, labels, the order of the mentions inside a cluster (they come back by
position) and utterances without tokens.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .formats import ExportError, Record, document_name, split_document_name
from .records import Mention, brackets

COLUMNS = 12  # document, part, token number in its utterance, token, five unused, speaker, one unused, clusters
NOTHING = ("-", "_", "*")  # in the last column
_BEGIN = re.compile(r"#\s*begin document\s+\(?(.*?)\)?;?\s*(?:part\s+0*(\d+))?\s*$")
_END = re.compile(r"#\s*end document")
_PART = re.compile(r"(\()?(\d+)(\))?")


def conll_document(record: Record) -> str:
    """The lines of one dialogue, with its gold clusters.

    Parse and name columns hold `*`, as readers of OntoNotes expect, the other unused ones `-`. White space inside a
    token or speaker is written `\\u0020` (likewise for other characters), an empty one `\\empty`.

    Raises:
        ExportError: two mentions of one cluster that cross (neither holds the other): brackets cannot tell them apart.
    """
    name = _escape(document_name(record))
    column = iter(_cluster_column(record))
    lines = [f"#begin document ({name}); part 000\n"]
    for sentence, speakers in zip(record["sentences"], record["speaker_ids"], strict=True):
        for number, (token, speaker) in enumerate(zip(sentence, speakers, strict=True)):
            cells = (name, "0", str(number), _escape(token), *"-*---", _escape(speaker), "*", next(column))
            lines.append("\t".join(cells) + "\n")
        lines.append("\n")
    lines.append("#end document\n")
    return "".join(lines)


def read_conll(path: Path | str) -> Iterator[Record]:
    """Read a file: `doc_key`, `genre`, `part`, `clusters` of each document; with twelve columns and more also its
    `sentences` and `speaker_ids`. The official scorer's own files have fewer.

    Clusters come in the order of their numbers, mentions by position. A line ends at `\\n` only.

    Raises:
        ExportError: a line that is not of the format, naming file and line.
    """
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        try:
            yield from parse_conll((line.removesuffix("\n") for line in file), str(path))
        except UnicodeDecodeError as error:
            raise ExportError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error


def parse_conll(lines: Iterable[str], source: str) -> Iterator[Record]:
    """As `read_conll`, from lines; `source` is what errors call them."""
    placed = ((f"{source}:{number}", line) for number, line in enumerate(lines, start=1))
    for where, line in placed:
        if begin := _BEGIN.match(line.strip()):
            yield _read_document(begin[1], int(begin[2] or 0), placed, source)
        elif _END.match(line):
            raise ExportError(f"{where}: #end document without its #begin document")
        elif line.strip() and not line.startswith("#"):
            raise ExportError(f"{where}: text outside a document; expected '#begin document (name); part 000'")


def _read_document(escaped_name: str, part: int, placed: Iterable[tuple[str, str]], source: str) -> Record:
    """The document that has just begun; takes the lines that are left, each behind its place, up to its end."""
    name = _unescape(escaped_name)
    sentences: list[list[str]] = [[]]
    speakers: list[list[str]] = [[]]
    clusters: dict[int, list[list[int]]] = {}
    opened: dict[int, list[int]] = {}  # cluster -> starts of its open mentions, innermost last
    has_text, position = True, 0
    for where, line in placed:
        if _BEGIN.match(line.strip()):
            raise ExportError(f"{where}: a document begins before {name!r} has ended (#end document)")
        if _END.match(line):
            break
        cells = line.split("\t") if line.count("\t") >= COLUMNS - 1 else line.split()
        if not cells:
            sentences.append([])
            speakers.append([])
        elif not line.startswith("#") or cells[0] == escaped_name:  # else a comment
            has_text = has_text and len(cells) >= COLUMNS
            if has_text:
                sentences[-1].append(_unescape(cells[3]))
                speakers[-1].append(_unescape(cells[9]))
            column = cells[-1].strip()
            for cell in column.split("|") if column not in NOTHING else ():
                match = _PART.fullmatch(cell)
                if not match or not (match[1] or match[3]):
                    raise ExportError(f"{where}: {cell!r} in the last column, expected '(3', '3)', '(3)' or '-'")
                cluster = int(match[2])
                starts = opened.setdefault(cluster, [])
                if match[1]:
                    starts.append(position)
                if match[3]:
                    if not starts:
                        raise ExportError(f"{where}: a mention of cluster {cluster} closes that was never opened")
                    clusters.setdefault(cluster, []).append([starts.pop(), position])
            position += 1
    else:
        raise ExportError(f"{source}: document {name!r} does not end (#end document)")
    unclosed = sorted(cluster for cluster, starts in opened.items() if starts)
    if unclosed:
        raise ExportError(f"{where}: document {name!r} ends while a mention of cluster {unclosed[0]} is open")
    genre, doc_key = split_document_name(name)
    record: Record = {"doc_key": doc_key, "genre": genre, "part": part}
    if has_text:
        record["sentences"], record["speaker_ids"] = (list(filter(None, rows)) for rows in (sentences, speakers))
    return record | {"clusters": [sorted(mentions) for _, mentions in sorted(clusters.items())]}


def _cluster_column(record: Record) -> list[str]:
    """One cell a token: `(3` opens a mention of cluster 3, `3)` closes it, `(3)` is one token long, `-` is nothing."""
    opening, closing = brackets(record["clusters"], sum(len(sentence) for sentence in record["sentences"]))
    cells = []
    opened: dict[int, list[Mention]] = {}  # cluster -> its open mentions, innermost last
    for token, (opens, closes) in enumerate(zip(opening, closing, strict=True)):
        for mention in opens:
            opened.setdefault(mention.cluster, []).append(mention)
        for mention in closes:
            innermost = opened[mention.cluster].pop()
            if innermost != mention:
                first, second = sorted([list(mention[:2]), list(innermost[:2])])
                raise ExportError(
                    f"{record['doc_key']}: cluster {mention.cluster} holds the crossing mentions {first} and {second}, "
                    "which the brackets of CoNLL-2012 cannot tell apart; export as jsonlines instead"
                )
        parts = [f"({mention.cluster}{')' if mention.end == token else ''}" for mention in opens]
        parts += [f"{mention.cluster})" for mention in closes if mention.start < token]
        cells.append("|".join(parts) or "-")
    return cells


# White space separates columns, so it cannot stand in one. What looks like an escape is escaped itself.
_TO_ESCAPE = re.compile(r"\s|[\ud800-\udfff]|\\(?=u[0-9a-f]{4}|empty$)")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def _escape(text: str) -> str:
    if not text:
        return "\\empty"
    return _TO_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _unescape(text: str) -> str:
    if text == "\\empty":
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
