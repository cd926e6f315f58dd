"""Where mentions open and close: what every drawing of a dialogue with brackets goes by (terminal, report, CoNLL)."""

from collections.abc import Sequence
from typing import NamedTuple

from tiktalkcoref.files.errors import UserError


class Mention(NamedTuple):
    """Tokens `start` to `end` (inclusive) of the dialogue, in the cluster with this number, counted from 0."""

    start: int
    end: int
    cluster: int


def brackets(
    clusters: Sequence[Sequence[Sequence[int]]], tokens: int
) -> tuple[list[list[Mention]], list[list[Mention]]]:
    """For each token the mentions that open before it, the longest first, and those that close behind it, the shortest
    first; of equal ones, the cluster with the lower number is the outer one.

    Args:
        clusters: mentions `[start, end]`, token offsets over the whole dialogue, end inclusive.
        tokens: how many the dialogue has.

    Raises:
        ValueError: a mention outside the dialogue.
    """
    opening: list[list[Mention]] = [[] for _ in range(tokens)]
    closing: list[list[Mention]] = [[] for _ in range(tokens)]
    for number, cluster in enumerate(clusters):
        for start, end in cluster:
            if not 0 <= start <= end < tokens:
                raise UserError(
                    f"cluster {number} has the mention [{start}, {end}], but the dialogue has {tokens} tokens"
                )
            opening[start].append(Mention(start, end, number))
            closing[end].append(Mention(start, end, number))
    for mentions in opening:
        mentions.sort(key=lambda mention: (-mention.end, mention.cluster))
    for mentions in closing:
        mentions.sort(reverse=True)
    return opening, closing
