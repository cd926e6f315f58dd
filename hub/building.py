"""Where repositories are built: a temporary folder that is gone in the end, or one that the user keeps."""

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from tiktalkcoref.files.errors import UserError

from .contents import MANIFEST, read_manifest, write_manifest
from .kind import Sources


def check_target(folder: Path, sources: Sources) -> None:
    """Refuse to build into a folder that holds anything but an earlier build, or that is read from.

    Raises:
        ValueError: what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --build-dir names a folder")
    target = folder.resolve()
    for path in (sources.dataset, sources.model, *sources.scores):
        source = path.resolve() if path is not None and path.exists() else None
        if source and (source.is_relative_to(target) or target.is_relative_to(source)):
            raise UserError(f"{folder} cannot be written while {path} is read: name another folder with --build-dir")
    manifest = folder / MANIFEST
    listed = read_manifest(manifest.read_bytes()) if manifest.is_file() else None
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    foreign = [name for name in found if name != MANIFEST and name not in (listed or ())]
    if foreign:
        raise UserError(
            f"{folder} holds {foreign[0]}, which no push has built, so the folder is not replaced: name an empty "
            "folder with --build-dir, or move the file away"
        )


def build(write: Callable[[Path], list[str]], folder: Path) -> list[str]:
    """Let `write` fill an empty folder, list its files, and put it in the place of `folder`; what `write` returned.

    Built beside the target and renamed: a build that is killed leaves the target as it was, or none.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        lines = write(unfinished)
        write_manifest(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return lines


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed when the block ends, also by SIGTERM, which else ends a process at once."""
    with tempfile.TemporaryDirectory(prefix="tiktalkcoref-push-", ignore_cleanup_errors=True) as name:

        def end(number: int, _: FrameType | None) -> None:
            shutil.rmtree(name, ignore_errors=True)  # first: uploads in other threads may take their time to end
            raise SystemExit(128 + number)

        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield Path(name)
            return
        before = signal.signal(signal.SIGTERM, end)
        try:
            yield Path(name)
        finally:
            signal.signal(signal.SIGTERM, before)
