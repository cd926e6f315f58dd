"""Reading a corpus: canonical records for who loads it, every problem for who validates it.

Both rest on `Corpus.examine`, the one reading of a line with the checks of `checks.py`. Splits and titles are held in
memory; annotations are read as they are asked for, whole or in blocks of whole lines (see `Corpus.survey`).
"""

import logging
import os
import pickle
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from .checks import check
from .files import CorpusFiles
from .lines import Line, decode, read_lines
from .names import SPLIT_NAMES, VIDEO_TYPES
from .pictures import Pictures
from .problems import Fault, Problem, Tally
from .records import Annotation, Record, SplitEntry, TitleEntry, canonical

logger = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, str]  # video type and split
Block: TypeAlias = tuple[int, int, int]  # number of its first line, byte offsets of its first and after its last
BLOCK_SIZE = 1 << 20  # bytes: what one table is made of, whatever the size of the corpus


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


@dataclass(frozen=True)
class Corpus:
    """What it takes to read any line of the annotation file; small enough to be handed to other processes."""

    files: CorpusFiles
    places: dict[str, Place]  # by doc_key, as the split file says
    titles: dict[str, str]
    pictures: Pictures

    @classmethod
    def open(cls, files: CorpusFiles, pictures: Pictures) -> tuple["Corpus", list[Problem]]:
        """Read splits and titles; the problems are those of the two files."""
        problems: list[Problem] = []
        places = _read_splits(files.splits, problems)
        return cls(files, places, _read_titles(files.titles, problems), pictures), problems

    def __reduce__(self) -> tuple[Any, ...]:
        # `datasets` hands it to processes by dill, which is slow over large dicts; bytes go through as they are.
        return _unpickle, (pickle.dumps((self.files, self.places, self.titles, self.pictures)),)

    def examine(
        self, number: int, raw: bytes, seen: dict[str, int], with_pictures: bool = True
    ) -> tuple[Record | None, list[Problem]]:
        """The canonical record of a line (None where it has an error), and its problems.

        `seen`: the lines of the doc_keys met before; this one is added.
        """
        annotation, doc_key, faults = decode(raw, Annotation)
        place = None if doc_key is None else self.places.get(doc_key)
        if doc_key is not None:
            first = seen.setdefault(doc_key, number)
            if first != number:
                faults.append(Fault("error", "doc_key", f"duplicate: line {first} has the same doc_key"))
            if place is None:
                faults.append(Fault("error", "doc_key", f"not in the split file {self.files.splits}"))
        record = None
        if annotation is not None:
            faults += check(annotation)
            if place is not None and not (faults and _has_error(faults)):
                record = self._complete(annotation, place, with_pictures, faults)
        if not faults:
            return record, []
        problems = [fault.at(self.files.annotations, number, doc_key) for fault in faults]
        return None if _has_error(faults) else record, problems

    def _complete(self, annotation: Annotation, place: Place, with_pictures: bool, faults: list[Fault]) -> Record:
        """An annotation without errors, with what other files say of it; what is wrong with that is added."""
        title = self.titles.get(annotation.doc_key)
        if title is None:
            message = f"no title in {self.files.titles}: the title is left empty"
            faults.append(Fault("warning", "doc_key", message))
        record = canonical(annotation, *place, title)
        if with_pictures:
            self.pictures.fill_in(record["visual_annotations"], annotation.doc_key, faults)
        return record

    def unannotated(self, seen: Collection[str]) -> list[Problem]:
        """The warning that an annotation file is shorter than its split file says; none where it is whole."""
        missing = [doc_key for doc_key in self.places if doc_key not in seen]
        if not missing:
            return []
        message = f"the first of {len(missing):,} dialogues that {self.files.annotations} lacks: is it cut short?"
        return [Problem("warning", str(self.files.splits), None, missing[0], "video_id", message)]

    def survey(self, types: Collection[str], check_others: bool, tally: Tally) -> tuple[Counter[Place], list[Block]]:
        """One quick pass over the annotation file: the dialogues of each place counted, and the file in blocks.

        What needs the whole file is checked here: that no doc_key stands twice, that each has its place and none is
        missing. The records of other video types than `types`, which nobody will read later, are checked too if asked.
        Raises: CorpusError.
        """
        read_heading = msgspec.json.Decoder(PicturedHeading if self.pictures.folders else Heading).decode
        path, counts = self.files.annotations, Counter[Place]()
        seen: dict[str, int] = {}
        heading: Heading | None
        starts: list[tuple[int, int]] = []  # line number and byte offset of each block
        for number, start, raw in read_lines(path):
            if not starts or start - starts[-1][1] >= BLOCK_SIZE:
                starts.append((number, start))
            try:
                heading = read_heading(raw)
                place = self.places.get(heading.doc_key)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                heading = place = None  # examining says why
            if heading is None or place is None or heading.doc_key in seen or (check_others and place[0] not in types):
                tally.take(self.examine(number, raw, seen, with_pictures=False)[1])
            if heading is not None and place is not None:
                seen[heading.doc_key] = number
                counts[place] += 1
                if isinstance(heading, PicturedHeading) and place[0] in types:
                    self.pictures.count(heading.visual_annotations, heading.doc_key)
        tally.take([] if starts else [_empty(path)])
        tally.take(self.unannotated(seen))
        stops = [start for _, start in starts[1:]] + [os.path.getsize(path)]
        return counts, [(number, start, stop) for (number, start), stop in zip(starts, stops, strict=True)]

    def read_block(self, block: Block, places: Collection[Place], tally: Tally) -> list[Record]:
        """The records of a block that belong to one of the places, in order. Raises: CorpusError."""
        first, start, stop = block
        read_heading = msgspec.json.Decoder(Heading).decode
        records = []
        for number, _, raw in read_lines(self.files.annotations, start, stop, first):
            if self.places.get(read_heading(raw).doc_key) in places:
                record, problems = self.examine(number, raw, {})
                tally.take(problems)
                if record is not None:
                    records.append(record)
        return records


def _unpickle(content: bytes) -> Corpus:
    return Corpus(*pickle.loads(content))


def _read(files: CorpusFiles, pictures: Pictures) -> Iterator[Record | Problem]:
    """All records, and all problems, as they are met."""
    corpus, problems = Corpus.open(files, pictures)
    yield from problems
    seen: dict[str, int] = {}
    empty = True
    for number, _, raw in read_lines(files.annotations):
        empty = False
        record, problems = corpus.examine(number, raw, seen)
        yield from problems
        if record is not None:
            yield record
    yield from [_empty(files.annotations)] if empty else corpus.unannotated(seen)


def _read_splits(path: Path, problems: list[Problem]) -> dict[str, Place]:
    """doc_key -> (video type, split)."""
    known = {(kind, name): (kind, split) for kind in VIDEO_TYPES for name, split in SPLIT_NAMES.items()}
    places: dict[str, Place] = {}
    for number, entry in _read_entries(path, SplitEntry, problems):
        kind, name = entry.video_type, entry.split
        for field, value, options in (("video_type", kind, VIDEO_TYPES), ("split", name, SPLIT_NAMES)):
            if not isinstance(value, str) or value not in options:
                message = f"unknown {field.replace('_', ' ')} {value!r}, expected one of {', '.join(options)}"
                problems.append(Problem("error", str(path), number, entry.video_id, field, message))
        # One that is unknown was reported here, once; the dialogue itself does stand in the file.
        place = known.get((str(kind), str(name)), (str(kind), str(name)))
        _add(places, entry.video_id, place, path, number, problems)
    return places


def _read_titles(path: Path, problems: list[Problem]) -> dict[str, str]:
    """doc_key -> title."""
    titles: dict[str, str] = {}
    for number, entry in _read_entries(path, TitleEntry, problems):
        if isinstance(entry.title, str):
            _add(titles, entry.video_id, entry.title, path, number, problems)
        else:
            message = f"found {entry.title!r}, expected a text"
            problems.append(Problem("error", str(path), number, entry.video_id, "title", message))
    return titles


def _read_entries(path: Path, kind: type[Line], problems: list[Problem]) -> Iterator[tuple[int, Line]]:
    empty = True
    for number, _, raw in read_lines(path):
        empty = False
        entry, key, faults = decode(raw, kind)
        problems.extend(fault.at(path, number, key) for fault in faults)
        if entry is not None:
            yield number, entry
    if empty:
        problems.append(_empty(path))


def _add(entries: dict[str, Any], key: str, value: Any, path: Path, number: int, problems: list[Problem]) -> None:
    if key in entries:
        message = "duplicate: an earlier line has the same video_id"
        problems.append(Problem("error", str(path), number, key, "video_id", message))
    entries.setdefault(key, value)


def _has_error(faults: list[Fault]) -> bool:
    return any(fault.severity == "error" for fault in faults)


def _empty(path: Path) -> Problem:
    return Problem("error", str(path), None, None, None, "the file is empty, expected one JSON object a line")
