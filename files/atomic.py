"""Results that are there whole or not at all: write beside the target, flush to disk, rename.

A writer of `out` holds the lock `.out.lock-TOKEN` while it fills `.out.tmp-TOKEN`. The lock ends with its process, so
the next writer of `out` knows what a killed one has left (every lock it can take) and removes it; others that write
the same target at the same time keep theirs, and who ends last wins.
"""

import contextlib
import errno
import fnmatch
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock

ANYTHING = ("**",)
"""`owned` of a folder inside another one that is known to be ours."""


@contextlib.contextmanager
def atomic_folder(path: Path | str, owned: Sequence[str] = (), marker: str | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends without an error.

    Args:
        path: the folder to write; missing parents are made, a symbolic link is followed.
        owned: patterns of the files that such a result holds (relative paths; `*` stays within a folder, a last `**`
            is everything below). A folder that holds any other file is the user's own and is not replaced.
        marker: pattern of a file that every such result holds and hardly anybody else's folder: one without it is not
            replaced either. For results whose files have common names, such as README.md.

    Raises:
        FileExistsError: `path` may not be replaced; nor may the working directory, or a folder around it.
        NotADirectoryError: `path` is a file.
        OSError: the folder cannot be renamed, for instance a mount point.
    """
    path = Path(os.path.realpath(path))
    with _temporary(path) as (temporary, aside):
        _refuse_to_replace(path, owned, marker)
        temporary.mkdir()
        mode = temporary.stat().st_mode
        yield temporary
        for root, _, names in os.walk(temporary, topdown=False):
            for entry in [*(Path(root) / name for name in names), Path(root)]:
                _settle(entry, mode)
        _refuse_to_replace(path, owned, marker)
        _put_in_place(temporary, path, aside)
        _flush(path.parent)


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix) whose file becomes `path` when the block ends without an error.

    Raises:
        IsADirectoryError: `path` is a folder.
        FileExistsError: `path` is something else that is no file, such as a device.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the name of a file to write was expected")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is a device or a pipe and is not replaced; the name of a file was expected")
    with _temporary(path, path.suffix) as (temporary, _):
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        _settle(temporary, mode)
        os.replace(temporary, path)
        _flush(path.parent)


# Temporaries and their locks


@contextlib.contextmanager
def _temporary(path: Path, suffix: str = "") -> Iterator[tuple[Path, Path]]:
    """Yield two free names beside `path`, for the new result and for the old one while they are exchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    token = secrets.token_hex(6)
    _beside(path, "lock", token).touch()  # raises where no file can be made; filelock would wait for ever
    # Takes no time: only who cleans up can have found it. filelock takes no lock whose file that one has removed.
    with FileLock(_beside(path, "lock", token), thread_local=False):
        try:
            # The suffix is kept: image and array writers choose their format by it.
            yield _beside(path, "tmp", token + suffix), _beside(path, "old", token)
        finally:
            _clear(path, token)


def _beside(path: Path, kind: Literal["lock", "tmp", "old"], token: str) -> Path:
    return path.parent / f".{path.name}.{kind}-{token}"


def _remove_leftovers(path: Path) -> None:
    """Clear up after the writers of `path` that were killed: those whose lock can be taken."""
    pattern = re.compile(re.escape(f".{path.name}.lock-") + "([0-9a-f]{12})")
    for match in filter(None, map(pattern.fullmatch, sorted(os.listdir(path.parent)))):
        with contextlib.suppress(OSError), FileLock(path.parent / match[0], timeout=0, thread_local=False):
            _clear(path, match[1])  # not where its writer lives (Timeout) or is another user (PermissionError)


def _clear(path: Path, token: str) -> None:
    """Remove what a writer has left, and its lock file; whoever calls this holds the lock."""
    aside = _beside(path, "old", token)
    if aside.exists():
        if not path.exists():  # killed between two renames: the old result comes back
            with contextlib.suppress(OSError):
                os.rename(aside, path)
        if not path.exists():
            return  # this is the only copy
        shutil.rmtree(aside, ignore_errors=True)
    for temporary in path.parent.glob(f".*.tmp-{token}*"):  # a token is nobody else's
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(PermissionError):  # Windows keeps an open file; an unused lock does no harm
        _beside(path, "lock", token).unlink(missing_ok=True)


# Replacing a folder


def _refuse_to_replace(path: Path, owned: Sequence[str], marker: str | None) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is a file; the name of a folder to write was expected")
    here = Path(os.path.realpath(Path.cwd()))
    if path == here or path in here.parents:
        raise FileExistsError(f"{path} is the working directory, or holds it, and is not replaced; name a folder in it")
    names, folders = [], []
    for root, below, files in os.walk(path):  # what another writer takes away meanwhile is passed over
        links = [name for name in below if os.path.islink(os.path.join(root, name))]
        names += [Path(root, name).relative_to(path).as_posix() for name in files + links]
        folders += below
    if not owned and (folders or names):
        raise FileExistsError(f"{path} already exists and is not empty; choose another folder or remove it")
    away = "is not replaced; choose another folder or move the file away"
    foreign = [name for name in sorted(names) if not any(_fits(name, pattern) for pattern in owned)]
    if foreign:
        raise FileExistsError(f"{path} holds {foreign[0]}, which is no file that is written here, so the folder {away}")
    if names and marker is not None and not any(_fits(name, marker) for name in names):
        raise FileExistsError(
            f"{path} holds {min(names)} but no {marker}, so it was not written by this command and {away}"
        )


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    if wanted[-1] == "**" and len(parts) >= len(wanted):
        wanted.pop()
        parts = parts[: len(wanted)]
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _put_in_place(temporary: Path, path: Path, aside: Path) -> None:
    """Give the finished folder its name; an old one steps aside first, where `_clear` finds it."""
    try:
        while True:
            try:
                os.rename(temporary, path)  # nothing is there, or an empty folder
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # another writer is exchanging it just now
                os.rename(path, aside)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise OSError(
            f"{path} cannot be replaced by renaming ({os.strerror(error.errno)}): it is a mount point or part of a "
            "read-only layer; name a folder inside it"
        ) from error


# Modes, and flushing to disk


def _settle(path: Path, usual: int) -> None:
    """Flush to disk, readable for whom the umask allows: some writers make files for their owner alone."""
    if path.is_symlink():
        return
    mode = path.stat().st_mode
    path.chmod((mode | usual & (0o777 if path.is_dir() else 0o666)) & 0o7777)
    _flush(path)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
