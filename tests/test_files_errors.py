"""Who can mend an error, what a full disk says, which extra is missing, where the traceback goes."""

import errno
import subprocess
import sys

import pytest

from tiktalkcoref.files.errors import UserError, blame_input, message_for_user, write_traceback
from tiktalkcoref.files.extras import MissingExtraError, need
from tiktalkcoref.files.hints import closest


class RefusalError(ValueError):
    """As `modeling` and `evaluate_metric` have them: they cannot import `UserError`."""

    for_user = True


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("line 2: no"), "line 2: no"),
        (RefusalError("no"), "no"),
        (FileNotFoundError("no file"), "no file"),
        (OSError(), "OSError"),
        (ValueError("invalid literal for int()"), None),
        (KeyError("clusters"), None),
        (NotImplementedError(), None),
    ],
)
def test_who_can_mend_it(error: Exception, message: str | None) -> None:
    assert message_for_user(error) == message


def test_errors_about_the_input_become_the_users() -> None:
    with pytest.raises(UserError, match=r"^ks is empty$"), blame_input():
        raise ValueError("ks is empty")
    with pytest.raises(KeyError), blame_input():
        raise KeyError("ks")


def test_a_full_disk_is_told_through_other_errors() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "out/a.parquet")
        except OSError as error:
            raise RuntimeError("An error occurred while generating the dataset") from error
    except RuntimeError as error:
        message = message_for_user(error)
    assert message is not None
    assert message.startswith("the disk is full while writing out/a.parquet: make room")
    assert "disk is full" in str(message_for_user(OSError("IO error: No space left on device")))


def test_the_traceback_is_written() -> None:
    try:
        int("one")
    except ValueError as error:
        path = write_traceback(error, "1.2.3")
    text = path.read_text(encoding="utf-8")
    path.unlink()
    assert text.startswith("tiktalkcoref 1.2.3, Python 3.")
    assert 'int("one")' in text
    assert text.endswith("ValueError: invalid literal for int() with base 10: 'one'\n")


def test_a_missing_extra_is_named() -> None:
    need("model", "json")
    with pytest.raises(MissingExtraError, match=r"^no_such_a, no_such_b.inner are .*: pip install '.*\[space\]'$"):
        need("space", "json", "no_such_a", "no_such_b.inner")
    assert issubclass(MissingExtraError, UserError)
    assert issubclass(MissingExtraError, ImportError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("batch_sise", "; did you mean loop.batch_size?"),
        ("training.epochs", "; did you mean loop.epochs?"),
        ("loop.epoch", "; did you mean loop.epochs?"),
        ("xyz", ""),
    ],
)
def test_hints(name: str, hint: str) -> None:
    assert closest(name, ["loop.epochs", "loop.batch_size", "seed"]) == hint


def test_files_needs_no_model_library() -> None:
    script = "import sys, pkgutil, importlib, tiktalkcoref.files as f\n"
    script += "for m in pkgutil.iter_modules(f.__path__): importlib.import_module(f'tiktalkcoref.files.{m.name}')\n"
    script += "print(*({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"
