"""Reading a corpus: canonical records for who loads it, every problem for who validates it.

Splits and titles are held in memory; annotations are read as they are asked for, whole or a split in blocks of lines.
Either way `Corpus.lines` says where each line belongs and `Reader.read` makes a record of it, or says what is wrong.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from .checks import check
from .files import CorpusFiles
from .lines import DECODE_ERRORS, decode, read_lines
from .names import SPLIT_NAMES, VIDEO_TYPES
from .pictures import Pictures
from .problems import Fault, Problem, Tally, error, warning
from .records import Annotation, Key, Record, SplitEntry, TitleEntry, canonical

Place: TypeAlias = tuple[str, str]  # video type and split
Entry = TypeVar("Entry", SplitEntry, TitleEntry)
Value = TypeVar("Value")
BLOCK_SIZE = 1 << 21  # bytes of the annotation file: what one table is made of, whatever the size of the corpus
KNOWN_PLACES = {(kind, name): (kind, split) for kind in VIDEO_TYPES for name, split in SPLIT_NAMES.items()}
EMPTY = error(None, "the file is empty, expected one JSON object a line")


def read_corpus(
    files: CorpusFiles,
    *,
    strict: bool = False,
    problems: list[Problem] | None = None,
    frames_dir: str | os.PathLike | None = None,
    regions_dir: str | os.PathLike | None = None,
    require_images: bool = False,
) -> Iterator[Record]:
    """Canonical records, one a dialogue, in the order of the annotation file, read as they are asked for.

    Keys: those of the builder's `corpus_features`, with `video_type` as its name and `frame` and `region` as paths (or
    None), and `split` ("train", "validation" or "test"). Warnings are appended to `problems` where a list is given;
    else their number and the first of them are logged. Missing pictures are counted and logged.
    Raises: CorpusError at the first error (with `strict` at the first warning too), naming file, line, doc_key, field.
    """
    tally, pictures = Tally(strict), Pictures.open(frames_dir, regions_dir, require_images)
    for record, found in _read(files, pictures):
        tally.take(found)
        if problems is not None:
            problems += found
        if record is not None:
            yield record
    if problems is None:
        tally.log()
    pictures.log()


def find_problems(
    files: CorpusFiles,
    *,
    frames_dir: str | os.PathLike | None = None,
    regions_dir: str | os.PathLike | None = None,
    require_images: bool = False,
) -> Iterator[Problem]:
    """Every problem of the three files, errors and warnings, in the order in which they are met.

    A picture that is missing from a folder that is named is a warning, with `require_images` an error.
    """
    pictures = Pictures.open(frames_dir, regions_dir, require_images, missing="warning")
    return (problem for _, found in _read(files, pictures) for problem in found)


def _read(files: CorpusFiles, pictures: Pictures) -> Iterator[tuple[Record | None, list[Problem]]]:
    """Each line's record, None where it has an error, and problems; those of whole files without a record."""
    corpus, problems = Corpus.open(files, pictures)
    yield None, problems
    for line, raw in corpus.lines(problems := []):
        yield corpus.read(line, raw)
    yield None, problems


class Line(NamedTuple):
    """Where a line of the annotation file lies, and where its dialogue belongs, as far as that is known."""

    number: int  # from 1
    start: int  # byte offset
    length: int
    place: Place | None
    title: str | None
    faults: list[Fault]


class Compact:
    """`datasets` hands arguments to processes by dill, which is slow over containers; bytes go through as they are."""

    def __getstate__(self) -> bytes:
        return pickle.dumps(vars(self))

    def __setstate__(self, state: bytes) -> None:
        vars(self).update(pickle.loads(state))


@dataclass
class Block(Compact):
    """Lines of one split that stand near one another."""

    lines: list[Line]


@dataclass(frozen=True)
class Reader(Compact):
    """What it takes to read a line of the annotation file whose place and title are known."""

    files: CorpusFiles
    pictures: Pictures

    def read(self, line: Line, raw: bytes) -> tuple[Record | None, list[Problem]]:
        """The canonical record of a line (None where it has an error), and its problems."""
        annotation, doc_key, faults = decode(raw, Annotation)
        faults += line.faults
        record = None
        if annotation is not None:
            faults += check(annotation)
            if line.place is not None and not (faults and _has_error(faults)):
                if line.title is None:
                    faults.append(warning("doc_key", f"no title in {self.files.titles}: the title is left empty"))
                record = canonical(annotation, *line.place, line.title)
                faults += self.pictures.fill_in(record["visual_annotations"], annotation.doc_key)
        if not faults:
            return record, []
        problems = [fault.at(self.files.annotations, line.number, doc_key) for fault in faults]
        return None if _has_error(faults) else record, problems

    def read_block(self, block: Block, tally: Tally) -> list[Record]:
        """The records of a block, in order. Raises: CorpusError."""
        records = []
        with open(self.files.annotations, "rb") as file:
            for line in block.lines:
                file.seek(line.start)
                record, problems = self.read(line, file.read(line.length))
                tally.take(problems)
                if record is not None:
                    records.append(record)
        return records


class Heading(msgspec.Struct):
    """The part of an annotation that says where it belongs; the rest of the line is skipped, which is quick."""

    doc_key: Key


@dataclass(frozen=True)
class Corpus(Reader):
    """What it takes to read any line of the annotation file."""

    places: dict[str, Place]  # by doc_key, as the split file says
    titles: dict[str, str | None]

    @classmethod
    def open(cls, files: CorpusFiles, pictures: Pictures) -> tuple["Corpus", list[Problem]]:
        """Read splits and titles; the problems are those of the two files."""
        problems: list[Problem] = []
        places = _read_table(files.splits, SplitEntry, _place_of, problems)
        titles = _read_table(files.titles, TitleEntry, _title_of, problems)
        return cls(files, pictures, places, titles), problems

    def lines(self, problems: list[Problem]) -> Iterator[tuple[Line, bytes]]:
        """Where each line lies and belongs, and its bytes.

        `problems` takes what the file as a whole has wrong, once it has been read: it is empty, or shorter than its
        split file says.
        """
        read_heading = msgspec.json.Decoder(Heading).decode
        path, number = self.files.annotations, 0
        seen: dict[str, int] = {}  # doc_key -> the first line that has it
        for number, start, raw in read_lines(path):
            try:
                doc_key: str | None = read_heading(raw).doc_key
            except DECODE_ERRORS:
                doc_key = decode(raw, Annotation)[1]
            place, title = None, None
            faults: list[Fault] = []
            if doc_key is not None:
                place, title = self.places.get(doc_key), self.titles.get(doc_key)
                first = seen.setdefault(doc_key, number)
                if first != number:
                    faults.append(error("doc_key", f"duplicate: line {first} has the same doc_key"))
                if place is None:
                    faults.append(error("doc_key", f"not in the split file {self.files.splits}"))
            yield Line(number, start, len(raw), place, title, faults), raw
        missing = [doc_key for doc_key in self.places if doc_key not in seen]
        if not number:
            problems.append(EMPTY.at(path))
        elif missing:
            message = f"the first of {len(missing):,} dialogues that {path} lacks: is it cut short?"
            problems.append(warning("video_id", message).at(self.files.splits, doc_key=missing[0]))

    def survey(self, splits: dict[Place, str], check_others: bool, tally: Tally) -> dict[str, list[Block]]:
        """One quick pass over the annotation file: the lines of each split, in blocks; their pictures are counted.

        What needs the whole file is checked here: that no doc_key stands twice, that each has its place and none is
        missing. The records of places that are in no split, which nobody will read later, are checked too if asked.
        Raises: CorpusError.
        """
        others = Reader(self.files, Pictures())
        blocks: dict[str, dict[int, list[Line]]] = {split: {} for split in splits.values()}  # by number in the file
        problems: list[Problem] = []
        for line, raw in self.lines(problems):
            split = None if line.place is None else splits.get(line.place)
            if line.faults or line.place is None or (split is None and check_others):
                tally.take(others.read(line, raw)[1])
            if split is None:
                continue
            blocks[split].setdefault(line.start // BLOCK_SIZE, []).append(line)
            if self.pictures.folders:
                annotation = decode(raw, Annotation)[0]
                if annotation is not None:
                    self.pictures.count(annotation.visual_annotations, annotation.doc_key)
        tally.take(problems)
        return {split: list(map(Block, found.values())) for split, found in blocks.items() if found}


def _read_table(
    path: Path, kind: type[Entry], value_of: Callable[[Entry, list[Fault]], Value], problems: list[Problem]
) -> dict[str, Value]:
    """doc_key -> the value of its line; `value_of` adds what is wrong with the entry to the faults."""
    table: dict[str, Value] = {}
    number = 0
    for number, _, raw in read_lines(path):
        entry, key, faults = decode(raw, kind)
        if entry is not None:
            if entry.video_id in table:
                faults.append(error("video_id", "duplicate: an earlier line has the same video_id"))
            table.setdefault(entry.video_id, value_of(entry, faults))
        if faults:
            problems += [fault.at(path, number, key) for fault in faults]
    if not number:
        problems.append(EMPTY.at(path))
    return table


def _place_of(entry: SplitEntry, faults: list[Fault]) -> Place:
    """An unknown place is reported here, once: the dialogue itself does stand in the file."""
    if (place := KNOWN_PLACES.get((str(entry.video_type), str(entry.split)))) is not None:
        return place
    for field, options in (("video_type", VIDEO_TYPES), ("split", tuple(SPLIT_NAMES))):
        if (value := getattr(entry, field)) not in options:
            message = f"unknown {field.replace('_', ' ')} {value!r}, expected one of {', '.join(options)}"
            faults.append(error(field, message))
    return str(entry.video_type), str(entry.split)


def _title_of(entry: TitleEntry, faults: list[Fault]) -> str | None:
    if isinstance(entry.title, str):
        return entry.title
    faults.append(error("title", f"found {entry.title!r}, expected a text"))
    return None


def _has_error(faults: list[Fault]) -> bool:
    return any(fault.severity == "error" for fault in faults)
