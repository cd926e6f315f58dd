"""What the processor makes and the model reads, one object that is passed on whole; and what `forward` gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .lexicon_tiktalkcoref import is_blank

Spans = list[list[list[list[int]]]]  # clusters of each dialogue; a cluster is a list of [first, last], inclusive


@dataclass(eq=False)
class SoftLabels:
    """Labels that are probabilities, of B dialogues: what other models think of them, for one that learns from those.

    Attributes:
        starts: [B, C] that a mention starts at a character.
        spans: [B, C, W] that (start, start + w) is a mention.
        mentions: of each dialogue, at most M inclusive spans, ordered; no other corefers with anything.
        pairs: [B, M, M] that a mention corefers with one before it.
        links: of each dialogue [K, R + 1], how probable each region, then none, is for each of its clusters; None where
            it has no pictures or no link, or where those others read text alone: then gold links are learned.
    """

    starts: Tensor
    spans: Tensor
    mentions: list[list[tuple[int, int]]]
    pairs: Tensor
    links: list[Tensor | None]

    def to(self, device: torch.device | str | int) -> SoftLabels:
        links = [None if link is None else link.to(device) for link in self.links]
        return SoftLabels(self.starts.to(device), self.spans.to(device), self.mentions, self.pairs.to(device), links)


@dataclass(eq=False)
class DialogueBatch(Mapping[str, Any]):
    """B dialogues of at most C characters, in N windows of L tokens, with R regions shown by Q pictures.

    As a mapping it holds the fields that are not None: `model(**batch)`, `batch["input_ids"]`, `"links" in batch`.

    Attributes:
        input_ids, attention_mask: [N, L].
        token_speaker: [N, L], speaker number + 1 of the dialogue's characters, 0 elsewhere.
        character_index: [B, C], position in [N * L] of the character's state, -1 for padding.
        character_utterance, character_speaker: [B, C], numbers within the dialogue, -1 for padding.
        characters: of each dialogue; sentence_lengths: characters of each of its utterances.
        token_type_ids: [N, L].
        pixel_values: [Q, 3, H, W], where a dialogue has pictures.
        region_dialogue: [R], an index into B; with `pixel_values`.
        picture_region: [Q], an index into R, where a region has several pictures; None: one each, in order.
        clusters, links, region_identities: the labels, lists of B.
        masked_input_ids: [N, L], read in the place of `input_ids` where training hides some; queries stay whole.
        soft_labels: learned in the place of what `clusters` (with `links`: of one video) say.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_speaker: Tensor
    character_index: Tensor
    character_utterance: Tensor
    character_speaker: Tensor
    characters: list[list[str]]
    sentence_lengths: list[list[int]] | None = None
    token_type_ids: Tensor | None = None
    pixel_values: Tensor | None = None
    region_dialogue: Tensor | None = None
    picture_region: Tensor | None = None
    clusters: Spans | None = None
    links: list[list[int] | None] | None = None
    region_identities: list[list[str | None] | None] | None = None
    masked_input_ids: Tensor | None = None
    soft_labels: SoftLabels | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> DialogueBatch:
        """The batch itself, or one of a plain mapping of its fields."""
        return batch if isinstance(batch, cls) else cls(**batch)

    def __getitem__(self, name: str) -> Any:
        value = getattr(self, name) if name in NAMES else None
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in NAMES if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to(self, device: torch.device | str | int) -> DialogueBatch:
        """The batch with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in self.items() if isinstance(value, Tensor | SoftLabels)
        }
        return replace(self, **moved)

    def on_cpu(self) -> DialogueBatch:
        """The batch with all but its pictures on the CPU, where mentions, clusters and queries are described.

        Asked for before the encoder runs: later each of these transfers would wait for it.
        """
        text = ((name, value) for name, value in self.items() if name != "pixel_values")
        moved: dict[str, Any] = {
            name: value.to("cpu") for name, value in text if isinstance(value, Tensor | SoftLabels)
        }
        return replace(self, **moved)

    def region_counts(self) -> list[int]:
        """How many regions each dialogue has."""
        if self.region_dialogue is None:
            return [0] * len(self.characters)
        return torch.bincount(self.region_dialogue, minlength=len(self.characters)).tolist()

    def blank_edges(self, width: int) -> Tensor | None:
        """[B, C, W], which spans (start, start + w) start or end with a blank, on the CPU; None where nothing is."""
        places = [(row, at) for row, text in enumerate(self.characters) for at, c in enumerate(text) if is_blank(c)]
        if not places:
            return None
        blank = torch.zeros(self.character_index.shape, dtype=torch.bool)
        rows, columns = torch.tensor(places).T
        blank[rows, columns] = True
        ends = F.pad(blank, (0, width - 1)).unfold(1, width, 1)
        return blank[..., None] | ends

    def check_spans(self, clusters: Any) -> None:
        """Raise ValueError for clusters that are not inclusive spans of these dialogues."""
        if len(clusters) != len(self.characters):
            raise ValueError(
                f"clusters are given for {len(clusters)} dialogues, but the batch has {len(self.characters)}."
            )
        for number, (dialogue, text) in enumerate(zip(clusters, self.characters, strict=True), start=1):
            for span in (span for cluster in dialogue for span in cluster):
                if len(span) != 2 or not 0 <= span[0] <= span[1] < len(text):
                    raise ValueError(
                        f"dialogue {number} of the batch has the mention {list(span)}: expected [first, last], "
                        f"inclusive offsets of its {len(text)} characters (0 to {len(text) - 1})."
                    )


NAMES = tuple(attribute.name for attribute in fields(DialogueBatch))


@dataclass(eq=False)
class EncodedBatch:
    """What the two towers make of a batch, read once for several answers about it.

    Attributes:
        states: [B, C, H], of the characters.
        regions: [R, P], projected; None where there are no pictures or the model sees none.
        queries: projected, [P] each, by token ids: those of the clusters that were asked about so far.
    """

    states: Tensor
    regions: Tensor | None = None
    queries: dict[tuple[int, ...], Tensor] = field(default_factory=dict)


@dataclass
class TikTalkCorefOutput(ModelOutput):
    """What `forward` returns, for B dialogues of at most C characters.

    Every loss is the sum over what is decided in a dialogue (its starts, ends, pairs, links), its mean over the B
    dialogues: so the four are in the same units, and micro-batches weighted by `num_dialogues` add up to the loss of
    the whole batch (the contrastive part does with `linking_negatives="video"` alone: else it looks across the batch).

    Args:
        loss: Weighted sum of the four, where `clusters` were given.
        loss_start, loss_end, loss_clustering: Scalars.
        loss_linking: Scalar, None where no dialogue of the batch has both pictures and links.
        start_logits: [B, C] that a mention starts here.
        end_logits: [B, C, W] that, given this start, it ends w characters later.
        num_dialogues: B.
    """

    loss: Tensor | None = None
    loss_start: Tensor | None = None
    loss_end: Tensor | None = None
    loss_clustering: Tensor | None = None
    loss_linking: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    num_dialogues: int | None = None
