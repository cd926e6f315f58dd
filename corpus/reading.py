"""Reading a corpus: canonical records for who loads it, every problem for who validates it.

Both rest on `Reader.judge`, the one reading of a line with the checks of `checks.py`. Splits and titles are held in
memory; annotations are read as they are asked for, whole or a split in blocks of lines (see `Corpus.survey`).
"""

import logging
import os
import pickle
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from .checks import check
from .files import CorpusFiles
from .lines import Decoded, Entry, decode, read_lines
from .names import SPLIT_NAMES, VIDEO_TYPES
from .pictures import Pictures
from .problems import Fault, Problem, Tally
from .records import Annotation, Record, SplitEntry, TitleEntry, canonical

logger = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, str]  # video type and split
BLOCK_SIZE = 1 << 21  # bytes of the annotation file: what one table is made of, whatever the size of the corpus


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
    for found in _read(files, pictures):
        if isinstance(found, Problem):
            tally.take([found])
            if problems is not None:
                problems.append(found)
        else:
            yield found
    if problems is None:
        tally.log()
    log_pictures(pictures)


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
    pictures = Pictures.open(frames_dir, regions_dir, require_images)
    pictures.missing = pictures.missing or "warning"
    return (found for found in _read(files, pictures) if isinstance(found, Problem))


def log_pictures(pictures: Pictures) -> None:
    """One line on the pictures found and missing, where there are folders of them."""
    if summary := pictures.summary():
        logger.log(logging.WARNING if pictures.n_missing else logging.INFO, "%s", summary)


class Heading(msgspec.Struct):
    """The part of an annotation that says where it belongs; the rest of the line is skipped, which is quick."""

    doc_key: str


class PicturePaths(msgspec.Struct):
    """The part of a box that names its pictures."""

    cur_frame_path: str
    region_image_path: str


class PicturedHeading(Heading):
    """A heading that also says which pictures the dialogue has."""

    visual_annotations: list[PicturePaths]


class Compact:
    """`datasets` hands arguments to processes by dill, which is slow over containers; bytes go through as they are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (type(self), pickle.dumps(tuple(vars(self).values())))


def _unpack(kind: type, content: bytes) -> Any:
    return kind(*pickle.loads(content))


@dataclass
class Block(Compact):
    """Lines of one split that stand near one another: each with its number, offset, length, place and title."""

    lines: list[tuple[int, int, int, Place, str | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Reader(Compact):
    """What it takes to read a line of the annotation file whose place and title are known."""

    files: CorpusFiles
    pictures: Pictures

    def judge(
        self, number: int, decoded: Decoded, place: Place | None, title: str | None, with_pictures: bool = True
    ) -> tuple[Record | None, list[Problem]]:
        """The canonical record of a line (None where it has an error), and its problems."""
        annotation, doc_key, faults = decoded
        record = None
        if annotation is not None:
            faults += check(annotation)
            if place is not None and not (faults and _has_error(faults)):
                if title is None:
                    message = f"no title in {self.files.titles}: the title is left empty"
                    faults.append(Fault("warning", "doc_key", message))
                record = canonical(annotation, *place, title)
                if with_pictures:
                    self.pictures.fill_in(record["visual_annotations"], annotation.doc_key, faults)
        if not faults:
            return record, []
        problems = [fault.at(self.files.annotations, number, doc_key) for fault in faults]
        return None if _has_error(faults) else record, problems

    def read_block(self, block: Block, tally: Tally) -> list[Record]:
        """The records of a block, in order. Raises: CorpusError."""
        (_, first, *_), (_, last, length, *_) = block.lines[0], block.lines[-1]
        with open(self.files.annotations, "rb") as file:
            file.seek(first)
            content = file.read(last + length - first)
        records = []
        for number, start, length, place, title in block.lines:
            raw = content[start - first : start - first + length]
            record, problems = self.judge(number, decode(raw, Annotation), place, title)
            tally.take(problems)
            records += [record] if record is not None else []
        return records


@dataclass(frozen=True)
class Corpus(Reader):
    """What it takes to read any line of the annotation file."""

    places: dict[str, Place]  # by doc_key, as the split file says
    titles: dict[str, str]

    @classmethod
    def open(cls, files: CorpusFiles, pictures: Pictures) -> tuple["Corpus", list[Problem]]:
        """Read splits and titles; the problems are those of the two files."""
        problems: list[Problem] = []
        places = _read_splits(files.splits, problems)
        return cls(files, pictures, places, _read_titles(files.titles, problems)), problems

    def examine(
        self, number: int, raw: bytes, seen: dict[str, int], with_pictures: bool = True
    ) -> tuple[Record | None, list[Problem]]:
        """The canonical record of a line (None where it has an error), and its problems.

        `seen`: the lines of the doc_keys met before; this one is added.
        """
        decoded = _, doc_key, faults = decode(raw, Annotation)
        if doc_key is None:
            return self.judge(number, decoded, None, None)
        place = self.places.get(doc_key)
        first = seen.setdefault(doc_key, number)
        if first != number:
            faults.append(Fault("error", "doc_key", f"duplicate: line {first} has the same doc_key"))
        if place is None:
            faults.append(Fault("error", "doc_key", f"not in the split file {self.files.splits}"))
        return self.judge(number, decoded, place, self.titles.get(doc_key), with_pictures)

    def unannotated(self, seen: Collection[str]) -> list[Problem]:
        """The warning that an annotation file is shorter than its split file says; none where it is whole."""
        missing = [doc_key for doc_key in self.places if doc_key not in seen]
        if not missing:
            return []
        message = f"the first of {len(missing):,} dialogues that {self.files.annotations} lacks: is it cut short?"
        return [Problem("warning", str(self.files.splits), None, missing[0], "video_id", message)]

    def survey(self, splits: dict[Place, str], check_others: bool, tally: Tally) -> dict[str, list[Block]]:
        """One quick pass over the annotation file: the lines of each split, in blocks.

        What needs the whole file is checked here: that no doc_key stands twice, that each has its place and none is
        missing. The records of places that are in no split, which nobody will read later, are checked too if asked.
        Raises: CorpusError.
        """
        read_heading = msgspec.json.Decoder(PicturedHeading if self.pictures.folders else Heading).decode
        path, seen = self.files.annotations, dict[str, int]()
        blocks: dict[str, dict[int, Block]] = {split: {} for split in splits.values()}  # by number in the file
        heading: Heading | None
        number = 0
        for number, start, raw in read_lines(path):
            try:
                heading = read_heading(raw)
                doc_key = heading.doc_key
                place = self.places.get(doc_key)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                heading = place = None  # examining says why
            split = None if place is None else splits.get(place)
            if heading is None or place is None or doc_key in seen or (check_others and split is None):
                tally.take(self.examine(number, raw, seen, with_pictures=False)[1])
            if heading is None or place is None:
                continue
            seen[doc_key] = number
            if split is None:
                continue
            if isinstance(heading, PicturedHeading):
                self.pictures.count(heading.visual_annotations, doc_key)
            index = start // BLOCK_SIZE
            block = blocks[split].get(index) or blocks[split].setdefault(index, Block())
            block.lines.append((number, start, len(raw), place, self.titles.get(doc_key)))
        tally.take(self.unannotated(seen) if number else [_empty(path)])
        return {split: list(found.values()) for split, found in blocks.items() if found}


def _read(files: CorpusFiles, pictures: Pictures) -> Iterator[Record | Problem]:
    """All records, and all problems, as they are met."""
    corpus, problems = Corpus.open(files, pictures)
    yield from problems
    seen: dict[str, int] = {}
    number = 0
    for number, _, raw in read_lines(files.annotations):
        record, problems = corpus.examine(number, raw, seen)
        yield from problems
        if record is not None:
            yield record
    yield from corpus.unannotated(seen) if number else [_empty(files.annotations)]


def _read_splits(path: Path, problems: list[Problem]) -> dict[str, Place]:
    """doc_key -> (video type, split)."""
    known = {(kind, name): (kind, split) for kind in VIDEO_TYPES for name, split in SPLIT_NAMES.items()}
    places: dict[str, Place] = {}
    for number, entry in _read_entries(path, SplitEntry, places, problems):
        kind, name = str(entry.video_type), str(entry.split)
        place = known.get((kind, name))
        for field_name, options in () if place else (("video_type", VIDEO_TYPES), ("split", tuple(SPLIT_NAMES))):
            if (value := getattr(entry, field_name)) not in options:
                message = f"unknown {field_name.replace('_', ' ')} {value!r}, expected one of {', '.join(options)}"
                problems.append(Problem("error", str(path), number, entry.video_id, field_name, message))
        # One that is unknown was reported here, once; the dialogue itself does stand in the file.
        places.setdefault(entry.video_id, place or (kind, name))
    return places


def _read_titles(path: Path, problems: list[Problem]) -> dict[str, str]:
    """doc_key -> title."""
    titles: dict[str, str] = {}
    for number, entry in _read_entries(path, TitleEntry, titles, problems):
        if isinstance(entry.title, str):
            titles.setdefault(entry.video_id, entry.title)
        else:
            message = f"found {entry.title!r}, expected a text"
            problems.append(Problem("error", str(path), number, entry.video_id, "title", message))
    return titles


def _read_entries(
    path: Path, kind: type[Entry], known: Collection[str], problems: list[Problem]
) -> Iterator[tuple[int, Entry]]:
    """Number and struct of each line; `known`: the keys that the caller has taken in so far."""
    number = 0
    for number, _, raw in read_lines(path):
        entry, key, faults = decode(raw, kind)
        if faults:
            problems.extend(fault.at(path, number, key) for fault in faults)
        if entry is None:
            continue
        if key in known:
            message = "duplicate: an earlier line has the same video_id"
            problems.append(Problem("error", str(path), number, key, "video_id", message))
        yield number, entry
    if not number:
        problems.append(_empty(path))


def _has_error(faults: list[Fault]) -> bool:
    return any(fault.severity == "error" for fault in faults)


def _empty(path: Path) -> Problem:
    return Problem("error", str(path), None, None, None, "the file is empty, expected one JSON object a line")
