"""Where uploads lie, and when they go: when the page is closed, ten minutes after use, or when the next app starts."""

import atexit
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

PREFIX = "tiktalkcoref-space-"  # then the number of the process
KEPT_SECONDS = 600


def open_folder(parent: Path | None = None) -> Path:
    """The folder for this process's uploads; what killed apps have left is removed first."""
    parent = parent or Path(tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX)
        if number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = parent / f"{PREFIX}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


class Uploads:
    """Whose uploads are whose; those of the examples are nobody's.

    Args:
        folder: nothing outside it is ever removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._by_session: defaultdict[str, set[Path]] = defaultdict(set)

    def holds(self, path: str) -> bool:
        """Whether a path is one of uploads."""
        return Path(path).resolve().is_relative_to(self._folder)

    def remember(self, session: str, paths: Iterable[str | None]) -> None:
        """Files that a visitor has uploaded."""
        self._by_session[session].update(Path(path).resolve() for path in paths if path)

    def forget(self, session: str) -> None:
        """The visitor has left: remove the files, but for those that somebody else has uploaded too."""
        mine = self._by_session.pop(session, set())
        others = set().union(*self._by_session.values())
        for path in mine - others:
            if path.is_relative_to(self._folder) and not path.name.startswith("example-"):
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
