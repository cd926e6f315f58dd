"""The terminal: what is written there is shown, never obeyed, and no character is too much for it."""

import codecs
import re
import sys
import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# C0 and C1 controls but tab and newline; line and paragraph separators; bidirectional overrides; halves of a character
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with its control characters spelled out (`\\x1b`), so that a terminal shows them and does nothing."""
    return _CONTROLS.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


class Terminal(Console):
    """A rich console for texts of strangers: control characters in what is printed are shown (see `printable`)."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`; rich's own control segments stay as they are."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def say(text: str, err: bool = False) -> None:
    """Print a line, its control characters shown."""
    print(printable(text), file=sys.stderr if err else sys.stdout)


def counted(number: int, noun: str) -> str:
    """`1 warning`, `2 warnings`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def prepare_streams() -> None:
    """Characters that the console's encoding lacks (`₁` in GBK) become plain ones or escapes, not an error."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where somebody has put another object in its place
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = unicodedata.normalize("NFKD", text)  # ₁ -> 1
    return plain if plain.isascii() else text.encode("ascii", "backslashreplace").decode("ascii"), error.end
