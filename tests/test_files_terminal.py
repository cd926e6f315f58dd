"""What strangers wrote reaches the terminal as text: no escape sequence, no character that the console lacks."""

import io
import os
import subprocess
import sys

import pytest
from rich.table import Table
from rich.text import Text

from tiktalkcoref.files.terminal import Terminal, counted, printable

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"  # OSC 52: writes the clipboard


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLIPBOARD, r"\x1b]52;c;cm0gLXJmIH4=\x07"),
        ("a\rb\x08\x7f\x9b31m", r"a\rb\x08\x7f\x9b31m"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\u2028\ud800", r"\u2028\ud800"),
        ("他₁\t👩\u200d👩\n[red]", "他₁\t👩\u200d👩\n[red]"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_nothing_that_is_printed_is_obeyed() -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, width=80, highlight=False, color_system="standard")
    table = Table(title=Text(CLIPBOARD))
    table.add_column(Text(CLIPBOARD))
    table.add_row(Text(CLIPBOARD, style="red"))
    terminal.print(table, Text(CLIPBOARD), CLIPBOARD)
    terminal.print(CLIPBOARD + "[red]", markup=False)
    printed = file.getvalue()
    assert printed.count(r"\x1b]52;c;") == 6
    assert "\x1b]" not in printed
    assert "\x07" not in printed
    assert "\x1b[31m" in printed  # rich's own colours are
    assert "[red]" in printed


def test_a_console_that_lacks_characters() -> None:
    script = (
        "from tiktalkcoref.files.terminal import Terminal, prepare_streams; prepare_streams();"
        "Terminal().print('[他]₁ 😀', markup=False); print('é ½')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "gbk"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert result.stdout.decode("gbk").splitlines() == [r"[他]1 \U0001f600", r"é \xbd"]


def test_counts_in_words() -> None:
    assert [counted(number, "warning") for number in (0, 1, 2)] == ["0 warnings", "1 warning", "2 warnings"]
