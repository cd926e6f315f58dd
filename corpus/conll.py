"""CoNLL-2012, written and read: a line a token, the clusters as brackets in the last column.

What the format cannot carry: titles, pictures, labels, the order of the mentions inside a cluster (they come back by
position) and utterances without tokens.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .brackets import brackets
from .formats import ExportError, Record, document_name, split_document_name

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
    document: _Document | None = None
    for number, line in enumerate(lines, start=1):
        where = f"{source}:{number}"
        if begin := _BEGIN.match(line.strip()):
            if document is not None:
                raise ExportError(f"{where}: a document begins before {document.name!r} has ended (#end document)")
            document = _Document(begin[1], int(begin[2] or 0))
        elif _END.match(line):
            if document is None:
                raise ExportError(f"{where}: #end document without its #begin document")
            yield document.finish(where)
            document = None
        elif document is not None:
            document.add_line(line, where)
        elif line.strip() and not line.startswith("#"):
            raise ExportError(f"{where}: text outside a document; expected '#begin document (name); part 000'")
    if document is not None:
        raise ExportError(f"{source}: document {document.name!r} does not end (#end document)")


class _Document:
    """A document being read, line by line."""

    def __init__(self, escaped_name: str, part: int) -> None:
        self.escaped_name, self.name, self.part = escaped_name, _unescape(escaped_name), part
        self.sentences: list[list[str]] = [[]]
        self.speakers: list[list[str]] = [[]]
        self.has_text = True
        self.clusters: dict[int, list[list[int]]] = {}
        self.open: dict[int, list[int]] = {}  # cluster -> starts of its open mentions, innermost last
        self.position = 0

    def add_line(self, line: str, where: str) -> None:
        cells = line.split("\t") if line.count("\t") >= COLUMNS - 1 else line.split()
        if not cells:
            self.sentences.append([])
            self.speakers.append([])
        elif not line.startswith("#") or cells[0] == self.escaped_name:  # else a comment
            if len(cells) < COLUMNS:
                self.has_text = False
            else:
                self.sentences[-1].append(_unescape(cells[3]))
                self.speakers[-1].append(_unescape(cells[9]))
            self._add_mentions(cells[-1].strip(), where)
            self.position += 1

    def _add_mentions(self, cell: str, where: str) -> None:
        for part in cell.split("|") if cell not in NOTHING else ():
            match = _PART.fullmatch(part)
            if not match or not (match[1] or match[3]):
                raise ExportError(f"{where}: {part!r} in the last column, expected '(3', '3)', '(3)' or '-'")
            cluster = int(match[2])
            if match[1]:
                self.open.setdefault(cluster, []).append(self.position)
            if match[3]:
                if not self.open.get(cluster):
                    raise ExportError(f"{where}: a mention of cluster {cluster} closes that was never opened")
                self.clusters.setdefault(cluster, []).append([self.open[cluster].pop(), self.position])

    def finish(self, where: str) -> Record:
        unclosed = sorted(cluster for cluster, starts in self.open.items() if starts)
        if unclosed:
            raise ExportError(f"{where}: document {self.name!r} ends while a mention of cluster {unclosed[0]} is open")
        genre, doc_key = split_document_name(self.name)
        record: Record = {"doc_key": doc_key, "genre": genre, "part": self.part}
        if self.has_text:
            record["sentences"] = [sentence for sentence in self.sentences if sentence]
            record["speaker_ids"] = [speakers for speakers in self.speakers if speakers]
        return record | {"clusters": [sorted(mentions) for _, mentions in sorted(self.clusters.items())]}


def _cluster_column(record: Record) -> list[str]:
    """One cell a token: `(3` opens a mention of cluster 3, `3)` closes it, `(3)` is one token long, `-` is nothing."""
    for number, cluster in enumerate(record["clusters"]):
        _refuse_crossing(record["doc_key"], number, cluster)
    opening, closing = brackets(record["clusters"], sum(len(sentence) for sentence in record["sentences"]))
    cells = []
    for token, (opened, closed) in enumerate(zip(opening, closing, strict=True)):
        parts = [f"({mention.cluster}{')' if mention.end == token else ''}" for mention in opened]
        parts += [f"{mention.cluster})" for mention in closed if mention.start < token]
        cells.append("|".join(parts) or "-")
    return cells


def _refuse_crossing(doc_key: str, number: int, cluster: list[list[int]]) -> None:
    open_mentions: list[list[int]] = []
    for mention in sorted(cluster, key=lambda mention: (mention[0], -mention[1])):
        while open_mentions and open_mentions[-1][1] < mention[0]:
            open_mentions.pop()
        if open_mentions and open_mentions[-1][1] < mention[1]:
            raise ExportError(
                f"{doc_key}: cluster {number} holds the crossing mentions {open_mentions[-1]} and {mention}, which the "
                "brackets of CoNLL-2012 cannot tell apart; export as jsonlines instead"
            )
        open_mentions.append(mention)


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
