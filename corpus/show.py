"""A dialogue in the terminal: every mention in the colour of its cluster, brackets for those who see no colours."""

import difflib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tiktalkcoref.files.errors import UserError

from .names import NO_LABELS
from .records import Mention, boxes_of_clusters, brackets, mention_text, tokens_of

# Twelve colours that read on dark and on light backgrounds; clusters beyond the twelfth start again, underlined.
COLOURS = (
    "red", "dodger_blue1", "green4", "magenta", "dark_orange3", "dark_cyan",
    "medium_purple", "deep_pink4", "gold3", "steel_blue", "chartreuse4", "indian_red",
)  # fmt: skip
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def cluster_style(number: int) -> str:
    """The rich style of the cluster with this number, counted from 0."""
    return f"bold {COLOURS[number % len(COLOURS)]}" + (" underline" if number >= len(COLOURS) else "")


def colour_dialogue(
    sentences: Sequence[str] | Sequence[Sequence[str]],
    clusters: Sequence[Sequence[Sequence[int]]],
    speakers: Sequence[str] | None = None,
) -> Text:
    """One line an utterance: speaker, then the text with mentions as `[小明]₁`, numbered and coloured by cluster.

    Args:
        sentences: the utterances, each a string or a list of tokens.
        clusters: mentions `[start, end]`, token offsets over the whole dialogue, end inclusive.
        speakers: one an utterance; None leaves them out.

    Raises:
        ValueError: a mention outside the dialogue.
    """
    pairs = zip(*brackets(clusters, sum(len(sentence) for sentence in sentences)), strict=True)
    text = Text()
    open_mentions: list[Mention] = []  # innermost last
    for utterance, sentence in enumerate(sentences):
        if utterance:
            text.append("\n")
        if speakers is not None:
            text.append(f"{speakers[utterance]}  ", style="dim")
        for token in sentence:
            opening, closing = next(pairs)
            for mention in opening:
                text.append("[", style=cluster_style(mention.cluster))
            open_mentions += opening
            text.append(token, style=cluster_style(open_mentions[-1].cluster) if open_mentions else "")
            for mention in closing:
                open_mentions.remove(mention)
                number = str(mention.cluster + 1).translate(_SUBSCRIPTS)
                text.append(f"]{number}", style=cluster_style(mention.cluster))
    return text


def show_record(record: dict[str, Any]) -> RenderableType:
    """A whole record: where it stands in the corpus, its title, the coloured dialogue, its clusters and their boxes."""
    heading = Text.assemble((record["doc_key"], "bold"), (f"  {record['video_type']} · {record['split']}\n", "dim"))
    if record["video_title"]:
        heading.append(f"{record['video_title']}\n", style="italic")
    speakers = [speaker[0] if speaker else "" for speaker in record["speaker_ids"]]
    dialogue = colour_dialogue(record["sentences"], record["clusters"], speakers)

    boxes, linked, tokens = record["visual_annotations"], boxes_of_clusters(record), tokens_of(record)
    names = {box["box_labels"]: box["celebrity"] for box in boxes if box["celebrity"] not in NO_LABELS}
    table = Table("cluster", "mentions", "label", "boxes", "celebrity", box=None, pad_edge=False, header_style="dim")
    for number, (cluster, label) in enumerate(zip(record["clusters"], record["entity_labels"], strict=True)):
        style, mentions = cluster_style(number), " · ".join(mention_text(tokens, mention) for mention in cluster)
        boxed, name = ("", "") if label in NO_LABELS else (str(len(linked[number])), names.get(label, ""))
        table.add_row(Text(str(number + 1), style), Text(mentions, style), *map(Text, (label, boxed, name)))
    owned = set(chain.from_iterable(linked))
    unlabelled = Counter(box["box_labels"] for number, box in enumerate(boxes) if number not in owned)
    parts: list[RenderableType] = [heading, dialogue, Text(), table]
    if unlabelled:
        listed = ", ".join(f"{label} ({count})" for label, count in sorted(unlabelled.items()))
        parts.append(Text(f"boxes of no cluster: {listed}", style="dim"))
    return Group(*parts)


def choose_record(
    records: Iterable[dict[str, Any]], doc_key: str | None = None, draw: bool = False, seed: int | None = None
) -> dict[str, Any]:
    """The record of this doc_key; without one the first, or with `draw` any (each as likely; reproducible by seed).

    Raises:
        ValueError: there is none; the message names doc_keys that are near.
    """
    generator = random.Random(seed)
    chosen: dict[str, Any] | None = None
    seen: list[str] = []
    for record in records:
        seen.append(record["doc_key"])
        if record["doc_key"] == doc_key or (doc_key is None and not draw):
            return record
        if draw and generator.random() * len(seen) < 1:  # reservoir of one: nothing else stays in memory
            chosen = record
    if chosen is not None:
        return chosen
    if doc_key is None:
        raise UserError("there is no dialogue to choose from")
    near = difflib.get_close_matches(doc_key, seen, n=3, cutoff=0.8) or seen[:3]
    raise UserError(
        f"none of the {len(seen)} dialogues has the doc_key {doc_key!r}; there are for instance {', '.join(near)}"
    )
