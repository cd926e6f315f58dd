"""Where rows come from: files of JSON lines, JSON or Parquet, folders of them, or a dataset; any stretch can be read.

A source is planned into shards, stretches of a fixed number of rows, which any process reads on its own. What is no
row (a line that is not JSON) comes out as a `BadRow`, so that rows are counted the same whatever they hold.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from tiktalkcoref.evaluation.dialogues import Dialogue, open_split, to_dialogue, without_labels
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.jsonl import JsonError, parse_json

LINES, PARQUET = (".jsonl", ".ndjson"), ".parquet"
TEXT_KEYS, PICTURE_KEYS, VIDEO = ("sentences", "speakers", "title", "boxes"), ("regions", "frames"), "video"
RECORD_KEYS = ("speaker_ids", "video_title", "visual_annotations", "doc_key")  # with sentences, of the dataset's rows
GENERATED = ("sample", "upstream")  # names of datasets, also where folders of these names stand
READ_ROWS = 64  # of a Parquet file, decoded at once: they may hold pictures


@dataclass(frozen=True)
class BadRow:
    """In the place of a row that cannot be read."""

    message: str


@dataclass(frozen=True)
class Shard:
    """`rows` rows of one file (or dataset) from `start` on, a byte in a file of lines, a row in any other.

    `first` is the number of the first one in the whole source.
    """

    number: int
    first: int
    rows: int
    path: str
    start: int

    @property
    def last(self) -> int:
        """The number of the last row in the whole source."""
        return self.first + self.rows - 1


class Source:
    """Rows that are cut into shards."""

    def identity(self) -> list[Any]:
        """What says whether it is the same source as before, cheaply: the content of terabytes is not read for it."""
        raise NotImplementedError

    def files(self) -> list[str]:
        """The files that are read, which no result may replace."""
        return []

    def types(self) -> dict[str, pa.DataType]:
        """The types of the columns, as far as they are known beforehand."""
        raise NotImplementedError

    def starts(self, size: int) -> Iterator[tuple[str, int, int]]:
        """(path, start, rows) of each stretch of at most `size` rows."""
        raise NotImplementedError

    def read(self, shard: Shard) -> Iterator[Any]:
        """The rows of a shard."""
        raise NotImplementedError

    def shards(self, size: int) -> Iterator[Shard]:
        """All rows, in order, in shards of at most `size`; none spans two files."""
        first = 0
        for number, (path, start, rows) in enumerate(self.starts(size)):
            yield Shard(number, first, rows, path, start)
            first += rows


class DatasetSource(Source):
    """One split of a dataset, by any name that `load_dialogues` takes; mapped into memory, not read into it."""

    def __init__(self, dataset: str, config: str, split: str) -> None:
        if dataset not in GENERATED and os.path.isdir(dataset):
            dataset = os.path.abspath(dataset)  # a worker may run in another folder
        self._named = (dataset, config, split)
        self._rows: datasets.Dataset | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetSource, self._named  # a worker opens it itself

    def identity(self) -> list[Any]:
        return [*self._named, len(self._open())]

    def types(self) -> dict[str, pa.DataType]:
        return {column.name: column.type for column in self._open().features.arrow_schema}

    def starts(self, size: int) -> Iterator[tuple[str, int, int]]:
        return _stretches(self._named[0], len(self._open()), size)

    def read(self, shard: Shard) -> Iterator[Any]:
        yield from self._open().select(range(shard.start, shard.start + shard.rows))

    def _open(self) -> datasets.Dataset:
        if self._rows is None:
            self._rows = open_split(*self._named)
        return self._rows


class FileSource(Source):
    """Files, in the order given; of a folder all that end in .jsonl, .ndjson or .parquet, by name.

    Args:
        inputs: files of JSON lines, of Parquet, or (any other name) of one JSON dialogue or a list of them.
        columns: of Parquet files, read beside those that a dialogue is made of.
    Raises:
        UserError: no such file; a folder without any; columns that are no dialogue, or differ between files.
    """

    def __init__(self, inputs: Sequence[Path], columns: Sequence[str] = ()) -> None:
        self._paths = [os.path.abspath(path) for given in inputs for path in _files_of(given)]
        self._columns = [*TEXT_KEYS, *PICTURE_KEYS, VIDEO, *RECORD_KEYS, *columns]
        self._reading: _ParquetReading | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": None}

    def files(self) -> list[str]:
        return self._paths

    def identity(self) -> list[Any]:
        stats = [(path, os.stat(path)) for path in self._paths]
        return [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]

    def types(self) -> dict[str, pa.DataType]:
        known: dict[str, pa.DataType] = {}
        for path in (path for path in self._paths if path.endswith(PARQUET)):
            schema = _open_parquet(path).schema_arrow
            if "sentences" not in schema.names:
                raise UserError(f"{path} has no column sentences; columns found: {', '.join(schema.names)}")
            for column in schema:
                if known.setdefault(column.name, column.type) != column.type:
                    raise UserError(
                        f"{path}: the column {column.name} is {column.type}, in the files before it "
                        f"{known[column.name]}: write them with one schema"
                    )
        return known

    def starts(self, size: int) -> Iterator[tuple[str, int, int]]:
        for path in self._paths:
            if path.endswith(PARQUET):
                yield from _stretches(path, _open_parquet(path).metadata.num_rows, size)
            elif (rows := _read_document(path)) is not None:
                yield from _stretches(path, len(rows), size)
            else:
                yield from _stretches_of_lines(path, size)

    def read(self, shard: Shard) -> Iterator[Any]:
        if not shard.path.endswith(PARQUET):
            rows = _read_document(shard.path)
            return iter(rows[shard.start : shard.start + shard.rows]) if rows is not None else _read_lines(shard)
        if self._reading is None or not self._reading.can_reach(shard):
            self._reading = _ParquetReading(shard.path, self._columns)
        return self._reading.read(shard)


def as_dialogue(row: Any, folder: Path) -> Dialogue:
    """A row as the pipeline takes it: labels, and columns that it does not know, are left out.

    Args:
        row: with the keys of a dialogue (pictures are paths or bytes, a video a path), or a row of the dataset.
        folder: what paths are relative to.
    Raises:
        ValueError, OSError: no dialogue, or a picture that cannot be read.
    """
    if isinstance(row, BadRow):
        raise ValueError(row.message)
    if not isinstance(row, Mapping):
        raise ValueError(f"found {'null' if row is None else type(row).__name__}, expected an object with sentences")
    if row.get("sentences") is None:
        raise ValueError(f"no sentences; keys found: {', '.join(map(str, row))}"[:300])
    if row.get("speaker_ids") is not None or row.get("visual_annotations"):
        dialogue = to_dialogue({**row, "clusters": [], "entity_labels": []})
        return {key: value for key, value in without_labels([dialogue])[0].items() if value}
    dialogue = {key: row[key] for key in TEXT_KEYS if row.get(key) is not None}
    video = row.get(VIDEO)
    if isinstance(video, str):
        dialogue[VIDEO] = folder / video if "://" not in video else video
    elif video is not None:
        raise ValueError(f"video: found a value of type {type(video).__name__}, expected a path")
    return dialogue | {key: _pictures(row[key], folder, key) for key in PICTURE_KEYS if row.get(key)}


def _pictures(value: Any, folder: Path, where: str) -> Any:
    if isinstance(value, list):
        return [_pictures(each, folder, f"{where}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():  # as `datasets` stores pictures
        value = value.get("bytes") or value.get("path")
    if not isinstance(value, bytes):
        return folder / value if isinstance(value, str) else value
    try:
        return Image.open(io.BytesIO(value))
    except UnidentifiedImageError as error:
        raise ValueError(f"{where}: {len(value):,} bytes that are no picture that Pillow can read") from error
    except Exception as error:  # a broken header may trip any line of a decoder
        raise ValueError(f"{where}: {error}") from error


# Files


def _files_of(given: Path) -> list[Path]:
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise UserError(f"no such file: {given}")
    endings = (*LINES, PARQUET)
    found = sorted(path for path in given.rglob("*") if path.suffix in endings and path.name[0] not in "._")
    if not found:
        raise UserError(f"the folder {given} holds no file that ends in {', '.join(endings)}")
    return found


def _stretches(path: str, count: int, size: int) -> Iterator[tuple[str, int, int]]:
    return ((path, start, min(size, count - start)) for start in range(0, count, size))


def _stretches_of_lines(path: str, size: int) -> Iterator[tuple[str, int, int]]:
    """The file is read through once, to find at which bytes the stretches begin."""
    start = end = rows = 0
    with open(path, "rb") as file:
        for line in file:
            end += len(line)
            rows += bool(line.strip())
            if rows == size:
                yield path, start, rows
                start, rows = end, 0
    if rows:
        yield path, start, rows


def _read_lines(shard: Shard) -> Iterator[Any]:
    number = shard.first
    with open(shard.path, "rb") as file:
        file.seek(shard.start)
        for line in file:
            if number == shard.first + shard.rows:
                return
            if line.strip():
                try:
                    yield parse_json(line, f"{shard.path}, row {number}")
                except JsonError as error:
                    yield BadRow(str(error))
                number += 1


def _read_document(path: str) -> list[Any] | None:
    """The rows of a file that holds one JSON object or list; None where it holds lines."""
    if path.endswith(LINES):
        return None
    try:
        value = parse_json(Path(path).read_bytes(), path)
    except JsonError:
        return None
    return value if isinstance(value, list) else [value]


def _open_parquet(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is no Parquet file that can be read ({error})") from error


class _ParquetReading:
    """A file read forwards: the shards of one large row group do not each decode it from its beginning."""

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self._path = path
        file = _open_parquet(path)
        chosen = [name for name in dict.fromkeys(columns) if name in file.schema_arrow.names]
        self._batches = file.iter_batches(READ_ROWS, columns=chosen)
        self._position, self._held = 0, pa.table({})  # rows before the held ones

    def can_reach(self, shard: Shard) -> bool:
        return self._path == shard.path and self._position <= shard.start

    def read(self, shard: Shard) -> Iterator[Any]:
        at, stop = shard.start, shard.start + shard.rows
        while at < stop:
            while self._position + self._held.num_rows <= at:
                self._position += self._held.num_rows
                self._held = next(self._batches)
            part = self._held.slice(at - self._position, stop - at)
            yield from part.to_pylist()
            at += part.num_rows
