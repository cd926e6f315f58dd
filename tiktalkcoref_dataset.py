"""TikTalkCoref as a `datasets` builder: upstream's annotation files in, five typed configs out.

This file runs alone. As a class (every version of `datasets` from 3.6):

    builder = TikTalkCoref(config_name="celeb", data_dir="TikTalkCoref/data")
    builder.download_and_prepare()
    dataset = builder.as_dataset(split="train")

and as a loading script (`datasets` 3, which still runs scripts):

    load_dataset("tiktalkcoref_dataset.py", "celeb", data_dir="TikTalkCoref/data", trust_remote_code=True)

Without `data_dir` the three files are downloaded from the upstream repository at a pinned commit and verified. Every
generation of the annotation file that upstream has published loads through the one reader below, and comes out in one
canonical form (`read_corpus`). The data are those of Tang et al., "Multimodal Coreference Resolution for Chinese
Social Media Dialogues: Dataset and Benchmark Approach" (ACL 2025, https://arxiv.org/abs/2504.14321).
"""

import gc
import hashlib
import json
import logging
import os
import re
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetGenerationError

from tiktalkcoref.files.errors import UserError

logger = logging.getLogger(__name__)

UPSTREAM_COMMIT = "8d346bfffe2c40a45ef3564c6edb3d7f075ab944"
UPSTREAM_URL = f"https://raw.githubusercontent.com/lxystaruni/TikTalkCoref/{UPSTREAM_COMMIT}/data"
UPSTREAM_FILES = {  # what is downloaded: role -> (name, sha256)
    "annotations": (
        "all_textual_and_visual_annotations.jsonl",
        "921b4bdedfc1b41b71e013b543add08b3f10abdb990a5404b7e54adbeee616d9",
    ),
    "splits": ("split.jsonl", "81d96c6f19bca9bb3eeee4425bb2d04f1ad8fbb7e170224793b8c42b4181ca32"),
    "titles": ("video_titles.jsonl", "59ac765068e6c2285bb123333cab9193affbd88aa39230318d534810059a9e6a"),
}

# Names under which upstream has kept each file; `annotations.<revision>.jsonl` is a copy saved under its commit.
FILE_NAMES = {
    "annotations": re.compile(r"(all_textual_and_visual_annotations(_format)?|annotations(\.\w+)?)\.jsonl(ines)?"),
    "splits": re.compile(r"split\.jsonl(ines)?"),
    "titles": re.compile(r"video_titles(\.jsonl(ines)?)?"),
}

VIDEO_TYPES = ("celeb", "no_celeb")
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "train", "val": "validation", "dev": "validation", "validation": "validation", "test": "test"}
MAX_NUMBER = 2**31 - 1  # what an int32 column holds
NO_LABEL = "none"  # no visual counterpart, and no celebrity; some generations write ""

TEXTUAL_FIELDS = (
    "doc_key",
    "genre",
    "sentences",
    "speaker_ids",
    "sentence_map",
    "subtoken_map",
    "clusters",
    "clusters_str",
    "entity_labels",
)
VISUAL_FIELDS = ("doc_key", "video_title", "video_path", "visual_annotations")

BATCH_SIZE = 1000  # records a table: bounds the memory, whatever the size of the corpus

DESCRIPTION = "Chinese dialogues under short videos: coreference clusters linked to the persons' heads in the video."
HOMEPAGE = "https://github.com/lxystaruni/TikTalkCoref"
LICENSE = "MIT"
CITATION = """\
@inproceedings{tiktalkcoref,
  title = {Multimodal Coreference Resolution for Chinese Social Media Dialogues: Dataset and Benchmark Approach},
  booktitle = {Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics},
  year = {2025},
  url = {https://arxiv.org/abs/2504.14321}
}
"""


# ---------------------------------------------------------------------------------------------------------- features


def corpus_features() -> datasets.Features:
    """The typed columns of a whole record (configs `all`, `celeb`, `no_celeb`).

    `sentences`, `speaker_ids`, `sentence_map` and `subtoken_map` are parallel: one list an utterance, one entry a
    token (a character). `clusters` hold [start, end] token offsets over the flattened dialogue, end INCLUSIVE;
    `entity_labels` has one label a cluster, which boxes repeat as `box_labels` ("none": no visual counterpart).
    `bbox` is [x1, y1, x2, y2] in pixels. `frame` and `region` are pictures, null where none was found.
    """
    text, number = datasets.Value("string"), datasets.Value("int32")
    return datasets.Features(
        {
            "doc_key": text,
            "video_type": datasets.ClassLabel(names=list(VIDEO_TYPES)),
            "genre": text,
            "video_title": text,
            "video_path": text,
            "sentences": [[text]],
            "speaker_ids": [[text]],
            "sentence_map": [[number]],
            "subtoken_map": [[number]],
            "clusters": [[[number]]],
            "clusters_str": [[text]],
            "entity_labels": [text],
            "visual_annotations": [
                {
                    "cur_frame": number,
                    "cur_frame_path": text,
                    "bbox": [number],
                    "box_labels": text,
                    "celebrity": text,
                    "region_image_path": text,
                    "frame": datasets.Image(),
                    "region": datasets.Image(),
                }
            ],
        }
    )


def config_features(config_name: str) -> datasets.Features:
    """The typed columns of one config. Raises: KeyError for a name that is no config."""
    features = corpus_features()
    columns = {
        "all": tuple(features),
        "celeb": tuple(features),
        "no_celeb": tuple(features),
        "textual": TEXTUAL_FIELDS,
        "visual": VISUAL_FIELDS,
    }[config_name]
    return datasets.Features({name: features[name] for name in columns})


# ---------------------------------------------------------------------------------------------------------- problems


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a corpus file. `severity`: "error" (does not load) or "warning" (loads)."""

    severity: str
    file: str
    line: int | None
    doc_key: str | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        if self.doc_key is not None:
            place += f", doc_key {self.doc_key}"
        if self.field is not None:
            place += f", field {self.field}"
        return f"{place}: {self.message}"


class CorpusError(UserError, DatasetGenerationError):
    """The corpus cannot be read; the message says what was found where, and what to do.

    Also a `DatasetGenerationError`, since `datasets` hides every other error behind one of its own.
    `problem` is the `Problem` behind it, or None where it is not about the content of a file.
    """

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass
class _Ledger:
    """Where problems go: raised at once when loading, collected when listing."""

    strict: bool = False
    go_on: bool = False
    problems: list[Problem] | None = None
    n_warnings: int = 0
    first_warning: Problem | None = None

    def add(self, problem: Problem) -> None:
        if not self.go_on and problem.severity == "error":
            raise CorpusError(str(problem), problem)
        if not self.go_on and self.strict:
            raise CorpusError(f"{problem} (a warning, which strict=True makes an error)", problem)
        if problem.severity == "warning":
            self.n_warnings += 1
            self.first_warning = self.first_warning or problem
        if self.problems is not None:
            self.problems.append(problem)


# ------------------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class CorpusFiles:
    """The three files that make a corpus."""

    annotations: Path
    splits: Path
    titles: Path


def find_files(
    data_dir: str | os.PathLike | None = None,
    *,
    annotations: str | os.PathLike | None = None,
    splits: str | os.PathLike | None = None,
    titles: str | os.PathLike | None = None,
) -> CorpusFiles:
    """The three files of a folder (or of its `data/`) under any of the names that upstream has used.

    A file that is named explicitly is taken as it is: a path, or a name inside `data_dir`.
    Raises: CorpusError where a file is missing, or where several could be meant (all are listed).
    """
    given = {"annotations": annotations, "splits": splits, "titles": titles}
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise CorpusError(f"data_dir {folder} is not a folder. {_where_to_get_files()}")
    names = [] if folder is None else _list_candidates(folder)
    return CorpusFiles(**{role: _find_file(role, folder, names, given[role]) for role in FILE_NAMES})


def _list_candidates(folder: Path) -> list[Path]:
    """Files of the folder and of its `data/` (a clone of the upstream repository keeps them there)."""
    places = [folder, folder / "data"] if (folder / "data").is_dir() else [folder]
    return [place / name for place in places for name in sorted(os.listdir(place))]


def _find_file(role: str, folder: Path | None, names: list[Path], given: str | os.PathLike | None) -> Path:
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists() and folder is not None and (folder / path).exists():
            path = folder / path
        if not path.is_file():
            raise CorpusError(f"{role}: there is no file {path}.")
        return path
    if folder is None:
        raise CorpusError(f"No file given for {role}: name all three of annotations, splits and titles, or data_dir.")
    found = [path for path in names if FILE_NAMES[role].fullmatch(path.name) and path.is_file()]
    if not found:
        raise CorpusError(
            f"No {role} file in {folder}: expected {UPSTREAM_FILES[role][0]} (or another name that upstream has used), "
            f"or {role}=FILE. {_where_to_get_files()}"
        )
    if len(found) > 1:
        raise CorpusError(
            f"Several {role} files in {folder}: {', '.join(path.name for path in found)}. "
            f"Keep one of them, or say which with {role}=FILE."
        )
    return found[0]


def _where_to_get_files() -> str:
    names = ", ".join(name for name, _ in UPSTREAM_FILES.values())
    return f"The three files {names} are at {UPSTREAM_URL}; put them into one folder and pass data_dir=FOLDER."


def download_files(manager: datasets.DownloadManager | None = None) -> CorpusFiles:
    """Upstream's three files at the pinned commit, from the download cache where they are there, verified by sha256.

    Raises: CorpusError when they cannot be had (no network) or are not what was published.
    """
    manager = manager or datasets.DownloadManager(dataset_name="tiktalkcoref")
    urls = {role: f"{UPSTREAM_URL}/{name}" for role, (name, _) in UPSTREAM_FILES.items()}
    try:
        paths = manager.download(urls)
    except Exception as error:  # every network library below `datasets` has errors of its own
        raise CorpusError(
            f"The annotation files could not be downloaded ({type(error).__name__}: {error}). {_where_to_get_files()}"
        ) from error
    for role, (name, expected) in UPSTREAM_FILES.items():
        found = _file_digest(paths[role])
        if found != expected:
            os.unlink(paths[role])  # else the download cache would hand it out for ever
            raise CorpusError(
                f"{urls[role]} is not the published {name}: its sha256 is {found}, expected {expected}. "
                f"The download was thrown away; try again. {_where_to_get_files()}"
            )
    return CorpusFiles(**{role: Path(path) for role, path in paths.items()})


def _file_digest(path: str | os.PathLike) -> str:
    """The sha256 of a file's content."""
    status = os.stat(path)
    return _digest_of_version(os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of_version(path: str, inode: int, size: int, mtime: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------- pictures


class PictureFolder:
    """Pictures of one folder and of the folders in it, by file name. One listing, no look at each file.

    Symbolic links are followed one level down, so that a release may lie on another disk.
    """

    def __init__(self, folder: str | os.PathLike, field: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(self.folder):
            raise CorpusError(f"{field} {self.folder} is not a folder.")
        self._paths: dict[str, list[str]] = {}
        subfolders = self._list(self.folder)
        for subfolder in subfolders:
            self._list(subfolder)
        self.found = self.missing = 0

    def _list(self, folder: str) -> list[str]:
        """Take in the files of a folder; returns its subfolders."""
        subfolders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    subfolders.append(entry.path)
                else:
                    self._paths.setdefault(entry.name, []).append(entry.path)
        return sorted(subfolders)

    def find(self, name: str, doc_key: str) -> str | None:
        """The path of the picture of that file name (of several, the one in the dialogue's folder), or None."""
        paths = self._paths.get(name)
        if not paths:
            self.missing += 1
            return None
        self.found += 1
        if len(paths) == 1:
            return paths[0]
        own = [path for path in paths if os.path.basename(os.path.dirname(path)) == doc_key]
        return min(own or paths)

    def digest(self) -> str:
        """Changes whenever a picture comes or goes, or the folder is another one."""
        names = sorted(chain.from_iterable(self._paths.values()))
        return hashlib.sha256("\0".join([self.folder, *names]).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Pictures:
    """The picture folders of a corpus; None where there is none."""

    frames: PictureFolder | None = None
    regions: PictureFolder | None = None
    required: bool = False

    @classmethod
    def open(
        cls,
        frames_dir: str | os.PathLike | None,
        regions_dir: str | os.PathLike | None,
        require_images: bool,
    ) -> "Pictures":
        if require_images and frames_dir is None and regions_dir is None:
            raise CorpusError("require_images=True, but no pictures to look for: give frames_dir, regions_dir or both.")
        frames = None if frames_dir is None else PictureFolder(frames_dir, "frames_dir")
        regions = None if regions_dir is None else PictureFolder(regions_dir, "regions_dir")
        return cls(frames, regions, require_images)

    def summary(self) -> str:
        """One line: how many pictures were found and how many were not; empty without picture folders."""
        parts = [
            f"{kind} pictures: {folder.found} found, {folder.missing} missing in {folder.folder}"
            for kind, folder in (("frame", self.frames), ("region", self.regions))
            if folder is not None
        ]
        return "; ".join(parts)

    @property
    def n_missing(self) -> int:
        return sum(folder.missing for folder in (self.frames, self.regions) if folder is not None)


def file_name_of(path: str) -> str:
    """The file name of one of the annotators' paths, of either system.

    Raises: ValueError for a path with a `..` in it, or without a file name: it would leave the folder of pictures.
    """
    parts = re.split(r"[/\\]", path)
    if ".." in parts:
        raise UserError(f"refused {path!r}: `..` leaves the folder of pictures. Expected a plain file name or path")
    if parts[-1] in ("", ".") or "\0" in path:
        raise UserError(f"refused {path!r}: it names no file. Expected a plain file name or path")
    return parts[-1]


# ------------------------------------------------------------------------------------------------------------ reading


def read_corpus(
    files: CorpusFiles,
    *,
    strict: bool = False,
    problems: list[Problem] | None = None,
    frames_dir: str | os.PathLike | None = None,
    regions_dir: str | os.PathLike | None = None,
    require_images: bool = False,
) -> Iterator[dict[str, Any]]:
    """Canonical records, one a dialogue, in the order of the annotation file, read as they are asked for.

    Keys: those of `corpus_features`, with `video_type` as its name and `frame` and `region` as paths (or None), and
    `split` ("train", "validation" or "test"). Warnings are appended to `problems` where a list is given.
    Raises: CorpusError at the first error (with `strict` at the first warning too), naming file, line, doc_key, field.
    """
    pictures = Pictures.open(frames_dir, regions_dir, require_images)
    reader = _Reader(files, _Ledger(strict, problems=problems), pictures)
    yield from reader.records()
    reader.summarise()


def find_problems(
    files: CorpusFiles,
    *,
    frames_dir: str | os.PathLike | None = None,
    regions_dir: str | os.PathLike | None = None,
    require_images: bool = False,
) -> Iterator[Problem]:
    """Every problem of the three files, errors and warnings, in the order in which they are met."""
    ledger = _Ledger(go_on=True, problems=[])
    reader = _Reader(files, ledger, Pictures.open(frames_dir, regions_dir, require_images))
    for _ in reader.records():
        yield from ledger.problems
        ledger.problems.clear()
    yield from ledger.problems


class _Reader:
    """Reads annotation records with the splits and titles that belong to them."""

    def __init__(self, files: CorpusFiles, ledger: _Ledger, pictures: Pictures) -> None:
        self.files = files
        self.ledger = ledger
        self.pictures = pictures
        self.splits = self._read_splits()
        self.titles = self._read_titles()

    # -- whole files

    def records(self) -> Iterator[dict[str, Any]]:
        """All records in one pass over the file. With a ledger that goes on, those with an error are left out."""
        seen: dict[str, int] = {}
        for number, _, raw in _read_lines(self.files.annotations, self.ledger):
            record = self.parse(raw, number)
            if record is not None and self._is_new(record["doc_key"], number, seen):
                record = self.canonical(record, number)
                if record is not None:
                    yield record

    def index(self, types: tuple[str, ...], check_others: bool) -> dict[tuple[str, str], "_Lines"]:
        """Where the records of each (video type, split) stand, found in one pass that parses as little as it can.

        Records of other types than `types` are checked here (if asked), since nobody will read them later.
        """
        index = {(video_type, split): _Lines() for video_type in VIDEO_TYPES for split in SPLITS}
        seen: dict[str, int] = {}
        for number, offset, raw in _read_lines(self.files.annotations, self.ledger):
            doc_key = _leading_key(raw)
            if doc_key not in self.splits:
                doc_key = self.parse(raw, number)["doc_key"]
            place = self._place(doc_key, number)
            if self._is_new(doc_key, number, seen):
                index[place].add(offset, len(raw), number)
            if check_others and place[0] not in types:
                self.canonical(self.parse(raw, number), number, with_pictures=False)
        if len(seen) < len(self.splits):
            logger.warning(
                "%s names %d dialogues that %s does not hold.",
                self.files.splits,
                len(self.splits) - len(seen),
                self.files.annotations,
            )
        return index

    def records_at(self, lines: "_Lines") -> Iterator[dict[str, Any]]:
        """The records of an index, in its order."""
        with open(self.files.annotations, "rb") as file:
            for offset, length, number in lines:
                file.seek(offset)
                yield self.canonical(self.parse(file.read(length), number), number)

    def summarise(self) -> None:
        """Log one line on the pictures, and one on the warnings where nobody collects them."""
        summary = self.pictures.summary()
        if summary:
            logger.log(logging.WARNING if self.pictures.n_missing else logging.INFO, "%s", summary)
        if self.ledger.n_warnings and self.ledger.problems is None:
            logger.warning("%d warnings, the first: %s", self.ledger.n_warnings, self.ledger.first_warning)

    def _is_new(self, doc_key: str, number: int, seen: dict[str, int]) -> bool:
        first = seen.setdefault(doc_key, number)
        if first != number:
            self._annotation_problem(number, doc_key, "doc_key", f"duplicate: line {first} has the same doc_key")
        return first == number

    # -- one record

    def parse(self, raw: bytes, number: int) -> dict[str, Any] | None:
        """The JSON object of a line that has a doc_key; None (and a problem) otherwise."""
        record = _parse_object(raw, self.files.annotations, number, self.ledger)
        if record is None:
            return None
        doc_key = record.get("doc_key")
        if not isinstance(doc_key, str) or not doc_key:
            found = "missing" if doc_key is None else f"found {doc_key!r}"
            self._annotation_problem(number, None, "doc_key", f"{found}, expected the video's id, a text")
            return None
        if _leading_key(raw) not in (None, doc_key):
            self._annotation_problem(number, doc_key, "doc_key", "stands twice in the record, with different values")
            return None
        return record

    def canonical(self, record: dict[str, Any], number: int, with_pictures: bool = True) -> dict[str, Any] | None:
        """The canonical form of a parsed record; None (and problems) where it has an error."""
        doc_key = record["doc_key"]
        regular, sound = _is_regular(record), True
        if not regular:
            for severity, name, message in _diagnose(record):
                sound = sound and severity == "warning"
                self._annotation_problem(number, doc_key, name, message, severity)
        place = self._place(doc_key, number)
        if place is None or not sound:
            return None
        title = self.titles.get(doc_key)
        if title is None:
            message = f"no title in {self.files.titles}: the title is left empty"
            self._annotation_problem(number, doc_key, "doc_key", message, "warning")
        sentences, clusters = record["sentences"], record["clusters"]
        own = {} if regular else record  # the maps of a regular record are those that its sentences give
        boxes = [_canonical_box(box) for box in record["visual_annotations"]]
        if with_pictures:
            self._find_pictures(boxes, doc_key, number)
        return {
            "doc_key": doc_key,
            "video_type": place[0],
            "genre": record.get("genre") or "",
            "video_title": title or "",
            "video_path": None,
            "sentences": sentences,
            "speaker_ids": record["speaker_ids"],
            "sentence_map": own.get("sentence_map") or _sentence_map(sentences),
            "subtoken_map": own.get("subtoken_map") or _subtoken_map(sentences),
            "clusters": clusters,
            "clusters_str": record["clusters_str"] if regular else _clusters_str(sentences, clusters),
            "entity_labels": [label or NO_LABEL for label in _first(record, "entity_labels", "entity_label")],
            "visual_annotations": boxes,
            "split": place[1],
        }

    def _find_pictures(self, boxes: list[dict[str, Any]], doc_key: str, number: int) -> None:
        """Fill in `frame` and `region` of canonical boxes."""
        for column, source, folder in (
            ("frame", "cur_frame_path", self.pictures.frames),
            ("region", "region_image_path", self.pictures.regions),
        ):
            if folder is None:
                continue
            for i, box in enumerate(boxes):
                name = file_name_of(box[source])
                box[column] = folder.find(name, doc_key)
                if box[column] is None and self.pictures.required:
                    message = f"no picture {name} in {folder.folder}, and require_images=True"
                    self._annotation_problem(number, doc_key, f"visual_annotations[{i}].{source}", message)

    def _place(self, doc_key: str, number: int) -> tuple[str, str] | None:
        place = self.splits.get(doc_key)
        if place is None:
            self._annotation_problem(number, doc_key, "doc_key", f"not in the split file {self.files.splits}")
        return place

    def _annotation_problem(
        self, line: int, doc_key: str | None, name: str, message: str, severity: str = "error"
    ) -> None:
        self.ledger.add(Problem(severity, str(self.files.annotations), line, doc_key, name, message))

    # -- the two small files

    def _read_splits(self) -> dict[str, tuple[str, str]]:
        """doc_key -> (video type, split)."""
        places = {(kind, name): (kind, SPLIT_NAMES[name]) for kind in VIDEO_TYPES for name in SPLIT_NAMES}
        splits: dict[str, tuple[str, str]] = {}
        path = self.files.splits
        for number, video_id, entry in self._read_entries(path):
            kind, name = entry.get("video_type"), entry.get("split")
            try:
                place = places[kind, name]
            except (KeyError, TypeError):
                if kind not in VIDEO_TYPES:
                    message = f"unknown video type {kind!r}, expected one of {', '.join(VIDEO_TYPES)}"
                    self.ledger.add(Problem("error", str(path), number, video_id, "video_type", message))
                if not isinstance(name, str) or name not in SPLIT_NAMES:
                    message = f"unknown split {name!r}, expected one of {', '.join(SPLIT_NAMES)}"
                    self.ledger.add(Problem("error", str(path), number, video_id, "split", message))
                place = (str(kind), str(name))  # reported once, here; the dialogue itself does stand in the file
            self._add_entry(splits, video_id, place, path, number)
        return splits

    def _read_titles(self) -> dict[str, str]:
        """doc_key -> title."""
        titles: dict[str, str] = {}
        path = self.files.titles
        for number, video_id, entry in self._read_entries(path):
            title = entry.get("title")
            if not isinstance(title, str):
                message = f"found {title!r}, expected a text"
                self.ledger.add(Problem("error", str(path), number, video_id, "title", message))
                continue
            self._add_entry(titles, video_id, title, path, number)
        return titles

    def _read_entries(self, path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for number, _, raw in _read_lines(path, self.ledger):
            entry = _parse_object(raw, path, number, self.ledger)
            if entry is None:
                continue
            video_id = entry.get("video_id")
            if isinstance(video_id, str) and video_id:
                yield number, video_id, entry
            else:
                found = "missing" if video_id is None else f"found {video_id!r}"
                message = f"{found}, expected the video's id, a text"
                self.ledger.add(Problem("error", str(path), number, None, "video_id", message))

    def _add_entry(self, entries: dict[str, Any], video_id: str, value: Any, path: Path, number: int) -> None:
        if video_id in entries:
            message = "duplicate: an earlier line has the same video_id"
            self.ledger.add(Problem("error", str(path), number, video_id, "video_id", message))
        entries.setdefault(video_id, value)


@dataclass
class _Lines:
    """Where records stand in the annotation file: byte offset, length and line number of each."""

    offsets: array = field(default_factory=lambda: array("q"))
    lengths: array = field(default_factory=lambda: array("q"))
    numbers: array = field(default_factory=lambda: array("q"))

    def add(self, offset: int, length: int, number: int) -> None:
        self.offsets.append(offset)
        self.lengths.append(length)
        self.numbers.append(number)

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.offsets, self.lengths, self.numbers, strict=True)

    @classmethod
    def merged(cls, parts: list["_Lines"]) -> "_Lines":
        """The lines of all parts in the order of the file."""
        lines = cls()
        for place in sorted(chain.from_iterable(parts)):
            lines.add(*place)
        return lines


def _read_lines(path: Path, ledger: _Ledger) -> Iterator[tuple[int, int, bytes]]:
    """Line number, byte offset and bytes of each line that is not blank; a file without any is an error."""
    offset, empty = 0, True
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.isspace():
                empty = False
                yield number, offset, raw
            offset += len(raw)
    if empty:
        message = "the file is empty, expected one JSON object a line"
        ledger.add(Problem("error", str(path), None, None, None, message))


_LEADING_KEY = re.compile(rb'\s*\{\s*"doc_key"\s*:\s*"([\x20\x21\x23-\x5b\x5d-\x7f]+)"')


def _leading_key(raw: bytes) -> str | None:
    """The doc_key of a line that begins with it, as upstream's do, without parsing the line; None for any other."""
    match = _LEADING_KEY.match(raw)
    return match[1].decode("ascii") if match else None


_DECODER = json.JSONDecoder()  # `json.loads` spends a good part of its time on short lines around it


def _parse_object(raw: bytes, path: Path, number: int, ledger: _Ledger) -> dict[str, Any] | None:
    """The JSON object of a line; None (and a problem) where it is not UTF-8, not JSON or no object."""
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")  # some editors begin a file with a byte order mark
    try:
        text = raw.decode("utf-8").strip()
        value, end = _DECODER.raw_decode(text)
        if end != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        message = f"wrong encoding: {found} is not UTF-8. Convert the file to UTF-8"
    except UnicodeEncodeError:
        message = "broken JSON: an escape names half a surrogate pair, which is no character"
    except json.JSONDecodeError as error:
        message = f"broken JSON: {error.msg} (column {error.colno}). Expected one JSON object a line"
    except RecursionError:
        message = "broken JSON: nested too deeply. Expected one JSON object a line"
    else:
        if isinstance(value, dict):
            return value
        message = f"found a JSON {type(value).__name__}, expected one JSON object a line"
    ledger.add(Problem("error", str(path), number, None, None, message))
    return None


def _canonical_box(box: dict[str, Any]) -> dict[str, Any]:
    return {
        "cur_frame": box["cur_frame"],
        "cur_frame_path": box["cur_frame_path"],
        "bbox": box["bbox"],
        "box_labels": box["box_labels"] or NO_LABEL,
        "celebrity": _first(box, "celebrity", "if_celebrity") or NO_LABEL,
        "region_image_path": box["region_image_path"],
        "frame": None,
        "region": None,
    }


def _first(record: dict[str, Any], *names: str) -> Any:
    """The value under the first of the names that the record has: generations differ in their names."""
    for name in names:
        if name in record:
            return record[name]
    return None


def _sentence_map(sentences: list[list[str]]) -> list[list[int]]:
    """For each token the number of its utterance."""
    return [[i] * len(sentence) for i, sentence in enumerate(sentences)]


def _subtoken_map(sentences: list[list[str]]) -> list[list[int]]:
    """For each token its position in the flattened dialogue: every token is a word of its own."""
    maps, start = [], 0
    for sentence in sentences:
        maps.append(list(range(start, start + len(sentence))))
        start += len(sentence)
    return maps


def _clusters_str(sentences: list[list[str]], clusters: list[list[list[int]]]) -> list[list[str]]:
    """The text of each mention."""
    tokens = list(chain.from_iterable(sentences))
    return [["".join(tokens[start : end + 1]) for start, end in cluster] for cluster in clusters]


# ----------------------------------------------------------------------------------------------------------- checking

_PARALLEL = ("speaker_ids", "sentence_map", "subtoken_map")


def _is_regular(record: dict[str, Any]) -> bool:
    """Whether a record has nothing to complain about. Quick, for every record; `_diagnose` says what is wrong.

    It may say False of a sound record (one with maps of its own, say), never True of one that `_diagnose` minds.
    The maps and texts of a regular record equal those that its sentences and clusters give.
    """
    try:
        sentences, speakers = record["sentences"], record["speaker_ids"]
        tokens = list(chain.from_iterable(sentences))
        if "" in tokens:
            return False
        text = "".join(tokens)  # a TypeError where they are not all texts
        "".join(chain.from_iterable(speakers))
        return (
            set(map(type, sentences)) == set(map(type, speakers)) == {list}
            and list(map(len, speakers)) == list(map(len, sentences))
            and record["sentence_map"] == _sentence_map(sentences)
            and record["subtoken_map"] == _subtoken_map(sentences)
            and type(record["genre"]) is str
            and _clusters_are_sound(record, text if len(text) == len(tokens) else tokens)
            and _boxes_are_sound(record)
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def _clusters_are_sound(record: dict[str, Any], tokens: str | list[str]) -> bool:
    """`tokens` may be one text, where each token is one character."""
    clusters, texts = record["clusters"], record["clusters_str"]
    if not all(clusters) or set(map(type, texts)) - {list}:
        return False
    seen = set()
    for cluster, cluster_texts in zip(clusters, texts, strict=True):
        for (start, end), text in zip(cluster, cluster_texts, strict=True):
            if type(start) is not int or type(end) is not int or not 0 <= start <= end < len(tokens):
                return False
            if (start, end) in seen or "".join(tokens[start : end + 1]) != text:
                return False
            seen.add((start, end))
    return True


def _boxes_are_sound(record: dict[str, Any]) -> bool:
    labels = _first(record, "entity_labels", "entity_label")
    if type(labels) is not list or len(labels) != len(record["clusters"]):
        return False
    wanted = set(labels) - {NO_LABEL, ""}
    borne = set()
    for box in record["visual_annotations"]:
        x1, y1, x2, y2 = box["bbox"]
        frame_path, region_path = box["cur_frame_path"], box["region_image_path"]
        if not (
            type(x1) is type(y1) is type(x2) is type(y2) is type(box["cur_frame"]) is int
            and 0 <= x1 < x2 <= MAX_NUMBER
            and 0 <= y1 < y2 <= MAX_NUMBER
            and 0 <= box["cur_frame"] <= MAX_NUMBER
            and type(frame_path) is type(region_path) is type(_first(box, "celebrity", "if_celebrity")) is str
            and ".." not in frame_path + region_path
            and "\0" not in frame_path + region_path
            and frame_path[-1] not in "/\\."
            and region_path[-1] not in "/\\."
        ):
            return False
        borne.add(box["box_labels"])
    return wanted == borne and set(map(type, labels)) <= {str}


def _diagnose(record: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a record: (severity, field, message) of each problem."""
    tokens, messages = _diagnose_tokens(record)
    yield from messages
    if tokens is None:
        return
    clusters = record.get("clusters")
    if not isinstance(clusters, list):
        yield "error", "clusters", f"{_found(clusters)}, expected a list of clusters"
        return
    yield from _diagnose_clusters(clusters, tokens, record)
    yield from _diagnose_boxes(record, len(clusters))


def _diagnose_tokens(record: dict[str, Any]) -> tuple[list[str] | None, list[tuple[str, str, str]]]:
    """The flattened tokens (None where `sentences` cannot be read) and the problems of the parallel fields."""
    sentences = record.get("sentences")
    if not _is_nested(sentences, str) or not any(sentences):
        return None, [("error", "sentences", f"{_found(sentences)}, expected lists of tokens, one an utterance")]
    problems = []
    genre = record.get("genre")
    if genre is not None and not isinstance(genre, str):
        problems.append(("error", "genre", f"{_found(genre)}, expected a text"))
    lengths = [len(sentence) for sentence in sentences]
    derived = {"sentence_map": _sentence_map(sentences), "subtoken_map": _subtoken_map(sentences)}
    for name in _PARALLEL:
        if name in derived and record.get(name) in (None, derived[name]):
            continue
        kind = str if name == "speaker_ids" else int
        if not _is_nested(record.get(name), kind):
            wanted = "texts" if kind is str else "whole numbers, 0 or more"
            message = f"{_found(record.get(name))}, expected lists of {wanted}, one an utterance"
            problems.append(("error", name, message))
        elif [len(row) for row in record[name]] != lengths:
            found = [len(row) for row in record[name]]
            message = f"lengths {found} differ from those of sentences, {lengths}: the arrays must be parallel"
            problems.append(("error", name, message))
    return list(chain.from_iterable(sentences)), problems


def _diagnose_clusters(
    clusters: list[Any], tokens: list[str], record: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    owner: dict[tuple[int, int], int] = {}
    readable = True
    for i, cluster in enumerate(clusters):
        if not isinstance(cluster, list) or not cluster:
            yield "error", f"clusters[{i}]", f"{_found(cluster)}, expected a list of at least one mention"
            readable = False
            continue
        for j, mention in enumerate(cluster):
            name = f"clusters[{i}][{j}]"
            if not (isinstance(mention, list) and len(mention) == 2 and all(type(value) is int for value in mention)):
                yield "error", name, f"{_found(mention)}, expected [start, end], two whole numbers"
                readable = False
                continue
            start, end = mention
            if start > end:
                yield "error", name, f"reversed offsets [{start}, {end}]: the start comes after the (inclusive) end"
                readable = False
            elif start < 0 or end >= len(tokens):
                message = f"offsets [{start}, {end}] out of range: the dialogue has tokens 0 to {len(tokens) - 1}"
                yield "error", name, message
                readable = False
            first = owner.setdefault((start, end), i)
            if first != i:
                yield "error", name, f"mention [{start}, {end}] is in two clusters, {first} and {i}"
            elif cluster.index(mention) < j:
                yield "warning", name, f"mention [{start}, {end}] is listed twice in the cluster"
    texts = record.get("clusters_str")
    if readable and "clusters_str" in record:
        expected = _clusters_str([tokens], clusters)
        if texts != expected:
            message = f"{texts!r} disagrees with the spans, which say {expected!r}: the spans are taken"
            yield "warning", "clusters_str", message


def _diagnose_boxes(record: dict[str, Any], n_clusters: int) -> Iterator[tuple[str, str, str]]:
    labels_name = "entity_label" if "entity_label" in record and "entity_labels" not in record else "entity_labels"
    labels, boxes = record.get(labels_name), record.get("visual_annotations")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        yield "error", labels_name, f"{_found(labels)}, expected a list of texts, one a cluster"
        return
    if len(labels) != n_clusters:
        yield "error", labels_name, f"{len(labels)} labels for {n_clusters} clusters, expected one a cluster"
    if not isinstance(boxes, list):
        yield "error", "visual_annotations", f"{_found(boxes)}, expected a list of boxes"
        return
    wanted = set(labels) - {NO_LABEL, ""}
    for i, box in enumerate(boxes):
        name = f"visual_annotations[{i}]"
        if not isinstance(box, dict):
            yield "error", name, f"{_found(box)}, expected an object"
            continue
        for key, message in _diagnose_box(box):
            yield "error", f"{name}.{key}", message
        label = box.get("box_labels")
        if isinstance(label, str) and label not in wanted:
            yield "warning", f"{name}.box_labels", f"no cluster bears the label {label!r} of this box"
    borne = {box.get("box_labels") for box in boxes if isinstance(box, dict) and isinstance(box.get("box_labels"), str)}
    for i, label in enumerate(labels):
        if label in wanted and label not in borne:
            yield "error", f"{labels_name}[{i}]", f"no box bears the label {label!r} of cluster {i}"


def _diagnose_box(box: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, message) of each error of one box."""
    frame = box.get("cur_frame")
    if not _is_a(frame, int):
        yield "cur_frame", f"{_found(frame)}, expected a frame number, 0 or more"
    bbox = box.get("bbox")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(type(value) is int for value in bbox)):
        yield "bbox", f"{_found(bbox)}, expected [x1, y1, x2, y2] in whole pixels"
    elif min(bbox) < 0:
        yield "bbox", f"{bbox} has a negative coordinate, expected [x1, y1, x2, y2] in pixels of the frame"
    elif max(bbox) > MAX_NUMBER:
        yield "bbox", f"{bbox} is out of range, expected [x1, y1, x2, y2] in pixels of the frame"
    elif bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        yield "bbox", f"{bbox} is empty, expected x1 < x2 and y1 < y2"
    if not isinstance(box.get("box_labels"), str):
        yield "box_labels", f"{_found(box.get('box_labels'))}, expected a text"
    celebrity = _first(box, "celebrity", "if_celebrity")
    if celebrity is not None and not isinstance(celebrity, str):
        yield "celebrity", f"{_found(celebrity)}, expected a text"
    for key in ("cur_frame_path", "region_image_path"):
        if not isinstance(box.get(key), str):
            yield key, f"{_found(box.get(key))}, expected a text"
            continue
        try:
            file_name_of(box[key])
        except ValueError as error:
            yield key, str(error)


def _is_nested(value: Any, kind: type) -> bool:
    """Whether a value is a list of lists of texts or of whole numbers."""
    return (
        isinstance(value, list)
        and all(isinstance(row, list) for row in value)
        and all(_is_a(item, kind) for row in value for item in row)
    )


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value is a text, or a whole number that a column can hold (a truth value is none)."""
    return type(value) is kind and (kind is str or 0 <= value <= MAX_NUMBER)


def _found(value: Any) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return f"found {text}" if len(text) <= 80 else f"found {text[:80]}…"


# ------------------------------------------------------------------------------------------------------------ builder


@dataclass(eq=False)  # equality is BuilderConfig's own
class CorpusConfig(datasets.BuilderConfig):
    """Which corpus to build, and how.

    annotations, splits, titles: paths of the three files (or names in `data_dir`), where `data_dir` alone does not say.
    frames_dir, regions_dir: the folders `frames/` and `faces_all/` of the authors' picture release.
    require_images: a picture that is missing from one of these folders is an error instead of null.
    strict: warnings are errors.
    """

    version: datasets.Version = field(default_factory=lambda: datasets.Version("1.0.0"))
    annotations: str | None = None
    splits: str | None = None
    titles: str | None = None
    frames_dir: str | None = None
    regions_dir: str | None = None
    require_images: bool = False
    strict: bool = False

    def files(self) -> CorpusFiles | None:
        """The local files of the corpus, None where it is to be downloaded. Raises: CorpusError as `find_files`."""
        given = {"annotations": self.annotations, "splits": self.splits, "titles": self.titles}
        if self.data_dir is None and not any(given.values()):
            return None
        return find_files(self.data_dir, **given)

    def pictures(self) -> Pictures:
        """The pictures that are at hand. Raises: CorpusError where a folder is missing."""
        return Pictures.open(self.frames_dir, self.regions_dir, self.require_images)

    def fingerprint(self) -> str:
        """Changes with anything that the result depends on: file contents, pictures, options, this code."""
        try:
            files, pictures = self.files(), self.pictures()
            if files is None:
                parts = [digest for _, digest in UPSTREAM_FILES.values()]
            else:
                parts = [_file_digest(path) for path in (files.annotations, files.splits, files.titles)]
            parts += ["" if folder is None else folder.digest() for folder in (pictures.frames, pictures.regions)]
        except (CorpusError, OSError) as error:
            parts = ["unreadable", str(error)]  # building says what is wrong; nothing is ever stored under this
        parts += [str(self.require_images), str(self.strict), _file_digest(__file__)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: datasets.Features | None = None) -> str:
        """The name of the cache folder: `datasets` builds anew where it is another one."""
        kwargs = {name: str(value) for name, value in config_kwargs.items() if value is not None}
        return super().create_config_id({**kwargs, "fingerprint": self.fingerprint()}, custom_features)


class TikTalkCoref(datasets.ArrowBasedBuilder):
    """The builder. Configs: `all` (default), `celeb`, `no_celeb`, `textual`, `visual`; see `corpus_features`.

    `all`, `celeb` and `no_celeb` have the splits train, validation and test; `textual` and `visual` have the same
    three of each video type, `celeb_train` to `no_celeb_test`. A split without a dialogue is left out.
    A build checks every record of the file, whatever the config; streaming checks the records that it reads.
    Raises: CorpusError for anything that the files have wrong, and where they cannot be found or downloaded.
    """

    BUILDER_CONFIG_CLASS = CorpusConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 (as `datasets` declares it)
        CorpusConfig(name="all", description="Whole records, all dialogues."),
        CorpusConfig(name="celeb", description="Whole records, dialogues about celebrities."),
        CorpusConfig(name="no_celeb", description="Whole records, dialogues about other people."),
        CorpusConfig(name="textual", description="The textual fields alone."),
        CorpusConfig(name="visual", description="The boxes and pictures alone."),
    ]
    DEFAULT_CONFIG_NAME = "all"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fingerprint = self.config.fingerprint()

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=DESCRIPTION,
            features=config_features(self.config.name),
            homepage=HOMEPAGE,
            license=LICENSE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        building = isinstance(dl_manager, datasets.DownloadManager)  # else streaming, which stores nothing
        files = self.config.files() or download_files(dl_manager if building else None)
        pictures = self.config.pictures() if self.config.name != "textual" else Pictures()
        if building and self.config.fingerprint() != self._fingerprint:
            raise CorpusError(
                f"{files.annotations} or its neighbours changed after this builder was made: make another."
            )
        reader = _Reader(files, _Ledger(self.config.strict), pictures)
        types = (self.config.name,) if self.config.name in VIDEO_TYPES else VIDEO_TYPES
        index = reader.index(types, check_others=building)
        if self.config.name in ("textual", "visual"):
            parts = {f"{kind}_{split}": index[kind, split] for kind in VIDEO_TYPES for split in SPLITS}
        else:
            parts = {split: _Lines.merged([index[kind, split] for kind in types]) for split in SPLITS}
        parts = {name: lines for name, lines in parts.items() if len(lines)}  # `datasets` cannot open an empty split
        if not parts:
            raise CorpusError(f"{files.annotations}: no dialogue of video type {' or '.join(types)}.")
        self._reader = reader
        return [
            datasets.SplitGenerator(
                name=name,
                gen_kwargs={"reader": reader, "lines": lines, "summarise": not building},
            )
            for name, lines in parts.items()
        ]

    def _generate_tables(self, reader: _Reader, lines: _Lines, summarise: bool) -> Iterator[tuple[int, pa.Table]]:
        schema = self.info.features.arrow_schema
        records = reader.records_at(lines)
        number = 0
        while (table := _next_table(records, schema)) is not None:
            yield number, table
            number += 1
        if summarise:
            reader.summarise()

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        super()._download_and_prepare(*args, **kwargs)
        self._reader.summarise()  # once for all splits


def _next_table(records: Iterator[dict[str, Any]], schema: pa.Schema) -> pa.Table | None:
    """The next batch of records as one table, None after the last."""
    with _garbage_collector_paused():
        batch = list(islice(records, BATCH_SIZE))
        return _to_table(batch, schema) if batch else None


@contextmanager
def _garbage_collector_paused() -> Iterator[None]:
    """For a batch of records, which hold no cycles: the collector would walk the whole process for each few of them.

    That took a third of the time of a large build.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _to_table(records: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Canonical records as one table with the columns of the schema."""
    columns = []
    for column in schema:
        values = [record[column.name] for record in records]
        if column.name == "video_type":
            values = [VIDEO_TYPES.index(value) for value in values]
        elif column.name == "visual_annotations":
            values = [[_with_stored_pictures(box) for box in boxes] for boxes in values]
        columns.append(pa.array(values, column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _with_stored_pictures(box: dict[str, Any]) -> dict[str, Any]:
    """A box whose pictures are as an `Image` column stores them: by path, read when asked for."""
    if box["frame"] is box["region"] is None:
        return box
    stored = {name: box[name] and {"bytes": None, "path": box[name]} for name in ("frame", "region")}
    return {**box, **stored}
