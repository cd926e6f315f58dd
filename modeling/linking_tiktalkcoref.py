"""The linking head: which region of the video's frames shows whom a cluster means?

A cluster's embedding is `normalize(P(CLS(query)) + g * P'(context))`: the query is a short text built from the
cluster's own mentions and read as Chinese-CLIP (Yang et al., 2022) reads a caption; the context is its mentions'
states in the dialogue, let in through a gate g that starts at 0. So a model from Chinese-CLIP starts with its ranks.
"No visual counterpart" is one more option of the softmax over the video's regions, with a learned logit.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from .batch_tiktalkcoref import DialogueBatch, Spans
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .lexicon_tiktalkcoref import normalise, query_rank
from .precision_tiktalkcoref import in_full_precision

MAX_LOGIT_SCALE = math.log(100.0)  # CLIP's own bound on the inverse temperature


class LinkingHead(nn.Module):
    """Joins clusters and regions in one space.

    Args:
        text_size: Size of a state of the text encoder.
        vision_size: Size of a region's features.
        size: Size of the shared space.
        logit_scale: Initial logarithm of the inverse temperature.
    """

    def __init__(self, text_size: int, vision_size: int, size: int, logit_scale: float) -> None:
        super().__init__()
        self.initial_logit_scale = logit_scale
        self.text_projection = nn.Linear(text_size, size, bias=False)
        self.visual_projection = nn.Linear(vision_size, size, bias=False)
        self.context_projection = nn.Linear(2 * text_size, size)
        self.null_score = nn.Linear(2 * text_size, 1)
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.context_gate = nn.Parameter(torch.tensor(0.0))
        self.null_cosine = nn.Parameter(torch.tensor(0.0))  # a region must be nearer than this, for an average cluster

    def forward(self, queries: Tensor, context: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Projected queries [K, P], contexts [K, 2H], projected regions [R, P] -> logits [K, R] and of none [K].

        Both in fp32, under autocast too: at a scale of 100, bf16 knows steps of half a logit.
        """
        clusters = self.embed(queries, context)
        null_score = self.null_score(context).squeeze(-1)
        with in_full_precision(clusters):
            scale = self._scale()
            logits = scale * clusters @ F.normalize(regions.float(), dim=-1).T
            return logits, scale * self.null_cosine + null_score.float()

    def options(self, queries: Tensor, context: Tensor, regions: Tensor, elsewhere: Tensor) -> Tensor:
        """Log-probabilities [K, R + 1] of each region, then of none; those `elsewhere`, [K, R], cannot be chosen."""
        logits, null = self(queries, context, regions)
        return torch.cat([logits.masked_fill(elsewhere, float("-inf")), null[:, None]], 1).log_softmax(1)

    def embed(self, queries: Tensor, context: Tensor) -> Tensor:
        """Projected queries [K, P] and contexts [K, 2H] -> the clusters' embeddings [K, P], of length 1."""
        projected = self.context_projection(context)
        with in_full_precision(queries):
            return F.normalize(queries.float() + self.context_gate.float() * projected.float(), dim=-1)

    def scalars(self) -> list[nn.Parameter]:
        """The parameters of one number each, which want a learning rate of their own."""
        return [self.logit_scale, self.context_gate, self.null_cosine]

    @torch.no_grad()
    def start_null(self, cosines: Tensor) -> None:
        """Start the option "none" at the mean cosine of clusters and regions of one video.

        Then none is as likely as a region at first: far below it would never be taken and fill the loss of every
        cluster without counterpart, far above it would drown the regions.
        """
        if cosines.numel():
            self.null_cosine.fill_(cosines.float().mean())

    def _scale(self) -> Tensor:
        """The inverse temperature. In training the parameter itself is bounded, so that a gradient still reaches it."""
        if not self.training:
            return self.logit_scale.float().clamp(max=MAX_LOGIT_SCALE).exp()
        with torch.no_grad():
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        return self.logit_scale.float().exp()


def query_tokens(
    mentions: list[tuple[str, list[int]]], title: list[int], separator: list[int], cls: int, sep: int, longest: int
) -> list[int]:
    """[CLS] mentions [SEP]: each distinct string once, names before nouns before pronouns, then the title.

    Args:
        mentions: Text and token ids of each mention of a cluster, in the order of the dialogue.
        title: Token ids of the title, or none.
        separator: Token ids between two of these.
        longest: Tokens at most; a mention that does not fit is cut, those after it are left out.
    """
    distinct: dict[str, list[int]] = {}
    for text, tokens in mentions:
        distinct.setdefault(normalise(text), tokens)
    parts = [tokens for _, tokens in sorted(distinct.items(), key=lambda item: query_rank(item[0]))]
    query: list[int] = []
    for part in [*parts, title] if title else parts:
        query += [*separator, *part] if query else part
    return [cls, *query[: longest - 2], sep]


def build_queries(clusters: dict[int, list], batch: DialogueBatch, config: TikTalkCorefConfig) -> list[list[int]]:
    """The query's token ids for each cluster of some dialogues of a batch, by dialogue number.

    A character that the tokenizer splits into several pieces gives its last one.
    """
    if config.cls_token_id is None or config.sep_token_id is None:
        raise ValueError(
            "the config has no cls_token_id or sep_token_id, which query texts are built with: give them to "
            "TikTalkCorefConfig (from_encoders and from_chinese_clip read the tokenizer beside the weights)."
        )
    special = (config.cls_token_id, config.sep_token_id, config.max_query_length)
    pieces = batch.input_ids.flatten()[batch.character_index.clamp(min=0)].tolist()
    queries = []
    for number, found in clusters.items():
        text, tokens = batch.characters[number], pieces[number]
        title: list[int] = []
        if config.query_title:
            first = int(batch.character_index[number, 0])
            title = title_tokens(first, batch.input_ids, batch.token_speaker, config.sep_token_id)
        for cluster in found:
            mentions = [("".join(text[start : end + 1]), tokens[start : end + 1]) for start, end in cluster]
            queries.append(query_tokens(mentions, title, config.query_separator_ids, *special))
    return queries


def title_tokens(position: int, input_ids: Tensor, token_speaker: Tensor, sep: int) -> list[int]:
    """The title's token ids, between [CLS] and the first [SEP] of the window that holds a flat position; often none."""
    window = position // input_ids.shape[1]
    if token_speaker[window, 1] > 0:  # the dialogue starts at once
        return []
    ids = input_ids[window, 1:].tolist()
    return ids[: ids.index(sep)]


def cluster_contexts(states: Tensor, clusters: dict[int, list[list]]) -> tuple[Tensor, Tensor]:
    """States [B, C, H] -> for each cluster the mean of its mentions' [first; last], [K, 2H], and its dialogue, [K].

    The latter is on the CPU.
    """
    found = [(number, cluster) for number, dialogue in clusters.items() for cluster in dialogue]
    rows = [(row, number, *span) for row, (number, cluster) in enumerate(found) for span in cluster]
    row, dialogue, start, end = torch.tensor(rows, dtype=torch.long).reshape(-1, 4).unbind(1)
    ends = torch.cat([states[dialogue, start], states[dialogue, end]], -1)
    sums = ends.new_zeros((len(found), ends.shape[-1])).index_add(0, row.to(ends.device), ends)
    counts = torch.bincount(row, minlength=len(found)).clamp(min=1)[:, None]
    return sums / counts.to(sums), torch.tensor([number for number, _ in found], dtype=torch.long)


def mean_pictures(features: Tensor, region: Tensor, count: int) -> Tensor:
    """Projected pictures [Q, P], and the region of each, [Q] on the CPU -> the mean embedding of each of `count`."""
    embedded = F.normalize(features.float(), dim=-1)
    sums = embedded.new_zeros((count, embedded.shape[1])).index_add(0, region.to(embedded.device), embedded)
    return sums / torch.bincount(region, minlength=count)[:, None].to(sums)


def link_targets(
    batch: DialogueBatch, clusters: Spans, links: list[list[int] | None]
) -> tuple[dict[int, list], Tensor, Tensor]:
    """What the linking loss compares with: links checked against clusters and regions.

    A dialogue without regions, or without any link, trains nothing.

    Returns:
        the clusters of those that train linking, by dialogue number; the region of each of these K clusters, an index
        into the R' regions of these dialogues, -1 for none; the person of each of the R', a number a known person, -1
        unknown.
    """
    trained: dict[int, list] = {}
    link: list[int] = []
    identity: list[int] = []
    names: dict[str, int] = {}
    for number, (found, linked, count) in enumerate(zip(clusters, links, batch.region_counts(), strict=True)):
        if linked is None or count == 0:
            continue
        _check_links(linked, len(found), count, f"dialogue {number + 1} of the batch")
        if max(linked, default=-1) < 0:
            continue
        people = (batch.region_identities[number] if batch.region_identities else None) or [None] * count
        trained[number] = found
        link += [region + len(identity) if region >= 0 else -1 for region in linked]
        identity += [names.setdefault(name, len(names)) if name else -1 for name in people]
    return trained, torch.tensor(link), torch.tensor(identity)


def _check_links(links: list[int], clusters: int, regions: int, where: str) -> None:
    if len(links) != clusters:
        raise ValueError(
            f"{where} has {clusters} clusters but {len(links)} links: expected one link a cluster, -1 for none."
        )
    if any(not -1 <= link < regions for link in links):
        raise ValueError(
            f"{where} links a cluster to region {max(links)}, but has {regions} regions: expected an index from 0 to "
            f"{regions - 1}, or -1 for none."
        )


def linking_loss(
    logits: Tensor,
    null: Tensor,
    link: Tensor,
    identity: Tensor,
    cluster_dialogue: Tensor,
    region_dialogue: Tensor,
    count: int,
    negatives: str = "batch",
    soft: list[Tensor] | None = None,
) -> Tensor:
    """How well K clusters find their regions among R.

    The sum of two parts. Within the video: -log of the probability of the right region, or of none, in the softmax over
    the video's regions and none. Contrastive: both ways, soft targets over all positives (the linked region, and others
    of the same person in that video), against the regions of the same video and, with "batch", of the others; pairs of
    different videos that show the same person are in neither sum nor denominator. Each is the sum over the clusters
    (regions) of a dialogue, its mean over `count` dialogues.

    Args:
        logits: [K, R]. null: [K]. What follows is on the CPU.
        link: [K], the region that a cluster is linked to, -1 for none.
        identity: [R], a number a known person, -1 unknown.
        cluster_dialogue, region_dialogue: [K] and [R].
        soft: how probable each region of its video, then none, is for each cluster of a dialogue, in their order: the
            part within the video then is the cross-entropy against these.
    """
    same_video = cluster_dialogue[:, None] == region_dialogue
    person = torch.where(link >= 0, identity[link.clamp(min=0)], -1)
    same_person = (person[:, None] == identity) & (person >= 0)[:, None]
    linked = F.one_hot(link.clamp(min=0), len(identity)).bool() & (link >= 0)[:, None]
    positive = linked | (same_person & same_video)
    allowed = same_video if negatives == "video" else same_video | ~same_person
    right = torch.cat([positive, (link < 0)[:, None]], 1).to(logits.device)
    same_video, positive, allowed = torch.stack([same_video, positive, allowed]).to(logits.device)

    options = torch.cat([logits.masked_fill(~same_video, float("-inf")), null[:, None]], 1)
    within = options.logsumexp(1) - options.masked_fill(~right, float("-inf")).logsumexp(1)
    if soft is not None:
        none = torch.cat([rows[:, -1:] for rows in soft])
        wanted = torch.cat([torch.block_diag(*(rows[:, :-1] for rows in soft)), none], 1).to(logits.device)
        within = -torch.where(wanted > 0, wanted * options.log_softmax(1), 0.0).sum(1)
    to_region = _soft_cross_entropy(logits, positive, allowed)
    to_cluster = _soft_cross_entropy(logits.T, positive.T, allowed.T)
    return (within.sum() + (to_region + to_cluster) / 2) / count


def _soft_cross_entropy(logits: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
    """Sum over the rows that have positives of the cross-entropy against equal shares of them.

    Pairs not allowed are in neither part.
    """
    some = positive.any(1)
    allowed = allowed | ~some[:, None]  # a row without positives counts nothing: keep it finite
    total = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    mean = torch.where(positive, logits, 0.0).sum(1) / positive.sum(1).clamp(min=1)
    return torch.where(some, total - mean, 0.0).sum()


def assign_regions(log_regions: ArrayLike, log_null: ArrayLike) -> list[int]:
    """The most probable assignment in which no region is taken twice: the region of each cluster, -1 for none.

    A region is worth what it gains over none (Kuhn-Munkres over the gains), so it is taken only for a gain.

    Args:
        log_regions: [K, R] log-probabilities. log_null: [K].
    """
    gain = (np.asarray(log_regions, float) - np.asarray(log_null, float)[:, None]).clip(min=0)
    regions = [-1] * gain.shape[0]
    for cluster, region in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
        if gain[cluster, region] > 0:
            regions[cluster] = int(region)
    return regions
