"""The mention head: a start logit a character, then an end logit for each end that the start could have.

As in Maverick (Martinelli et al., ACL 2024) the end is conditioned on its start and stays within the utterance, so that
nested mentions are found. Pairs are scored by a biaffine form with a width bias and, as in a semi-Markov model
(Sarawagi and Cohen, 2004), by what each character after the first says of being inside a mention: two good ends around
a verb or a comma make none. All over a band [C, W] of at most `max_mention_length` ends a start, in blocks: time and
memory grow linearly with the dialogue.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .precision_tiktalkcoref import exact

BLOCK = 256  # starts scored at once
PRIOR = -2.0  # initial bias of the start logit: most characters start nothing


class Dropout(nn.Dropout):
    """As torch's, whose mask a CPU draws one by one from doubles: a third of the mention head's time in training."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        return input * (torch.rand(input.shape) >= self.p).to(input.dtype).div_(1 - self.p)


class MentionHead(nn.Module):
    """Scores starts and spans. `initial_bias` and `initial_weight` are read when weights are initialised.

    Args:
        hidden_size: Size of a character's state.
        size: Size of the start and end representations.
        max_length: W, the longest mention in characters.
    """

    def __init__(self, hidden_size: int, size: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.max_length = max_length
        self.dropout = Dropout(dropout)
        self.start_hidden = nn.Linear(hidden_size, size)
        self.start_score = nn.Linear(size, 1)
        self.start_score.initial_bias = PRIOR  # type: ignore[assignment]
        self.span_start = nn.Linear(hidden_size, size)
        self.span_end = nn.Linear(hidden_size, size)
        self.biaffine = nn.Linear(size, size, bias=False)
        self.start_bias = nn.Linear(size, 1)
        self.end_bias = nn.Linear(size, 1, bias=False)
        self.width_bias = nn.Embedding(max_length, 1)
        self.width_bias.initial_weight = 0.0  # type: ignore[assignment]
        self.inside_score = nn.Linear(hidden_size, 1)
        self.inside_score.initial_weight = 0.0  # type: ignore[assignment]

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, C, H] -> start logits [B, C], end logits [B, C, W] of the spans (start, start + w)."""
        states = self.dropout(states)
        start_logits, starts, ends = self._represent(states)
        return start_logits, self._score_band(starts, ends, self._inside(states))

    def score_spans(self, states: Tensor, dialogue: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of given spans [M] of any length: of their starts, and of their ends given the starts.

        On the CPU their offsets cost no waiting for the device.
        """
        states = self.dropout(states)
        start_logits, starts, _ = self._represent(states[dialogue, start])
        _, _, ends = self._represent(states[dialogue, end])
        width = (end - start).clamp(max=self.max_length - 1).to(states.device)
        upto = exact(self._inside(states)).cumsum(1)
        scores = (self.biaffine(starts) * ends).sum(-1) + self.start_bias(starts).squeeze(-1)
        scores = scores + self.end_bias(ends).squeeze(-1) + self.width_bias(width).squeeze(-1)
        row, first, last = (index.cpu().numpy() for index in (dialogue, start, end))
        inside = torch.from_numpy((upto[row, last] - upto[row, first]).astype(np.float32))
        return start_logits, scores.float() + inside.to(scores.device)

    def _represent(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States [..., H] -> start logits [...], representations of starts and of ends [..., D]."""
        start_logits = self.start_score(self.dropout(F.gelu(self.start_hidden(states)))).squeeze(-1)
        starts = self.dropout(F.gelu(self.span_start(states)))
        ends = self.dropout(F.gelu(self.span_end(states)))
        return start_logits.float(), starts, ends

    def _inside(self, states: Tensor) -> Tensor:
        """States [B, C, H] -> what each character adds to the score of a span that goes on through it, [B, C]."""
        return self.inside_score(states).squeeze(-1).float()

    def _score_band(self, starts: Tensor, ends: Tensor, inside: Tensor) -> Tensor:
        batch, length, _ = starts.shape
        width = self.max_length
        queries = self.biaffine(starts)
        band = torch.arange(width, device=starts.device)
        blocks = []
        for low in range(0, length, BLOCK):
            high = min(low + BLOCK, length)
            keys = ends[:, low : min(high + width - 1, length)]
            scores = queries[:, low:high] @ keys.transpose(1, 2) + self.end_bias(keys).transpose(1, 2)
            column = torch.arange(high - low, device=starts.device)[:, None] + band  # beyond the last end: masked later
            column = column.clamp(max=keys.shape[1] - 1).expand(batch, -1, -1)
            blocks.append(scores.gather(2, column))
        scores = torch.cat(blocks, 1) + self.start_bias(starts) + self.width_bias.weight.T
        within = F.pad(inside, (0, width - 1)).unfold(1, width, 1)[..., 1:].cumsum(-1)
        return scores.float() + F.pad(within, (1, 0))


def band_mask(utterance: Tensor, max_length: int) -> Tensor:
    """Which (start, start + w) lie within one utterance: [B, C] utterance numbers (-1 padding) -> bool [B, C, W]."""
    ends = F.pad(utterance, (0, max_length - 1), value=-1).unfold(1, max_length, 1)
    return (ends == utterance[..., None]) & (utterance >= 0)[..., None]


def mention_labels(clusters: list[list[list[list[int]]]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Gold starts [B, C] and spans [B, C, W] for the end logits `like`. Mentions longer than W are left out."""
    starts, spans = torch.zeros(like.shape[:2]), torch.zeros(like.shape)
    index = [
        (number, start, end - start)
        for number, dialogue in enumerate(clusters)
        for cluster in dialogue
        for start, end in cluster
        if end - start < like.shape[2]
    ]
    if index:
        dialogue, start, width = torch.tensor(index).T
        starts[dialogue, start] = 1.0
        spans[dialogue, start, width] = 1.0
    return starts.to(like.device), spans.to(like.device)


def mention_losses(
    start_logits: Tensor,
    end_logits: Tensor,
    mask: Tensor,
    starts: Tensor,
    spans: Tensor,
    end_starts: str,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropies of starts and of ends given starts, each a mean over dialogues of the sum in a dialogue.

    The ends are trained on the gold starts; with "predicted" also on the starts that the model would follow now, none
    of whose ends is right, as decoding meets them; with "all" on every start.

    Labels may be probabilities, `spans` those of start and end together: then ends are trained on a start for as much
    as it is probable, against their probability given the start.
    """
    characters = mask[..., 0]
    loss_start = F.binary_cross_entropy_with_logits(start_logits, starts, reduction="none")
    followed = torch.ones_like(starts) if end_starts == "all" else starts
    if end_starts == "predicted":
        followed = followed.masked_fill(start_logits.detach().sigmoid() > threshold, 1.0)
    ends = (spans / starts[..., None].clamp(min=torch.finfo(starts.dtype).tiny)).clamp(max=1.0)
    loss_end = F.binary_cross_entropy_with_logits(end_logits, ends, reduction="none") * followed[..., None]
    total_start = torch.where(characters, loss_start, 0.0).sum()
    return total_start / len(starts), torch.where(mask, loss_end, 0.0).sum() / len(starts)


def select_mentions(
    start_logits: Tensor, end_logits: Tensor, mask: Tensor, threshold: float, per_character: float
) -> tuple[Tensor, ...]:
    """The mentions found: spans whose probability, of start and end together, is above the threshold.

    Mentions may lie in one another but do not cross: of two that do, the more probable stays. Where a dialogue has more
    than `per_character` mentions a character, those of the highest probability stay. `mask` is on the CPU.

    Returns the dialogue, start and inclusive end of each, [M], on the CPU, ordered by these.
    """
    found = (
        mask.to(start_logits.device)
        & (start_logits.sigmoid() > threshold)[..., None]
        & (end_logits.sigmoid() > threshold)
    )
    dialogue, first, width = found.nonzero(as_tuple=True)
    # sums of logarithms are finer than products near 1
    scores = exact(F.logsigmoid(start_logits[dialogue, first]) + F.logsigmoid(end_logits[dialogue, first, width]))
    spans = torch.stack([dialogue, first, first + width], 1).cpu().numpy()
    likely = scores > np.log(threshold)  # each of the two above it is necessary, not enough
    spans, scores = spans[likely], scores[likely]
    limits = np.ceil(mask[..., 0].sum(1).numpy() * per_character)
    order = np.lexsort((-scores, spans[:, 0]))  # dialogue by dialogue, the best first
    number = spans[order, 0]
    order = order[np.arange(len(order)) - np.searchsorted(number, number) < limits[number]]
    kept = sorted(_without_crossing(spans, order, mask.shape[2]))
    return torch.from_numpy(spans[kept]).reshape(-1, 3).unbind(1)


def _without_crossing(spans: np.ndarray, order: np.ndarray, longest: int) -> Iterator[int]:
    """Which mentions [M, 3] stay, taken in their order, so that none begins inside another and ends beyond it."""
    ends: dict[tuple[int, int], list[int]] = {}  # of those that stay, by dialogue and start
    for index, (number, first, last) in zip(order.tolist(), spans[order].tolist(), strict=True):
        from_before = (e for s in range(first - longest + 1, first) for e in ends.get((number, s), ()))
        from_inside = (e for s in range(first + 1, last + 1) for e in ends.get((number, s), ()))
        if not any(first <= e < last for e in from_before) and not any(e > last for e in from_inside):
            ends.setdefault((number, first), []).append(last)
            yield index
