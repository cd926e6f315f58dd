"""Rows of results in files: JSON lines or Parquet, of columns that are the same whatever a row holds."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tiktalkcoref.files.atomic import atomic_file
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.jsonl import write_jsonl

Format = Literal["jsonl", "parquet"]
Row = dict[str, Any]
KEPT = ("doc_key", "sentences")  # unless told otherwise

_MENTION = pa.struct(
    {"text": pa.string(), "start": pa.int64(), "end": pa.int64(), "sentence": pa.int64(), "score": pa.float64()}.items()
)
_CLUSTER = pa.struct(
    {
        "mentions": pa.list_(_MENTION),
        "region": pa.int64(),
        "region_score": pa.float64(),
        "region_scores": pa.list_(pa.float64()),
    }.items()
)
_NUMBERS = pa.list_(pa.float64())
_TRACK = pa.struct(
    {
        "shot": pa.int64(),
        "times": _NUMBERS,
        "frames": pa.list_(pa.int64()),
        "boxes": pa.list_(_NUMBERS),
        "scores": _NUMBERS,
    }.items()
)
_ENTITY = pa.struct(
    {
        "id": pa.int64(),
        "tracks": pa.list_(_TRACK),
        "crop": pa.string(),
        "frame": pa.int64(),
        "time": pa.float64(),
        "box": _NUMBERS,
    }.items()
)
_ANSWER = {
    "clusters": pa.list_(_CLUSTER),
    "text_only": pa.bool_(),
    "entities": pa.list_(_ENTITY),
    "error": pa.string(),
}
OWN = ("row", *_ANSWER)


def schema_of(keep: Sequence[str] | None, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of Parquet results. A kept one of unknown type is text, or JSON where it holds something else.

    Raises:
        UserError: a column to keep that the input lacks, or that holds pictures or other bytes.
    """
    for name in keep or ():
        if types and name not in types:
            raise UserError(f"keep: the input has no column {name}; columns found: {', '.join(types)}")
        if name in types and "binary" in str(types[name]):
            raise UserError(f"keep: the column {name} holds bytes: keep a name or a path instead")
    kept = {name: types.get(name, pa.string()) for name in (keep if keep is not None else KEPT)}
    if "sentences" in kept:
        kept["sentences"] = pa.list_(pa.string())
    return pa.schema({"row": pa.int64(), **kept, **_ANSWER}.items())


def kept_of(row: Any, keep: Sequence[str] | None) -> Row:
    """The columns of an input row that go into the result; sentences as the strings that offsets count in."""
    if not isinstance(row, Mapping):
        return {}
    names = keep if keep is not None else [name for name in KEPT if row.get(name) is not None]
    kept = {name: _plain(row.get(name)) for name in names}
    if isinstance(kept.get("sentences"), list):
        kept["sentences"] = ["".join(map(str, s)) if isinstance(s, list) else s for s in kept["sentences"]]
    return kept


def write_rows(path: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write rows into a file of the format that its name says, whole or not at all."""
    if path.suffix != ".parquet":
        write_jsonl(path, rows)
        return
    columns = {field.name: [_fit(row.get(field.name), field.type) for row in rows] for field in schema}
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


def count_rows(path: Path) -> tuple[int, int]:
    """How many rows a file has, and how many of these are errors."""
    if path.suffix == ".parquet":
        errors = pq.read_table(path, columns=["error"])["error"]
        return len(errors), len(errors) - errors.null_count
    rows = fine = 0
    with path.open("rb") as file:
        for line in file:
            rows += 1
            fine += line.endswith(b'"error": null}\n')  # the last key of every row
    return rows, rows - fine


def join_files(parts: Sequence[Path], target: Path, file_format: Format) -> None:
    """One file of several, in their order."""
    if file_format == "jsonl":
        with target.open("wb") as file:
            for part in parts:
                with part.open("rb") as opened:
                    shutil.copyfileobj(opened, file)
        return
    with pq.ParquetWriter(target, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _fit(value: Any, kind: pa.DataType) -> Any:
    """The value as the column takes it; None where it cannot be (of a row that is an error anyway)."""
    if pa.types.is_string(kind) and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        pa.array([value], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    return value
