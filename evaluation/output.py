"""Output folders looked at before the work, so that a refusal costs nothing."""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path

from tiktalkcoref.files.errors import UserError


class OutputError(UserError):
    """An output folder that cannot be used."""


def check_writable(folder: Path) -> None:
    """Make the folder where it is missing, and see whether files can be made in it. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror or error}): choose another folder by --output"
        ) from error


def check_replaceable(folder: Path, owned: Collection[str], marker: str, keys: Collection[str]) -> None:
    """Whether `folder` can be written: it is missing, empty, or an earlier result of ours.

    Args:
        owned: the names of the files that a result holds.
        marker: the one of them that tells whose it is: JSON with all of `keys`.

    Raises:
        OutputError: names the file that is not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: the name of a folder to write was expected")
    check_writable(folder.resolve().parent)
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in found if name not in owned]
    if found and not foreign and not _holds(folder / marker, keys):
        foreign = [marker if marker in found else found[0]]
    if foreign:
        raise OutputError(
            f"{folder} holds {foreign[0]}, which was not written here, so the folder is not replaced: choose another "
            "folder, or move the file away"
        )


def _holds(path: Path, keys: Collection[str]) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and set(keys) <= content.keys()
