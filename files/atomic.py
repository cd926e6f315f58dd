"""Results that are there whole or not at all: write beside the target, flush to disk, rename.

A writer killed half-way leaves the old result (or none) and a hidden temporary beside it, which the next writer of the
same target removes. Whether the owner of a temporary still lives is told by an advisory lock (`flock`), which ends with
the process; unlike a process number it cannot be taken over by somebody else.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: temporaries of dead writers stay until somebody removes them
    fcntl = None


@contextlib.contextmanager
def atomic_folder(path: Path | str, overwrite: bool = True, owned: Sequence[str] | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends without an error.

    Args:
        path: the folder to write; missing parents are made, a symbolic link is followed.
        overwrite: whether a folder that already holds something may be replaced (as a whole).
        owned: patterns (`fnmatch`, relative paths with `/`) of the files that such a result holds. A folder with any
            other file is not replaced: it is the user's own.

    Raises:
        FileExistsError: `path` exists and may not be replaced (see `overwrite`, `owned`; nor may the working
            directory, or a folder around it).
        NotADirectoryError: `path` is a file.
        OSError: the folder cannot be renamed, for instance a mount point.
    """
    path = Path(os.path.realpath(path))
    _recover(path)
    _refuse_to_replace(path, overwrite, owned)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary, lock = _new_temporary(path, folder=True)
    try:
        yield temporary
        _sync_tree(temporary)
        _refuse_to_replace(path, overwrite, owned)
        _put_in_place(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # the unfinished result, or after an exchange the old one
        _unlock(lock)


@contextlib.contextmanager
def atomic_file(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path (same folder, same suffix) whose file becomes `path` when the block ends without an error.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        IsADirectoryError: `path` is a folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the name of a file to write was expected")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} already exists; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary, lock = _new_temporary(path, folder=False)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _unlock(lock)


# Names and locks of temporaries


def _prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


def _old_prefix(path: Path) -> str:
    return f".{path.name}.old-"


def _siblings(path: Path, prefix: str) -> list[Path]:
    try:
        return sorted(entry for entry in path.parent.iterdir() if entry.name.startswith(prefix))
    except OSError:
        return []


def _new_temporary(path: Path, folder: bool) -> tuple[Path, int | None]:
    while True:
        # The suffix is kept: image and array writers choose their format by it.
        temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(6)}{'' if folder else path.suffix}"
        if folder:
            temporary.mkdir()
        else:
            temporary.touch(exist_ok=False)
        lock = _lock(temporary)
        if temporary.exists():  # else another writer took it for stale before it was locked
            return temporary, lock
        _unlock(lock)


def _lock(path: Path) -> int | None:
    """Lock `path`; None where it is gone, somebody holds it, or there are no locks."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the temporaries of `path` whose writers are dead."""
    stale_names = _siblings(path, _prefix(path))
    if path.exists():  # else what was set aside is the only copy
        stale_names += _siblings(path, _old_prefix(path))
    for stale in stale_names:
        lock = _lock(stale)
        if lock is None:
            continue
        try:
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)
        finally:
            _unlock(lock)


# Replacing a folder


def _refuse_to_replace(path: Path, overwrite: bool, owned: Sequence[str] | None) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; the name of a folder to write was expected")
    here = Path(os.path.realpath(Path.cwd()))
    if path == here or path in here.parents:
        raise FileExistsError(f"{path} is the working directory, or holds it, and is not replaced; name a folder in it")
    if not overwrite and any(path.iterdir()):
        raise FileExistsError(f"{path} already exists and is not empty; choose another folder or remove it")
    if owned is not None:
        for file in (entry for entry in sorted(path.rglob("*")) if not entry.is_dir() or entry.is_symlink()):
            name = file.relative_to(path).as_posix()
            if not any(fnmatch(name, pattern) for pattern in owned):
                raise FileExistsError(
                    f"{path} holds {name}, which is no file that is written here, so the folder is not replaced; "
                    "choose another folder or move the file away"
                )


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give the finished folder its name; afterwards `temporary` is gone or holds the old folder."""
    try:
        if not path.exists():
            os.rename(temporary, path)
        elif not _exchange(temporary, path):
            _rename_twice(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise OSError(
            f"{path} cannot be replaced by renaming ({os.strerror(error.errno)}): it is a mount point or part of a "
            "read-only layer; name a folder inside it"
        ) from error


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step (Linux `renameat2`); False where system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    if renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _rename_twice(temporary: Path, path: Path) -> None:
    """The old folder steps aside, the new one takes its name. Killed in between, `_recover` brings the old one back."""
    aside = path.parent / f"{_old_prefix(path)}{secrets.token_hex(6)}"
    lock = _lock(path)  # so that nobody takes it for a dead writer's and brings it back
    try:
        os.rename(path, aside)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        _unlock(lock)


def _recover(path: Path) -> None:
    """Bring back the folder that a writer killed between its two renames had set aside."""
    if path.exists():
        return
    for aside in _siblings(path, _old_prefix(path)):
        lock = _lock(aside)
        if lock is None:
            continue
        try:
            with contextlib.suppress(OSError):
                os.rename(aside, path)
                return
        finally:
            _unlock(lock)


# Flushing to disk


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
