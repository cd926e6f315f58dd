"""Hints for names that are not known."""

import difflib
from collections.abc import Iterable
from typing import Any


def closest(name: Any, options: Iterable[Any]) -> str:
    """`; did you mean X?`, or nothing. A right name in the wrong section counts as close."""
    options = [str(option) for option in options]
    last = str(name).rpartition(".")[2]
    close = [o for o in options if o.rpartition(".")[2] == last] or difflib.get_close_matches(
        str(name), options, 1, 0.6
    )
    close = close or [
        option for option in options if difflib.get_close_matches(last, [option.rpartition(".")[2]], 1, 0.75)
    ]
    return f"; did you mean {close[0]}?" if close else ""
