"""What the exports share: the names of documents, the error, and files that are written together.

Names follow OntoNotes, where the first letters are the genre: `wb/6967261753985993991`, part 0, which the jsonlines
call `wb/6967261753985993991_0`. So the official scorer, fed with a CoNLL-2012 key and the predictions of an e2e-coref
model, finds the same documents on both sides.
"""

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.errors import UserError

Record = dict[str, Any]


class ExportError(UserError):
    """A record that the format cannot carry, or a file that is not of the format."""


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


def json_line(value: dict[str, Any]) -> str:
    """The value as a line of JSON."""
    return json.dumps(value, ensure_ascii=False) + "\n"


def write_files(output_dir: Path | str, names: Sequence[str], texts: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Write each text into the file that it names, the folder whole or not at all; returns the texts a file.

    Raises:
        FileExistsError: `output_dir` holds other files than `names`.
    """
    counts = dict.fromkeys(names, 0)
    with atomic_folder(output_dir, owned=names) as folder, contextlib.ExitStack() as stack:
        files = {}
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            files[name] = stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n"))
        for name, text in texts:
            files[name].write(text)
            counts[name] += 1
    return counts
