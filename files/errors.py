"""What a user can mend, and what to do with everything else."""

import contextlib
import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

ISSUES = "https://github.com/lxystaruni/TikTalkCoref/issues"


class UserError(ValueError):
    """Something a user can mend; the message says what was found, what was expected, where, and what to do.

    Every room's own error class derives from it. `modeling` and `evaluate_metric` cannot (they import nothing of
    ours): their error classes are ValueErrors with `for_user = True`, or who calls them uses `blame_input`.
    """

    for_user = True


@contextlib.contextmanager
def blame_input() -> Iterator[None]:
    """Around a call whose ValueErrors are about what it was given: they become UserErrors."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


def message_for_user(error: BaseException) -> str | None:
    """What to tell the user; None where the error is a fault of the program."""
    full = _find_full_disk(error)
    if full is not None:
        place = f" while writing {full.filename}" if full.filename else ""
        return f"the disk is full{place}: make room, or name another folder; what was there before is still whole"
    if isinstance(error, OSError) or getattr(error, "for_user", False):
        return str(error) or type(error).__name__
    return None


def write_traceback(error: BaseException, version: str) -> Path:
    """Write the traceback, with what a maintainer needs to know, into a new file of the system's temporary folder."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="backslashreplace", prefix="tiktalkcoref-", suffix=".txt", delete=False
    ) as file:
        file.write(f"tiktalkcoref {version}, Python {platform.python_version()}, {platform.platform()}\n")
        file.write(f"{' '.join(sys.argv)}\n\n")
        file.writelines(traceback.format_exception(error))
    return Path(file.name)


def _find_full_disk(error: BaseException | None) -> OSError | None:
    """The error that says so, also where a library has wrapped it in its own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return error
        if isinstance(error, OSError) and os.strerror(errno.ENOSPC) in str(error):  # pyarrow's carry no number
            return error
        error = error.__cause__ or error.__context__
    return None
