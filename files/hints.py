"""Hints for names that are not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: object, options: Iterable[object]) -> str:
    """`; did you mean X?`, or nothing. A right name in the wrong section (`loop.seed` for `seed`) counts as close."""
    wanted, known = str(name), [str(option) for option in options]
    last = wanted.rpartition(".")[2]
    lasts = {option: option.rpartition(".")[2] for option in known}
    close = (
        [option for option in known if lasts[option] == last]
        or get_close_matches(wanted, known, 1, 0.6)
        or [option for option in known if get_close_matches(last, [lasts[option]], 1, 0.75)]
    )
    return f"; did you mean {close[0]}?" if close else ""
