"""JSON lines, read and written in one way: UTF-8, a value a line, and a line ends at `\\n` only (not at U+2028)."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from .atomic import atomic_file
from .errors import UserError

_BOM = b"\xef\xbb\xbf"


class JsonError(UserError):
    """Text that is not the JSON it should be; the message says where."""


def read_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) of every line that is not blank; the file is read as the values are asked for.

    Raises:
        JsonError: a line is not UTF-8, not JSON, nested too deep, or has a key twice; names file and line.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(_BOM) if number == 1 else line
            if line.strip():
                yield number, parse_json(line, f"{path}, line {number}")


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> int:
    """Write one value a line, the file whole or not at all (see `atomic_file`); return how many."""
    written = 0
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            written += 1
    return written


def parse_json(data: bytes, where: str) -> Any:
    """One JSON value.

    Args:
        data: UTF-8; a byte order mark is dropped.
        where: file and line, for the message.

    Raises:
        JsonError: not UTF-8, not JSON (`NaN` is none), nested too deep, a key twice in one object, or half a character.
    """
    try:
        value = json.loads(
            data.removeprefix(_BOM).decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
        if b"\\ud" in data.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"{where}: not UTF-8 ({error}); save the file as UTF-8") from error
    except UnicodeEncodeError as error:
        raise JsonError(f"{where}: not JSON text: half a character, {error.object[error.start]!a}") from error
    except RecursionError as error:
        raise JsonError(f"{where}: JSON nested too deep to be read") from error
    except ValueError as error:
        raise JsonError(f"{where}: not JSON ({error})") from error
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
