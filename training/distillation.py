"""Distillation (Hinton et al., 2015): labels that are in part what several trained models find probable.

The teachers read every training dialogue once, whole, before the first step; the mean of their probabilities, mixed
with the gold labels, is what the student learns. For losses that are linear in their labels, as cross-entropies are,
that is the weighted sum of the two losses. A start's ends count for as much as the start is probable, which makes their
loss that of the probability of the whole span.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from tiktalkcoref.evaluation.dialogues import Dialogue, names_of, without_pictures
from tiktalkcoref.evaluation.ensemble import Ensemble, load_ensemble
from tiktalkcoref.evaluation.predictions import predict_dialogues
from tiktalkcoref.files.progress import track
from tiktalkcoref.modeling.batch_tiktalkcoref import DialogueBatch, SoftLabels
from tiktalkcoref.modeling.linking_tiktalkcoref import link_targets
from tiktalkcoref.modeling.mentions_tiktalkcoref import mention_labels

from .recipe import Recipe, RecipeError

LEAST = 0.1  # probability of a span whose pairs are asked for; of a less probable one they are labelled 0


def add_soft_labels(recipe: Recipe, model: Any, dialogues: list[Dialogue], device: torch.device) -> None:
    """Give each dialogue its `soft_labels`, those of one dialogue, on the CPU; with `distil.titles`, add the titles.

    Raises:
        ValueError: teachers that cannot be had, do not read alike, or do not fit the student `model`.
    """
    config = model.config
    if config.clustering_loss != "bce":
        raise RecipeError(f"recipe {recipe.name}: distil needs model.clustering_loss=bce, not {config.clustering_loss}")
    ensemble, processor = load_ensemble(recipe.distil.teachers)
    torch.nn.Module.to(ensemble, device)  # in place
    if ensemble.config.max_mention_length != config.max_mention_length:
        raise RecipeError(
            f"recipe {recipe.name}: model.max_mention_length is {config.max_mention_length}, that of distil.teachers "
            f"is {ensemble.config.max_mention_length}: give the student the same"
        )
    size = recipe.loop.evaluation_batch_size
    titles = titles_of(dialogues) if recipe.distil.titles else []
    for title, found in zip(titles, predict_dialogues(ensemble, processor, titles, batch_size=size), strict=True):
        title["clusters"] = found["clusters"]
    for labelled, weight in ((dialogues, recipe.distil.weight), (titles, 1.0)):
        by_length = sorted(labelled, key=lambda dialogue: sum(map(len, dialogue["sentences"])))
        for start in track(range(0, len(by_length), size), "asking the teachers"):
            chosen = by_length[start : start + size]
            read = chosen if ensemble.vision_encoder is not None else without_pictures(chosen)
            batch = processor(read, labels=True, names=names_of(chosen)).to(device)
            for dialogue, labels in zip(chosen, split(soft_labels(ensemble, batch, weight)), strict=True):
                dialogue["soft_labels"] = labels
    dialogues += titles


def titles_of(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The different titles of the dialogues' videos, each as a dialogue of one utterance, without labels."""
    titles = dict.fromkeys(title.strip() for dialogue in dialogues if (title := dialogue.get("title") or "").strip())
    return [{"doc_key": title, "sentences": [list(title)], "title": None, "clusters": []} for title in titles]


@torch.no_grad()
def soft_labels(ensemble: Ensemble, batch: DialogueBatch, weight: float) -> SoftLabels:
    """Gold labels and, to the share of `weight`, what the teachers find probable."""
    assert batch.clusters is not None  # a training dialogue has labels
    starts, spans = ensemble.mention_probabilities(batch)
    gold = [[tuple(span) for cluster in dialogue for span in cluster] for dialogue in batch.clusters]
    likely: list[list] = [[] for _ in gold]
    for number, first, width in (spans > LEAST).nonzero().tolist():
        likely[number].append((first, first + width))
    mentions = [sorted({*known, *found}) for known, found in zip(gold, likely, strict=True)]
    pairs = ensemble.pair_probabilities(batch, mentions)
    gold_starts, gold_spans = mention_labels(batch.clusters, spans)
    return SoftLabels(
        gold_starts.lerp(starts, weight),
        gold_spans.lerp(spans, weight),
        mentions,
        _gold_pairs(batch.clusters, mentions, pairs).lerp(pairs, weight),
        _links(ensemble, batch, weight),
    )


def _gold_pairs(clusters: list, mentions: list[list], like: torch.Tensor) -> torch.Tensor:
    """Whether two mentions are of one gold cluster, [B, M, M]."""
    entity = torch.full(like.shape[:2], -1)
    for row, (dialogue, spans) in enumerate(zip(clusters, mentions, strict=True)):
        numbers = {tuple(span): number for number, cluster in enumerate(dialogue) for span in cluster}
        entity[row, : len(spans)] = torch.tensor([numbers.get(span, -1) for span in spans], dtype=torch.long)
    return ((entity[:, :, None] == entity[:, None]) & (entity >= 0)[:, None]).to(like)


def _links(ensemble: Ensemble, batch: DialogueBatch, weight: float) -> list[torch.Tensor | None]:
    """How probable regions and none are, for the clusters of each dialogue that trains linking."""
    links: list[torch.Tensor | None] = [None] * len(batch.characters)
    if batch.links is None or batch.clusters is None or not any(batch.region_counts()):
        return links
    trained, link_of, identity = link_targets(batch, batch.clusters, batch.links)
    found = ensemble.predict(batch, clusters=batch.clusters)
    offset = row = 0
    for number, clusters in trained.items():
        count = batch.region_counts()[number]
        people = identity[offset : offset + count]
        gold = torch.zeros(len(clusters), count + 1)
        for cluster, link in enumerate(link_of[row : row + len(clusters)].tolist()):
            if link < 0:
                gold[cluster, -1] = 1.0
                continue
            same_person = (people == people[link - offset]) & (people >= 0)
            same_person[link - offset] = True
            gold[cluster, :-1] = same_person / same_person.sum()
        regions, none = torch.tensor(found[number]["region_scores"]), torch.tensor(found[number]["null_scores"])
        links[number] = gold.lerp(torch.cat([regions, none[:, None]], 1), weight)
        offset, row = offset + count, row + len(clusters)
    return links


def split(labels: SoftLabels) -> list[SoftLabels]:
    """The labels of each dialogue alone, without padding but of characters, on the CPU."""
    labels = labels.to("cpu")
    counts = [len(found) for found in labels.mentions]
    return [
        SoftLabels(
            labels.starts[n : n + 1].clone(),
            labels.spans[n : n + 1].clone(),
            [labels.mentions[n]],
            labels.pairs[n : n + 1, :count, :count].clone(),
            [labels.links[n]],
        )
        for n, count in enumerate(counts)
    ]


def join(labels: Sequence[SoftLabels], length: int) -> SoftLabels:
    """The labels of a batch whose dialogues have at most `length` characters."""
    most = max(each.pairs.shape[1] for each in labels)
    return SoftLabels(
        torch.cat([_fit(each.starts, length) for each in labels]),
        torch.cat([_fit(each.spans.mT, length).mT for each in labels]),
        [found for each in labels for found in each.mentions],
        torch.cat([F.pad(each.pairs, 2 * (0, most - each.pairs.shape[1])) for each in labels]),
        [link for each in labels for link in each.links],
    )


def _fit(values: torch.Tensor, length: int) -> torch.Tensor:
    """Padded with 0, or cut where there is only padding, to that length of the last dimension."""
    return F.pad(values, (0, length - values.shape[-1]))
