"""Other people's formats: CoNLL-2012, the jsonlines of the e2e-coref family, and Chinese-CLIP's tsv + jsonl.

The first two are read back too. They carry `doc_key` and genre, the tokens with their utterances and speakers, and the
clusters. What they cannot carry: titles, pictures, labels; CoNLL-2012 also loses the order of the mentions inside a
cluster (it comes back by position) and utterances without tokens.

Names of documents follow OntoNotes, where the first letters are the genre: `wb/6967261753985993991`, part 0, which
the jsonlines call `wb/6967261753985993991_0`. So the official scorer, fed with a CoNLL-2012 key and the predictions of
an e2e-coref model, finds the same documents on both sides.
"""

import base64
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tiktalkcoref.files.atomic import atomic_file, atomic_folder

from .names import NO_LABELS, SPLITS
from .records import mention_text, tokens_of

Record = dict[str, Any]

# Files of the Chinese-CLIP format call the validation split so.
CLIP_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
CLIP_FILES = [
    f"{split}_{name}" for split in CLIP_SPLITS.values() for name in ("imgs.tsv", "texts.jsonl", "regions.jsonl")
]


class ExportError(ValueError):
    """A record that the format cannot carry, or a file that is not of the format."""


# CoNLL-2012


def write_conll(records: Iterable[Record], path: Path | str) -> int:
    """Write records as one CoNLL-2012 file with gold clusters; returns their number.

    Twelve columns (document, part, token number in its utterance, token, five unused, speaker, one unused, clusters);
    parse and name columns hold `*`, as readers of OntoNotes expect, the other unused ones `-`. White space inside a
    token or speaker is written `\\u0020` (likewise for other characters), an empty one `\\empty`.

    Raises:
        ExportError: two mentions of one cluster that cross (neither holds the other): brackets cannot tell them apart.
    """
    return _write((conll_document(record) for record in records), path)


def read_conll(path: Path | str) -> Iterator[Record]:
    """Read a CoNLL-2012 file: `doc_key`, `genre`, `part`, `sentences`, `speaker_ids`, `clusters` of each document.

    Clusters come in the order of their numbers, mentions by position.

    Raises:
        ExportError: a line that is not of the format, naming file and line.
    """
    return parse_conll(_lines(path), str(path))


def parse_conll(lines: Iterable[str], source: str) -> Iterator[Record]:
    """As `read_conll`, from lines; `source` is what errors call them."""
    document: _ConllDocument | None = None
    for number, line in enumerate(lines, start=1):
        where = f"{source}:{number}"
        if begin := re.match(r"#begin document \((.*)\); part (\d+)\s*$", line):
            if document is not None:
                raise ExportError(f"{where}: a document begins before the last one has ended")
            document = _ConllDocument(_unescape(begin[1]), int(begin[2]))
        elif line.startswith("#end document"):
            if document is None:
                raise ExportError(f"{where}: #end document without its #begin document")
            yield document.finish(where)
            document = None
        elif document is not None:
            document.add_line(line, where)
        elif line.strip() and not line.startswith("#"):
            raise ExportError(f"{where}: text outside a document; '#begin document (name); part 000' was expected")
    if document is not None:
        raise ExportError(f"{source}: ends inside document {document.name!r}; '#end document' was expected")


def conll_document(record: Record) -> str:
    """The lines of one document, see `write_conll`."""
    name = document_name(record)
    column = _cluster_column(record)
    lines = [f"#begin document ({_escape(name)}); part 000\n"]
    position = 0
    for sentence, speakers in zip(record["sentences"], record["speaker_ids"], strict=True):
        for number, (token, speaker) in enumerate(zip(sentence, speakers, strict=True)):
            cells = [
                _escape(name), "0", str(number), _escape(token), "-", "*", "-", "-", "-", _escape(speaker), "*",
                column[position],
            ]  # fmt: skip
            lines.append("\t".join(cells) + "\n")
            position += 1
        lines.append("\n")
    lines.append("#end document\n")
    return "".join(lines)


def _cluster_column(record: Record) -> list[str]:
    """One cell a token: `(3` opens a mention of cluster 3, `3)` closes it, `(3)` is one token long, `-` is nothing."""
    total = sum(len(sentence) for sentence in record["sentences"])
    opening: list[list[tuple[int, int]]] = [[] for _ in range(total)]
    closing: list[list[tuple[int, int]]] = [[] for _ in range(total)]
    single: list[list[int]] = [[] for _ in range(total)]
    for number, cluster in enumerate(record["clusters"]):
        _refuse_crossing(record["doc_key"], number, cluster)
        for start, end in cluster:
            if start == end:
                single[start].append(number)
            else:
                opening[start].append((-end, number))  # the longest opens first
                closing[end].append((-start, number))  # the shortest closes first
    cells = []
    for token in range(total):
        parts = [f"({number}" for _, number in sorted(opening[token])]
        parts += [f"({number})" for number in single[token]]
        parts += [f"{number})" for _, number in sorted(closing[token])]
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


class _ConllDocument:
    """A document being read, line by line."""

    def __init__(self, name: str, part: int) -> None:
        self.name, self.part = name, part
        self.sentences: list[list[str]] = []
        self.speakers: list[list[str]] = []
        self.clusters: dict[int, list[list[int]]] = {}
        self.open: dict[int, list[int]] = {}  # cluster -> starts of its open mentions, innermost last
        self.position = 0
        self.in_sentence = False

    def add_line(self, line: str, where: str) -> None:
        cells = line.split()
        if not cells:
            self.in_sentence = False
            return
        if len(cells) < 12:
            raise ExportError(f"{where}: {len(cells)} columns; at least 12 were expected (the format is CoNLL-2012)")
        if not self.in_sentence:
            self.sentences.append([])
            self.speakers.append([])
            self.in_sentence = True
        self.sentences[-1].append(_unescape(cells[3]))
        self.speakers[-1].append(_unescape(cells[9]))
        self._add_mentions(cells[-1], where)
        self.position += 1

    def _add_mentions(self, cell: str, where: str) -> None:
        if cell == "-":
            return
        for part in cell.split("|"):
            match = re.fullmatch(r"(\()?(\d+)(\))?", part)
            if not match or not (match[1] or match[3]):
                raise ExportError(f"{where}: {part!r} in the last column; '(3', '3)', '(3)' or '-' was expected")
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
        return {
            "doc_key": doc_key,
            "genre": genre,
            "part": self.part,
            "sentences": self.sentences,
            "speaker_ids": self.speakers,
            "clusters": [sorted(mentions) for _, mentions in sorted(self.clusters.items())],
        }


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


# The jsonlines of e2e-coref and its successors


def write_jsonlines(records: Iterable[Record], path: Path | str) -> int:
    """Write records as the jsonlines that e2e-coref and its successors train on; returns their number.

    Keys: `doc_key`, `sentences`, `speakers` (one list an utterance), `clusters` (inclusive token offsets), and flat
    `sentence_map` and `subtoken_map` (one number a token) for the readers that want them.
    """
    return _write((jsonlines_line(record) for record in records), path)


def read_jsonlines(path: Path | str) -> Iterator[Record]:
    """Read such jsonlines: the keys of `read_conll`, and `sentence_map`, `subtoken_map` where there are any.

    Raises:
        ExportError: broken JSON, or a key that is missing or of another shape, naming file and line.
    """
    return parse_jsonlines(_lines(path), str(path))


def jsonlines_line(record: Record) -> str:
    """The line of one dialogue, see `write_jsonlines`."""
    return _json_line(
        {
            "doc_key": f"{document_name(record)}_0",
            "sentences": record["sentences"],
            "speakers": record["speaker_ids"],
            "clusters": record["clusters"],
            "sentence_map": [number for numbers in record["sentence_map"] for number in numbers],
            "subtoken_map": [number for numbers in record["subtoken_map"] for number in numbers],
        }
    )


def parse_jsonlines(lines: Iterable[str], source: str) -> Iterator[Record]:
    """As `read_jsonlines`, from lines; `source` is what errors call them."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse_jsonlines_line(line, f"{source}:{number}")


def _parse_jsonlines_line(line: str, where: str) -> Record:
    try:
        example = json.loads(line)
    except ValueError as error:
        raise ExportError(f"{where}: broken JSON ({error})") from error
    if not isinstance(example, dict):
        raise ExportError(f"{where}: a JSON object was expected, found {type(example).__name__}")
    for key, kind in (("doc_key", str), ("sentences", list), ("speakers", list), ("clusters", list)):
        if not isinstance(example.get(key), kind):
            found = type(example[key]).__name__ if key in example else f"the keys {', '.join(example)}"
            raise ExportError(f"{where}: {key} of type {kind.__name__} was expected, found {found}")
    numbered = re.fullmatch(r"(.*)_([0-9]+)", example["doc_key"], re.DOTALL)
    name, part = (numbered[1], numbered[2]) if numbered else (example["doc_key"], "0")
    genre, doc_key = split_document_name(name)
    lengths = [len(sentence) for sentence in example["sentences"]]
    if [len(speakers) for speakers in example["speakers"]] != lengths:
        raise ExportError(f"{where}: {doc_key}: sentences and speakers have different lengths")
    record = {
        "doc_key": doc_key,
        "genre": genre,
        "part": int(part),
        "sentences": example["sentences"],
        "speaker_ids": example["speakers"],
        "clusters": example["clusters"],
    }
    for key in ("sentence_map", "subtoken_map"):
        if key in example:
            record[key] = _unflatten(example[key], lengths, f"{where}: {doc_key}: {key}")
    return record


def _unflatten(numbers: list[int], lengths: list[int], where: str) -> list[list[int]]:
    if len(numbers) != sum(lengths):
        raise ExportError(f"{where} has {len(numbers)} entries for {sum(lengths)} tokens")
    rest = iter(numbers)
    return [[next(rest) for _ in range(length)] for length in lengths]


# Chinese-CLIP


class ChineseClipWriter:
    """Writes records, split by split, as Chinese-CLIP reads them; a context manager.

    `<split>_imgs.tsv` has a line for each head region (number, tab, base64 of the picture file): those of no cluster
    too, as distractors. `<split>_texts.jsonl` has a line for each cluster that has a region: `text_id`, `text`,
    `image_ids`, and for those who want to go back `doc_key` and `cluster` (its number). `<split>_regions.jsonl` says
    which region each picture is. A region without a picture of its own is cut out of its frame, or left out.
    `counts` holds the lines written to each file.
    """

    def __init__(self, folder: Path) -> None:
        self.counts: dict[str, int] = {}
        self._images = self._texts = 0
        self._stack = contextlib.ExitStack()
        self._files: dict[str, IO[str]] = {}
        for name in CLIP_FILES:
            self.counts[name] = 0
            file = open(folder / name, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 (the stack closes it)
            self._files[name] = self._stack.enter_context(file)

    def __enter__(self) -> "ChineseClipWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, record: Record) -> None:
        """Write the regions of a record that have a picture, and the clusters that have such a region."""
        prefix = CLIP_SPLITS[record["split"]]
        pictures: dict[str, list[int]] = {}  # label -> numbers of its pictures
        for box_number, box in enumerate(record["visual_annotations"]):
            picture = region_bytes(box)
            if picture is None:
                continue
            label = box["box_labels"]
            pictures.setdefault(label, []).append(self._images)
            self._line(f"{prefix}_imgs.tsv", f"{self._images}\t{base64.b64encode(picture).decode('ascii')}\n")
            region = {"image_id": self._images, "doc_key": record["doc_key"], "box": box_number, "label": label}
            self._line(f"{prefix}_regions.jsonl", _json_line(region))
            self._images += 1
        for number, label in enumerate(record["entity_labels"]):
            if label in pictures and label not in NO_LABELS:
                text = {"text_id": self._texts, "text": query_text(record, number), "image_ids": pictures[label]}
                text |= {"doc_key": record["doc_key"], "cluster": number}
                self._line(f"{prefix}_texts.jsonl", _json_line(text))
                self._texts += 1

    def _line(self, name: str, line: str) -> None:
        self._files[name].write(line)
        self.counts[name] += 1


def query_text(record: Record, cluster: int) -> str:
    """What a cluster is looked for by: its different mentions in order, then the dialogue they were said in."""
    tokens = tokens_of(record)
    mentions = dict.fromkeys(mention_text(tokens, mention) for mention in sorted(record["clusters"][cluster]))
    return f"{'、'.join(mentions)}：{'，'.join(''.join(sentence) for sentence in record['sentences'])}"


def region_bytes(box: dict[str, Any]) -> bytes | None:
    """The picture file of a head region: its own, else the box cut out of the frame, else None.

    A picture is a path or the `{"bytes": ..., "path": ...}` of an undecoded `Image` column.
    """
    if box.get("region") is not None:
        return _picture_bytes(box["region"])
    if box.get("frame") is None:
        return None
    from PIL import Image

    with Image.open(io.BytesIO(_picture_bytes(box["frame"]))) as frame:
        cut = frame.convert("RGB").crop(tuple(box["bbox"]))
    buffer = io.BytesIO()
    cut.save(buffer, format="PNG")
    return buffer.getvalue()


def _picture_bytes(picture: Any) -> bytes:
    if isinstance(picture, dict):
        if picture.get("bytes") is not None:
            return picture["bytes"]
        picture = picture["path"]
    return Path(picture).read_bytes()


# All splits


FORMATS = ("conll", "jsonlines", "chinese-clip")


def export(records: Iterable[Record], output_dir: Path | str, file_format: str) -> dict[str, int]:
    """Write every split of the records in one of `FORMATS`; returns the dialogues (Chinese-CLIP: lines) a file.

    Args:
        records: canonical records with their `split`, in one pass: they are not all held in memory.
        output_dir: becomes `<split>.conll` or `<split>.jsonlines`, or the files of `ChineseClipWriter`.

    Raises:
        ExportError: a record that the format cannot carry (each is read back at once and compared), or no picture at
            all for Chinese-CLIP.
        FileExistsError: `output_dir` holds other files than these.
    """
    if file_format == "chinese-clip":
        with atomic_folder(output_dir, owned=CLIP_FILES) as folder:
            with ChineseClipWriter(folder) as writer:
                for record in records:
                    writer.write(record)
            if not any(writer.counts.values()):
                raise ExportError(
                    "no head region has a picture, and Chinese-CLIP needs pictures: name the folders of the authors' "
                    "picture release with --regions-dir (their faces_all) or --frames-dir (their frames)"
                )
        return writer.counts
    if file_format == "conll":
        return _export_text(records, Path(output_dir), file_format, conll_document, parse_conll)
    if file_format == "jsonlines":
        return _export_text(records, Path(output_dir), file_format, jsonlines_line, parse_jsonlines)
    raise ExportError(f"unknown format {file_format!r}; one of {', '.join(FORMATS)} was expected")


def _export_text(
    records: Iterable[Record],
    output_dir: Path,
    suffix: str,
    to_text: Callable[[Record], str],
    parse: Callable[[Iterable[str], str], Iterator[Record]],
) -> dict[str, int]:
    names = {split: f"{split}.{suffix}" for split in SPLITS}
    counts = dict.fromkeys(names.values(), 0)
    with atomic_folder(output_dir, owned=list(names.values())) as folder, contextlib.ExitStack() as stack:
        files = {
            split: stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n"))
            for split, name in names.items()
        }
        for record in records:
            text = to_text(record)
            _compare(record, list(parse(text.split("\n"), f"{record['doc_key']} as {suffix}")), suffix)
            files[record["split"]].write(text)
            counts[names[record["split"]]] += 1
    return counts


def _compare(record: Record, back: list[Record], file_format: str) -> None:
    """Refuse to write what would come back different from what it was, beyond what the format is known to lose."""
    if len(back) != 1:
        raise ExportError(f"{record['doc_key']}: comes back from {file_format} as {len(back)} dialogues")
    for key in back[0].keys() & record.keys():
        expected = record[key]
        if file_format == "conll":
            expected = _known_loss(key, expected)
        if back[0][key] != expected:
            raise ExportError(
                f"{record['doc_key']}: {file_format} does not carry {key} {expected}: it comes back as {back[0][key]}"
            )


def _known_loss(key: str, value: Any) -> Any:
    if key == "clusters":
        return [sorted(cluster) for cluster in value if cluster]
    if key in ("sentences", "speaker_ids"):
        return [tokens for tokens in value if tokens]
    return value


# Names and lines


def document_name(record: Record) -> str:
    """The OntoNotes-like name: `genre/doc_key`.

    Raises:
        ExportError: a genre with `/` in it, which could not be read back.
    """
    genre, doc_key = record["genre"], record["doc_key"]
    if "/" in genre:
        raise ExportError(f"{doc_key}: the genre {genre!r} has a '/', which separates genre and doc_key in exports")
    return f"{genre}/{doc_key}" if genre or "/" in doc_key else doc_key


def split_document_name(name: str) -> tuple[str, str]:
    """Genre and doc_key of such a name; without `/` the genre is empty."""
    genre, separator, doc_key = name.partition("/")
    return (genre, doc_key) if separator else ("", name)


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _write(texts: Iterable[str], path: Path | str) -> int:
    count = 0
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for text in texts:
            file.write(text)
            count += 1
    return count


def _lines(path: Path | str) -> Iterator[str]:
    """Lines of a UTF-8 file, ended by a line feed alone: odd line separators inside a token stay there."""
    with open(path, encoding="utf-8", newline="\n") as file:
        try:
            for line in file:
                yield line.removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ExportError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
