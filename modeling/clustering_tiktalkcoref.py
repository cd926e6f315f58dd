"""The clustering head: which earlier mention does a mention corefer with?

A coarse bilinear scorer keeps the top-k antecedents of each mention (Lee et al., 2018), a fine scorer with one set of
weights for each kind of pair (LingMess, Otmazgin et al., 2023) decides, and coreferent pairs are closed transitively.
Mentions of all dialogues of a batch are one flat list ordered by (dialogue, start, end); pairs are a matrix [M, K] of
antecedents, nearest first, so that no loop runs over pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batch_tiktalkcoref import DialogueBatch, SoftLabels
from .lexicon_tiktalkcoref import OVERLAPS, PAIR_KINDS, PERSONS, TRAITS, contains, normalise, overlap, person, traits
from .mentions_tiktalkcoref import Dropout

ROWS = 256  # mentions whose antecedents are looked for at once
PAIRS = 16384  # pairs scored at once without gradients
# characters between starts: lower edges of the buckets
DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
KIND_SIZE = 64


@dataclass
class Mentions:
    """Mentions of a batch, each field [M]; ordered by dialogue, start, end. On the CPU: nothing waits for the device.

    `text` numbers the distinct normalised strings in `strings`; `person` indexes `PERSONS`; `traits` are gender and
    number.
    """

    dialogue: Tensor
    start: Tensor
    end: Tensor
    utterance: Tensor
    speaker: Tensor
    text: Tensor
    person: Tensor
    traits: Tensor
    strings: list[str]

    def spans(self) -> list[tuple[int, int, int]]:
        """(dialogue, start, end) of each."""
        return list(zip(self.dialogue.tolist(), self.start.tolist(), self.end.tolist(), strict=True))


class ClusteringHead(nn.Module):
    """Scores pairs of mentions. Positive: the two corefer.

    Args:
        hidden_size: Size of a character's state.
        size: Size of a mention.
        top_k: Antecedents that the fine scorer sees.
    """

    def __init__(self, hidden_size: int, size: int, top_k: int, dropout: float) -> None:
        super().__init__()
        self.top_k = top_k
        self.kind_size = min(KIND_SIZE, size)
        self.dropout = Dropout(dropout)
        self.mention = nn.Linear(2 * hidden_size, size)
        self.coarse = nn.Linear(size, size, bias=False)
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size, bias=False)
        self.product = nn.Linear(size, size, bias=False)
        self.relation = nn.Embedding(2 * len(PERSONS) ** 2, size)  # same or other speaker x the two persons
        self.distance = nn.Embedding(len(DISTANCES) + 1, size)
        self.position = nn.Embedding(4, size)  # other utterance, same utterance, overlapping, nested
        self.kind = nn.Embedding(len(PAIR_KINDS), size)
        self.agreement = nn.Embedding(TRAITS**2, size)  # genders and numbers of the two
        self.overlap = nn.Embedding(len(OVERLAPS), size)
        self.shared_score = nn.Linear(size, 1)
        self.kind_score = nn.Embedding(len(PAIR_KINDS), size)
        self.kind_query = nn.Linear(size, len(PAIR_KINDS) * self.kind_size)
        self.kind_key = nn.Linear(size, len(PAIR_KINDS) * self.kind_size)

    def represent(self, states: Tensor, mentions: Mentions) -> Tensor:
        """States [B, C, H] -> mentions [M, D]."""
        first, last = states[mentions.dialogue, mentions.start], states[mentions.dialogue, mentions.end]
        return self.dropout(F.gelu(self.mention(self.dropout(torch.cat([first, last], -1)))))

    def forward(self, vectors: Tensor, mentions: Mentions) -> tuple[Tensor, Tensor]:
        """Mentions [M, D] -> antecedents [M, K] (-1: none) and the logits [M, K] that they corefer (-inf: none)."""
        projected = self._project(vectors)
        antecedents = antecedents_of(vectors, projected[0], mentions.dialogue, self.top_k)
        count, width = antecedents.shape
        if count == 0 or width == 0:
            return antecedents, vectors.new_zeros((count, width), dtype=torch.float32)
        rows = count if torch.is_grad_enabled() else max(1, PAIRS // width)
        parts = ((low, antecedents[low : low + rows]) for low in range(0, count, rows))
        return antecedents, torch.cat([self._score(vectors, projected, mentions, *part) for part in parts])

    def _project(self, vectors: Tensor) -> tuple[Tensor, ...]:
        shape = (-1, len(PAIR_KINDS), self.kind_size)
        return (
            self.coarse(vectors),
            self.query(vectors),
            self.key(vectors),
            self.kind_query(vectors).view(shape),
            self.kind_key(vectors).view(shape),
        )

    def _score(
        self, vectors: Tensor, projected: tuple[Tensor, ...], mentions: Mentions, low: int, antecedents: Tensor
    ) -> Tensor:
        """Logits of the mentions from `low` on with their antecedents [m, K]; only real pairs are computed."""
        row, column = (antecedents >= 0).nonzero(as_tuple=True)
        pairs = torch.stack([row, column, row + low, antecedents[row, column]])  # a mention and the one before it
        described = torch.cat([pairs, torch.stack(pair_features(mentions, pairs[2], pairs[3]))]).to(vectors.device)
        row, column, first, second, kind, relation, distance, position, agreement, shared = described
        coarse, query, key, kind_query, kind_key = projected
        hidden = query[first] + key[second] + self.product(vectors[first] * vectors[second])
        hidden = hidden + self.relation(relation) + self.distance(distance) + self.position(position) + self.kind(kind)
        hidden = self.dropout(F.gelu(hidden + self.agreement(agreement) + self.overlap(shared)))
        score = self.shared_score(hidden).squeeze(-1) + (self.kind_score(kind) * hidden).sum(-1)
        score = score + (kind_query[first, kind] * kind_key[second, kind]).sum(-1) / self.kind_size**0.5
        score = score + (coarse[first] * vectors[second]).sum(-1)
        full = torch.full(antecedents.shape, float("-inf"), device=score.device)
        return full.index_put((row, column), score.float())


def describe_mentions(spans: list[list], batch: DialogueBatch) -> Mentions:
    """The mentions of each dialogue, as inclusive spans, with what their normalised strings and places say.

    `batch` is on the CPU (`DialogueBatch.on_cpu`).
    """
    rows = [(number, *span) for number, found in enumerate(spans) for span in sorted({tuple(span) for span in found})]
    dialogue, start, end = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).T.contiguous()
    numbers: dict[str, int] = {}
    texts = []
    for number, first, last in rows:
        string = normalise("".join(batch.characters[number][first : last + 1]))
        texts.append(numbers.setdefault(string, len(numbers)))
    text = torch.tensor(texts, dtype=torch.long)
    return Mentions(
        dialogue=dialogue,
        start=start,
        end=end,
        utterance=batch.character_utterance[dialogue, start],
        speaker=batch.character_speaker[dialogue, start],
        text=text,
        person=torch.tensor([person(string) for string in numbers], dtype=torch.long)[text],
        traits=torch.tensor([traits(string) for string in numbers], dtype=torch.long)[text],
        strings=list(numbers),
    )


def antecedents_of(vectors: Tensor, queries: Tensor, dialogue: Tensor, top_k: int) -> Tensor:
    """At most `top_k` earlier mentions of the same dialogue for each mention, [M, K], nearest first, -1 padding.

    Where a dialogue has more, those of the highest coarse score `queries @ vectors.T` stay; scored in blocks of rows.
    `dialogue` and what is returned are on the CPU; only those scores are waited for.
    """
    index = torch.arange(len(dialogue))
    first = torch.searchsorted(dialogue, dialogue)  # `dialogue` is sorted: where each one's mentions begin
    earlier = index - first
    most = int(earlier.max()) if len(dialogue) else 0
    nearest = index[:, None] - 1 - torch.arange(min(most, top_k))
    antecedents = torch.where(nearest >= first[:, None], nearest, -1)
    if most <= top_k:
        return antecedents
    crowded = (earlier > top_k).nonzero().flatten()
    found = []
    with torch.no_grad():
        for rows in crowded.split(ROWS):
            begin, end = int(first[rows[0]]), int(rows[-1])
            columns = torch.arange(begin, end)
            allowed = (columns >= first[rows][:, None]) & (columns < rows[:, None])
            scores = queries[rows] @ vectors[begin:end].T
            best = scores.masked_fill(~allowed.to(scores.device), float("-inf")).topk(top_k, dim=1).indices + begin
            found.append(best.sort(dim=1, descending=True).values)
        antecedents[crowded] = torch.cat(found).cpu()
    return antecedents


def pair_features(mentions: Mentions, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """What is known of pairs (a mention, one before it), each [P]: kind, speaker relation x persons, distance bucket,
    position, genders and numbers, overlap of the strings."""
    person_first, person_second = mentions.person[first], mentions.person[second]
    pronouns = (person_first > 0).long() + (person_second > 0).long()
    same_text = mentions.text[first] == mentions.text[second]
    kind = torch.full_like(first, PAIR_KINDS.index("other"))
    contained, shared = _compare(mentions, first, second, contains, overlap)
    kind[contained.bool() & (pronouns == 0)] = PAIR_KINDS.index("contains")
    kind[same_text] = PAIR_KINDS.index("match")
    kind[pronouns == 1] = PAIR_KINDS.index("entity_pronoun")
    kind[pronouns == 2] = PAIR_KINDS.index("pronoun_pronoun")

    same_speaker = (mentions.speaker[first] == mentions.speaker[second]).long()
    relation = (same_speaker * len(PERSONS) + person_first) * len(PERSONS) + person_second
    apart = mentions.start[first] - mentions.start[second]
    distance = torch.bucketize(apart, torch.tensor(DISTANCES), right=True)
    position = (mentions.utterance[first] == mentions.utterance[second]).long()
    position[mentions.start[first] <= mentions.end[second]] = 2
    nested = (mentions.end[first] <= mentions.end[second]) | (mentions.start[first] == mentions.start[second])
    position[(position == 2) & nested] = 3
    agreement = mentions.traits[first] * TRAITS + mentions.traits[second]
    return kind, relation, distance, position, agreement, shared


def _compare(
    mentions: Mentions, first: Tensor, second: Tensor, *comparisons: Callable[[str, str], int]
) -> list[Tensor]:
    """What comparisons say of the strings of pairs, each [P]; each pair of distinct strings is compared once."""
    strings = mentions.strings
    codes = mentions.text[first] * len(strings) + mentions.text[second]
    distinct, inverse = codes.unique(return_inverse=True)
    pairs = [(strings[code // len(strings)], strings[code % len(strings)]) for code in distinct.tolist()]
    said = [[compare(*pair) for pair in pairs] for compare in comparisons]
    return [torch.tensor(each, dtype=torch.long)[inverse] for each in said]


def soft_pairs(labels: SoftLabels, mentions: Mentions, antecedents: Tensor) -> Tensor:
    """How probable it is that mentions corefer with their antecedents, [M, K]; 0 for what the labels do not know."""
    places = [{tuple(span): place for place, span in enumerate(found)} for found in labels.mentions]
    known = [places[number].get((start, end), -1) for number, start, end in mentions.spans()]
    place = torch.tensor(known, dtype=torch.long, device=antecedents.device)
    other = place[antecedents.clamp(min=0)]
    unknown = (antecedents < 0) | (place < 0)[:, None] | (other < 0)
    row, column = place[:, None].clamp(min=0), other.clamp(min=0)
    if labels.pairs.shape[1] == 0:
        return torch.zeros(antecedents.shape, device=antecedents.device)
    return labels.pairs[mentions.dialogue[:, None], row, column].masked_fill(unknown, 0.0)


def clustering_loss(
    antecedents: Tensor, scores: Tensor, entity: Tensor, count: int, kind: str = "bce", soft: Tensor | None = None
) -> Tensor:
    """Loss of pair logits [M, K] against `entity` [M], the gold cluster's number in the batch (-1: a wrong mention).

    `antecedents` and `entity` are on the CPU.

    "bce": binary cross-entropy over pairs. "marginal": -log of the probability of the gold antecedents, or of none
    (logit 0), over mentions. Either is the sum in a dialogue, its mean over all `count` dialogues.

    Args:
        soft: with "bce", [M, K] probabilities that stand for `entity`.
    """
    real = antecedents >= 0
    gold = real & (entity[:, None] == entity[antecedents.clamp(min=0)]) & (entity >= 0)[:, None]
    real, gold = torch.stack([real, gold]).to(scores.device)
    if kind == "bce":
        # no logit is read where there is no pair: they are -inf there
        wanted = gold.float() if soft is None else soft.to(scores.device)
        losses = F.binary_cross_entropy_with_logits(scores.masked_fill(~real, 0.0), wanted, reduction="none")
        return torch.where(real, losses, 0.0).sum() / count
    if soft is not None:
        raise ValueError("clustering_loss is 'marginal', which learns from gold clusters alone: set it to 'bce'.")
    none = F.pad(scores, (1, 0), value=0.0)
    target = torch.cat([~gold.any(1, keepdim=True), gold], 1)
    losses = none.logsumexp(1) - none.masked_fill(~target, float("-inf")).logsumexp(1)
    return losses.sum() / count


def close_clusters(antecedents: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Each mention joins its best antecedent above the threshold. Returns the cluster of each mention, as the index of
    its first mention; a mention that joins none and is joined by none is a cluster of one."""
    count = len(antecedents)
    if antecedents.shape[1] == 0:
        return list(range(count))
    best, column = (value.cpu() for value in scores.max(1))
    chosen = torch.where(best.sigmoid() > threshold, antecedents.gather(1, column[:, None]).squeeze(1), -1)
    cluster = list(range(count))
    for mention, antecedent in enumerate(chosen.tolist()):  # antecedents come first, so their cluster is known
        if antecedent >= 0:
            cluster[mention] = cluster[antecedent]
    return cluster
