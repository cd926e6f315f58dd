"""Cross-validation: which dialogues are whose."""

import hashlib
from collections.abc import Sequence

from tiktalkcoref.files.errors import UserError


class FoldError(UserError):
    """A fold that is none."""


def split_fold(doc_keys: Sequence[str], fold: str) -> dict[str, set[str]]:
    """The documents of one fold: `test` is the part that the fold names, `validation` a tenth of the rest.

    Depends on the keys alone, not on their order, so every run and every config sees the same folds.
    """
    part, parts = parse_fold(fold)
    keys = sorted(set(doc_keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    test = set(keys[part::parts])
    rest = [key for key in keys if key not in test]
    validation = set(rest[::10])
    return {"test": test, "validation": validation, "train": set(rest) - validation}


def parse_fold(fold: str) -> tuple[int, int]:
    """`"2/5"` -> (1, 5): the number of the test part counted from 0, and how many parts there are."""
    part, _, parts = fold.partition("/")
    valid = part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) and int(parts) >= 2
    if not valid:
        raise FoldError(f"fold is {fold!r}: expected like 2/5, the second of five parts")
    return int(part) - 1, int(parts)
