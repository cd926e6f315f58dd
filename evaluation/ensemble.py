"""Several models as one that predicts from the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.modeling.batch_tiktalkcoref import DialogueBatch
from tiktalkcoref.modeling.clustering_tiktalkcoref import Mentions, describe_mentions
from tiktalkcoref.modeling.mentions_tiktalkcoref import band_mask
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

from .models import load_model

SHARED = ("max_mention_length", "use_title", "query_title", "max_query_length", "query_separator_ids")


def load_ensemble(models: Sequence[str | Path]) -> tuple[Ensemble, TikTalkCorefProcessor]:
    """The models of some folders or Hub ids as one, on the best device, and the processor that they share.

    Raises:
        ValueError: one that cannot be had, or that reads otherwise than the first.
    """
    loaded = [load_model(model) for model in models]
    (first, processor), *others = loaded
    for place, (model, other) in zip(models[1:], others, strict=True):
        differing = [name for name in SHARED if getattr(first.config, name) != getattr(model.config, name)]
        differing += ["vision_config"] if (first.vision_encoder is None) != (model.vision_encoder is None) else []
        differing += ["tokenizer"] if processor.tokenizer.get_vocab() != other.tokenizer.get_vocab() else []
        differing += ["processor"] if processor.to_dict() != other.to_dict() else []
        if differing:
            raise UserError(
                f"{place} and {models[0]} cannot be averaged, since they do not read alike: {', '.join(differing)} "
                "differ; take runs of one recipe with different seeds"
            )
    return Ensemble([model for model, _ in loaded]).eval(), processor


class Ensemble(TikTalkCorefModel):
    """Used like one of its T models, of whose outputs it averages probabilities: of starts, of spans, that two mentions
    corefer, of regions. Thresholds and limits are those of the first.

    What the models compute on the way (states, mentions, queries, regions) lies side by side in the last dimension.
    """

    def __init__(self, models: Sequence[TikTalkCorefModel]) -> None:
        super(TikTalkCorefModel, self).__init__(models[0].config)
        self.models: Any = nn.ModuleList(models)
        sizes = [model.config.text_config.hidden_size for model in models]
        self.mention_head: Any = MeanMentionHead([model.mention_head for model in models], sizes)
        self.clustering_head: Any = MeanClusteringHead([model.clustering_head for model in models], sizes)
        self.vision_encoder = models[0].vision_encoder
        self.linking_head: Any = None
        if self.vision_encoder is not None:
            self.linking_head = MeanLinkingHead([model.linking_head for model in models], sizes)

    @torch.no_grad()
    def mention_probabilities(self, batch: DialogueBatch) -> tuple[Tensor, Tensor]:
        """Of a start at each character, [B, C], and of each span (start, start + w), [B, C, W]; 0 for padding."""
        with self._evaluating():
            starts, ends = self.mention_head(self._read(batch, whole=True))
        mask = band_mask(batch.character_utterance, self.config.max_mention_length)
        starts = torch.where(mask[..., 0], starts.sigmoid(), 0.0)
        return starts, torch.where(mask, starts[..., None] * ends.sigmoid(), 0.0)

    @torch.no_grad()
    def pair_probabilities(self, batch: DialogueBatch, spans: list[list[tuple[int, int]]]) -> Tensor:
        """[B, M, M] that a mention corefers with one before it; of at most M sorted spans a dialogue."""
        with self._evaluating():
            mentions = describe_mentions(spans, batch.on_cpu())
            states = self._read(batch, whole=True)
            antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        most = max(map(len, spans))
        first = torch.searchsorted(mentions.dialogue, mentions.dialogue)  # where each one's dialogue begins
        row, column = (antecedents >= 0).nonzero(as_tuple=True)
        pairs = scores.new_zeros((len(spans), most, most))
        place, other = row - first[row], antecedents[row, column] - first[row]
        pairs[mentions.dialogue[row], place, other] = scores[row, column].sigmoid()
        return pairs

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """As of one model; the cosine with `get_cluster_features` is the mean of the models' cosines."""
        features = [model.get_image_features(pixel_values) for model in self.models]
        return torch.cat([F.normalize(each.float(), dim=-1) for each in features], -1)

    def _read(self, batch: DialogueBatch, whole: bool = False) -> Tensor:
        return torch.cat([model._read(batch, whole) for model in self.models], -1)

    def _read_queries(self, queries: list[list[int]]) -> Tensor:
        return torch.cat([model._read_queries(queries) for model in self.models], -1)

    def _regions(self, batch: DialogueBatch, dialogues: list[int] | None = None) -> tuple[Tensor, Tensor]:
        regions, owners = zip(*(model._regions(batch, dialogues) for model in self.models), strict=True)
        return torch.cat(regions, -1), owners[0]


class MeanMentionHead(nn.Module):
    """As `MentionHead`: logits of the mean probability of a start, and of a span's given that of its start."""

    def __init__(self, heads: list[Any], sizes: list[int]) -> None:
        super().__init__()
        self.heads: Any = nn.ModuleList(heads)
        self.sizes = sizes

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        parts = states.split(self.sizes, -1)
        return _mean_spans([head(part) for head, part in zip(self.heads, parts, strict=True)])

    def score_spans(self, states: Tensor, *spans: Tensor) -> tuple[Tensor, Tensor]:
        parts = states.split(self.sizes, -1)
        return _mean_spans([head.score_spans(part, *spans) for head, part in zip(self.heads, parts, strict=True)])


class MeanClusteringHead(nn.Module):
    """As `ClusteringHead`: logits of the mean probability that two mentions corefer."""

    def __init__(self, heads: list[Any], sizes: list[int]) -> None:
        super().__init__()
        self.heads: Any = nn.ModuleList(heads)
        self.sizes = sizes

    def represent(self, states: Tensor, mentions: Mentions) -> Tensor:
        parts = states.split(self.sizes, -1)
        return torch.cat([head.represent(part, mentions) for head, part in zip(self.heads, parts, strict=True)], -1)

    def forward(self, vectors: Tensor, mentions: Mentions) -> tuple[Tensor, Tensor]:
        parts = vectors.split([head.mention.out_features for head in self.heads], -1)
        found = [head(part, mentions) for head, part in zip(self.heads, parts, strict=True)]
        antecedents = found[0][0]
        return antecedents, _logit(_log_mean([_scores_of(antecedents, *each) for each in found]))


class MeanLinkingHead(nn.Module):
    """As `LinkingHead`: logarithms of the mean probability of each region, and of none."""

    def __init__(self, heads: list[Any], sizes: list[int]) -> None:
        super().__init__()
        self.heads: Any = nn.ModuleList(heads)
        self.sizes = sizes
        self.projected = [head.visual_projection.out_features for head in heads]

    def options(self, queries: Tensor, context: Tensor, regions: Tensor, elsewhere: Tensor) -> Tensor:
        parts = zip(self.heads, *self._parts(queries, context), regions.split(self.projected, -1), strict=True)
        return _log_mean([head.options(*part, elsewhere) for head, *part in parts])

    def embed(self, queries: Tensor, context: Tensor) -> Tensor:
        parts = zip(self.heads, *self._parts(queries, context), strict=True)
        return F.normalize(torch.cat([head.embed(*part) for head, *part in parts], -1), dim=-1)

    def _parts(self, queries: Tensor, context: Tensor) -> tuple[Sequence[Tensor], list[Tensor]]:
        first, last = (half.split(self.sizes, -1) for half in context.chunk(2, -1))
        return queries.split(self.projected, -1), [torch.cat(ends, -1) for ends in zip(first, last, strict=True)]


def _mean_spans(logits: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Start logits [...] and end logits [..., W] or [...] of each model -> those of the mean."""
    starts = [F.logsigmoid(start) for start, _ in logits]
    ends = [F.logsigmoid(end) for _, end in logits]
    spans = [
        start.view(*start.shape, *[1] * (end.dim() - start.dim())) + end
        for start, end in zip(starts, ends, strict=True)
    ]
    start, span = _log_mean(starts), _log_mean(spans)
    return _logit(start), _logit(span - start.view(*start.shape, *[1] * (span.dim() - start.dim())))


def _log_mean(logarithms: list[Tensor]) -> Tensor:
    """The logarithm of the mean of what these are the logarithms of."""
    return torch.stack(logarithms).logsumexp(0) - math.log(len(logarithms))


def _logit(logarithm: Tensor) -> Tensor:
    """The logit of a probability that is given by its logarithm."""
    logarithm = logarithm.clamp(max=-torch.finfo(logarithm.dtype).eps)
    return logarithm - torch.log(-torch.expm1(logarithm))


def _scores_of(wanted: Tensor, antecedents: Tensor, scores: Tensor) -> Tensor:
    """Log-probabilities [M, K] of the wanted antecedents, -inf for what a model did not keep among its own [M, K]."""
    logarithms = F.logsigmoid(scores)
    if torch.equal(wanted, antecedents):
        return logarithms
    same = (wanted[:, :, None] == antecedents[:, None]).to(scores.device)
    return logarithms[:, None].masked_fill(~same, float("-inf")).logsumexp(2)
