"""Small readings of a canonical record that several modules share."""

from collections.abc import Sequence
from typing import Any


def tokens_of(record: dict[str, Any]) -> list[str]:
    """The tokens of the whole dialogue, in order: what the offsets in `clusters` count."""
    return [token for sentence in record["sentences"] for token in sentence]


def mention_text(tokens: Sequence[str], mention: Sequence[int]) -> str:
    """The text of a mention `[start, end]`, end inclusive; Chinese has no spaces between tokens."""
    return "".join(tokens[mention[0] : mention[1] + 1])
