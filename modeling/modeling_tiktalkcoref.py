"""TikTalkCorefModel: who is meant in a dialogue about a video, in its text and in its picture.

A Chinese text encoder and a timm ViT joined by three heads: mentions, clustering (Maverick, Martinelli et al., ACL
2024) and linking (Chinese-CLIP, Yang et al., 2022). Batches come from `TikTalkCorefProcessor`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig
from transformers.utils import logging

from .batch_tiktalkcoref import DialogueBatch, EncodedBatch, SoftLabels, Spans, TikTalkCorefOutput
from .clustering_tiktalkcoref import ClusteringHead, close_clusters, clustering_loss, describe_mentions, soft_pairs
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .encoders_tiktalkcoref import (
    build_text_encoder,
    build_vision_encoder,
    load_text_encoder,
    pretrained_vision_config,
    read_chinese_clip,
    special_tokens,
    vision_size,
)
from .linking_tiktalkcoref import (
    LinkingHead,
    assign_regions,
    build_queries,
    cluster_contexts,
    link_targets,
    linking_loss,
)
from .mentions_tiktalkcoref import MentionHead, band_mask, mention_labels, mention_losses, select_mentions
from .precision_tiktalkcoref import exact
from .pretrained_tiktalkcoref import TikTalkCorefPreTrainedModel
from .reading_tiktalkcoref import TikTalkCorefReader

__all__ = ["TikTalkCorefModel", "TikTalkCorefOutput", "TikTalkCorefPreTrainedModel"]

logger = logging.get_logger(__name__)


class TikTalkCorefModel(TikTalkCorefReader):
    """Mentions, clusters and their regions.

    Built from the config alone, with random weights; `from_encoders` and `from_chinese_clip` take pretrained ones.
    Mentions, clusters and queries are described on the CPU; the device is waited for where its numbers decide.
    """

    def __init__(self, config: TikTalkCorefConfig) -> None:
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.text_encoder = build_text_encoder(config.text_config)
        embedded = self.get_input_embeddings().weight.shape[1]
        self.speaker_embedding = nn.Embedding(config.max_speakers + 1, embedded, padding_idx=0)
        self.speaker_embedding.initial_weight = 0.0  # type: ignore[assignment]
        self.mention_head = MentionHead(hidden, config.mention_hidden_size, config.max_mention_length, config.dropout)
        self.clustering_head = ClusteringHead(hidden, config.pair_hidden_size, config.antecedent_top_k, config.dropout)
        self.vision_encoder: nn.Module | None = None  # where the model reads text only
        self.linking_head: LinkingHead | None = None
        if config.vision_config is not None:
            self.vision_encoder = build_vision_encoder(config.vision_config)
            self.linking_head = LinkingHead(
                hidden, vision_size(self.vision_encoder), config.projection_dim, config.logit_scale_init_value
            )
        self.post_init()

    @classmethod
    def from_encoders(
        cls, text: str | os.PathLike | PretrainedConfig | dict, vision: str | dict | None = None, **config: Any
    ) -> TikTalkCorefModel:
        """A model of two encoders with fresh heads.

        Args:
            text: Name or path of a pretrained encoder, or a config (or its dict): random weights.
            vision: Name of a timm model with pretrained weights, or a `vision_config` dict: random weights. None: no
                pictures.
            config: Further fields of `TikTalkCorefConfig`.
        Raises:
            OSError: Weights that cannot be had. ValueError: a field or name that is wrong.
        """
        encoder = None
        if not isinstance(text, PretrainedConfig | dict):
            encoder = load_text_encoder(os.fspath(text))
            config = {**special_tokens(os.fspath(text)), **config}
            text = encoder.config
        vision_config = pretrained_vision_config(vision) if isinstance(vision, str) else vision
        model = cls(cls.config_class(text_config=text, vision_config=vision_config, **config))
        if encoder is not None:
            weights = {name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler.")}
            model.text_encoder.load_state_dict(weights)
        if isinstance(vision, str) and vision_config and model.vision_encoder:
            model.vision_encoder.load_state_dict(build_vision_encoder(vision_config, pretrained=True).state_dict())
        fresh = ["speaker_embedding", *(name for name, _ in model.named_children() if name.endswith("_head"))]
        logger.warning_once(f"These parts start from random weights and are to be trained: {', '.join(fresh)}.")
        return model

    @classmethod
    def from_chinese_clip(cls, name: str | os.PathLike, **config: Any) -> TikTalkCorefModel:
        """A model with both towers, projections and temperature of a transformers Chinese-CLIP checkpoint.

        Its linking starts with the checkpoint's own zero-shot ranks; mentions and clustering are to be trained.

        Args:
            name: Path or Hub id. config: further fields of `TikTalkCorefConfig`.
        Raises:
            OSError: The checkpoint cannot be had. ValueError: it is no Chinese-CLIP checkpoint, or a field is wrong.
        """
        fields, weights = read_chinese_clip(os.fspath(name))
        model = cls(cls.config_class(**{**fields, **config}))
        missing, unexpected = model.load_state_dict(weights, strict=False)
        towers = ("text_encoder.", "vision_encoder.")
        if unexpected or any(key.startswith(towers) for key in missing):
            raise ValueError(f"{name} does not fit: missing {missing}, unexpected {unexpected}.")
        logger.warning_once("mention_head and clustering_head start from random weights and are to be trained.")
        return model

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by the learning rate that they need: "text_encoder", "vision_encoder", "scalars", "heads".

        The scalars are the temperature, gate and null option of linking.
        """
        groups = {
            "text_encoder": list(self.text_encoder.parameters()),
            "vision_encoder": list(self.vision_encoder.parameters()) if self.vision_encoder is not None else [],
            "scalars": self.linking_head.scalars() if self.linking_head is not None else [],
        }
        known = {id(parameter) for group in groups.values() for parameter in group}
        groups["heads"] = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return groups

    @torch.no_grad()
    def get_cluster_features(
        self, batch: Mapping[str, Any], clusters: Spans, encoded: EncodedBatch | None = None
    ) -> Tensor:
        """Embeddings [K, P] of given clusters, to be compared with those of regions by cosine."""
        batch = DialogueBatch.of(batch)
        batch.check_spans(clusters)
        text = batch.on_cpu()
        encoded = encoded or EncodedBatch(self._read(batch))
        queries, context, _ = self._describe_clusters(encoded.states, dict(enumerate(clusters)), text, encoded.queries)
        return self._linking().embed(queries, context)

    @torch.no_grad()
    def encode(self, batch: Mapping[str, Any]) -> EncodedBatch:
        """Read a batch's text and pictures, for `predict` and `get_cluster_features` to answer from."""
        with self._evaluating():
            batch = DialogueBatch.of(batch).to(self.device)
            text, seen = batch.on_cpu(), batch.pixel_values is not None and self.vision_encoder is not None
            return EncodedBatch(self._read(batch, whole=True), self._regions(text)[0] if seen else None)

    @torch.no_grad()
    def start_null(self, batch: Mapping[str, Any]) -> None:
        """Start the option "none" of a fresh linking head from a labelled batch; one without pictures does nothing."""
        batch = DialogueBatch.of(batch).to(self.device)
        if batch.pixel_values is None or not any(batch.clusters or ()):
            return
        text = batch.on_cpu()
        with self._evaluating():
            states = self._read(batch)
            queries, context, dialogue = self._describe_clusters(states, dict(enumerate(batch.clusters or ())), text)
            regions, region_dialogue = self._regions(text)
            cosines = self._linking().embed(queries, context) @ F.normalize(regions.float(), dim=-1).T
        self._linking().start_null(cosines[dialogue[:, None] == region_dialogue])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_speaker: Tensor,
        character_index: Tensor,
        character_utterance: Tensor,
        character_speaker: Tensor,
        characters: list[list[str]],
        sentence_lengths: list[list[int]] | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        region_dialogue: Tensor | None = None,
        picture_region: Tensor | None = None,
        clusters: Spans | None = None,
        links: list[list[int] | None] | None = None,
        region_identities: list[list[str | None] | None] | None = None,
        masked_input_ids: Tensor | None = None,
        soft_labels: SoftLabels | None = None,
    ) -> TikTalkCorefOutput:
        """Logits and, with `clusters`, the losses: see `TikTalkCorefOutput`.

        Args: the fields of a `DialogueBatch`, which `TikTalkCorefProcessor` makes: `model(**batch)`.
        """
        batch = DialogueBatch(
            input_ids, attention_mask, token_speaker, character_index, character_utterance, character_speaker,
            characters, sentence_lengths, token_type_ids, pixel_values, region_dialogue, picture_region,
            clusters, links, region_identities, masked_input_ids, soft_labels,
        )  # fmt: skip
        text = batch.on_cpu() if clusters is not None else batch
        states = self._read(batch)
        start_logits, end_logits = self.mention_head(states)
        output = TikTalkCorefOutput(start_logits=start_logits, end_logits=end_logits, num_dialogues=len(states))
        if clusters is None:
            return output
        batch.check_spans(clusters)
        config = self.config
        mask = band_mask(character_utterance, config.max_mention_length)
        starts, spans = mention_labels(clusters, end_logits)
        if soft_labels is not None:
            starts, spans = soft_labels.starts.to(states.device), soft_labels.spans.to(states.device)
        output.loss_start, output.loss_end = mention_losses(
            start_logits, end_logits, mask, starts, spans, config.end_starts, config.mention_threshold
        )
        negatives = config.clustering_negatives
        predicted = self._select(start_logits.detach(), end_logits.detach(), text) if negatives else None
        output.loss_clustering = self._clustering_loss(states, clusters, predicted, text)
        output.loss = config.start_weight * output.loss_start + config.end_weight * output.loss_end
        output.loss = output.loss + config.clustering_weight * output.loss_clustering
        if pixel_values is not None and links is not None and self.vision_encoder is not None:
            output.loss_linking = self._linking_loss(states, clusters, links, text)
            if output.loss_linking is not None:
                output.loss = output.loss + config.linking_weight * output.loss_linking
        return output

    @torch.no_grad()
    def predict(
        self,
        batch: Mapping[str, Any],
        clusters: Spans | None = None,
        mentions: list | None = None,
        encoded: EncodedBatch | None = None,
    ) -> list[dict[str, Any]]:
        """Clusters and their regions, one dict a dialogue.

        Args:
            batch: What the processor makes; labels in it are not looked at.
            clusters: Given clusters of inclusive spans, one list a dialogue, to be linked alone.
            mentions: Given mentions, one list of inclusive spans a dialogue, to be clustered.
            encoded: What `encode` made of the batch; without it the batch is read.

        Returns:
            For each dialogue, lists with one entry a cluster: `clusters` [[first, last], ...], `mention_scores` one
            probability a mention, `region_scores` one probability a region of the dialogue, `null_scores` the
            probability of none (they sum to 1), `regions` the region assigned, -1 for none. Clusters come in the order
            of their first mentions, or as given.
        """
        with self._evaluating():
            return self._predict(DialogueBatch.of(batch).to(self.device), clusters, mentions, encoded)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def _predict(
        self, batch: DialogueBatch, clusters: Spans | None, mentions: list | None, encoded: EncodedBatch | None
    ) -> list[dict[str, Any]]:
        text = batch.on_cpu()
        encoded = encoded or EncodedBatch(self._read(batch, whole=True))
        states = encoded.states
        if clusters is None:
            if mentions is None:
                start_logits, end_logits = self.mention_head(states)
                mentions = self._select(start_logits, end_logits, text)
            clusters = self._cluster(states, mentions, text)
        batch.check_spans(clusters)
        results = [
            {
                "clusters": [[list(span) for span in cluster] for cluster in dialogue],
                "mention_scores": scores,
                "region_scores": [[] for _ in dialogue],
                "null_scores": [1.0] * len(dialogue),
                "regions": [-1] * len(dialogue),
            }
            for dialogue, scores in zip(clusters, self._mention_scores(states, clusters), strict=True)
        ]
        if batch.pixel_values is not None and self.vision_encoder is not None:
            self._link(results, encoded, text)
        return results

    # Mentions and clusters.

    def _select(self, start_logits: Tensor, end_logits: Tensor, text: DialogueBatch) -> list[list[tuple[int, int]]]:
        """The mentions found, a list of inclusive spans a dialogue; none starts or ends with a blank."""
        config = self.config
        mask = band_mask(text.character_utterance, config.max_mention_length)
        if (blank := text.blank_edges(config.max_mention_length)) is not None:
            mask = mask & ~blank
        limits = (config.mention_threshold, config.max_mentions_per_character)
        selected = select_mentions(start_logits, end_logits, mask, *limits)
        mentions: list[list[tuple[int, int]]] = [[] for _ in text.characters]
        for number, start, end in torch.stack(selected, 1).tolist():
            mentions[number].append((start, end))
        return mentions

    def _cluster(self, states: Tensor, spans: list, batch: DialogueBatch) -> Spans:
        """Clusters of mentions, in the order of their first mentions."""
        batch.check_spans([[found] for found in spans])
        mentions = describe_mentions(spans, batch)
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        cluster = close_clusters(antecedents, scores, self.config.antecedent_threshold)
        clusters: list[dict[int, list[list[int]]]] = [{} for _ in spans]
        for (number, start, end), name in zip(mentions.spans(), cluster, strict=True):
            clusters[number].setdefault(name, []).append([start, end])
        return [list(found.values()) for found in clusters]

    def _mention_scores(self, states: Tensor, clusters: Spans) -> list[list[list[float]]]:
        rows = [(n, *span) for n, dialogue in enumerate(clusters) for cluster in dialogue for span in cluster]
        index = torch.tensor(rows, dtype=torch.long).reshape(-1, 3)
        start, end = self.mention_head.score_spans(states, *index.unbind(1))
        scores = iter((start.sigmoid() * end.sigmoid()).tolist())
        return [[[next(scores) for _ in cluster] for cluster in dialogue] for dialogue in clusters]

    def _clustering_loss(
        self, states: Tensor, clusters: Spans, predicted: list[list[tuple[int, int]]] | None, batch: DialogueBatch
    ) -> Tensor:
        """Over the gold mentions and, where given, predicted ones, which corefer with nothing if they are wrong."""
        numbered = enumerate((number, cluster) for number, dialogue in enumerate(clusters) for cluster in dialogue)
        entities = {(n, start, end): entity for entity, (n, cluster) in numbered for start, end in cluster}
        spans: list[list] = [[span for cluster in dialogue for span in cluster] for dialogue in clusters]
        if predicted is not None:
            spans = [gold + found for gold, found in zip(spans, predicted, strict=True)]
        mentions = describe_mentions(spans, batch)
        numbers = [entities.get(span, -1) for span in mentions.spans()]
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        entity = torch.tensor(numbers, dtype=torch.long)
        soft = soft_pairs(batch.soft_labels, mentions, antecedents) if batch.soft_labels is not None else None
        return clustering_loss(antecedents, scores, entity, len(clusters), self.config.clustering_loss, soft)

    # Links.

    def _linking_loss(
        self, states: Tensor, clusters: Spans, links: list[list[int] | None], batch: DialogueBatch
    ) -> Tensor | None:
        """None where no dialogue has both pictures and links; pictures of the others are not even looked at."""
        trained, link, identity = link_targets(batch, clusters, links)
        if not trained:
            return None
        queries, context, cluster_dialogue = self._describe_clusters(states, trained, batch)
        regions, region_dialogue = self._regions(batch, list(trained))
        logits, null = self._linking()(queries, context, regions)
        given = batch.soft_labels.links if batch.soft_labels is not None else []  # none of teachers that only read
        soft = [probabilities for probabilities in given if probabilities is not None] or None
        of_each = (link, identity, cluster_dialogue, region_dialogue)
        return linking_loss(logits, null, *of_each, len(clusters), self.config.linking_negatives, soft)

    def _link(self, results: list[dict[str, Any]], encoded: EncodedBatch, batch: DialogueBatch) -> None:
        """Fill in the regions of the clusters of `results`, where a dialogue has any."""
        counts = batch.region_counts()
        clusters = {n: found for n, result in enumerate(results) if counts[n] and (found := result["clusters"])}
        if not clusters:
            return
        queries, context, cluster_dialogue = self._describe_clusters(encoded.states, clusters, batch, encoded.queries)
        features = self._regions(batch)[0] if encoded.regions is None else encoded.regions
        assert batch.region_dialogue is not None  # there are regions
        elsewhere = cluster_dialogue[:, None].ne(batch.region_dialogue).to(features.device)
        options = self._linking().options(queries, context, features, elsewhere)
        rows = iter(exact(options))
        for number, found in clusters.items():
            low = sum(counts[:number])
            part = np.stack([next(rows) for _ in found])
            regions, none = part[:, low : low + counts[number]], part[:, -1]
            results[number]["region_scores"] = np.exp(regions).tolist()
            results[number]["null_scores"] = np.exp(none).tolist()
            results[number]["regions"] = assign_regions(regions, none)

    def _describe_clusters(
        self,
        states: Tensor,
        clusters: dict[int, list],
        batch: DialogueBatch,
        known: dict[tuple[int, ...], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Projected queries [K, P], contexts [K, 2H] and dialogue numbers [K] of the clusters of some dialogues.

        Queries in `known` are not read again, and those read are added to it.
        """
        context, dialogue = cluster_contexts(states, clusters)
        queries = build_queries(clusters, batch, self.config)
        read = self._read_queries(queries) if known is None else self._read_new_queries(queries, known)
        return read, context, dialogue


def _fetched_with_the_model() -> None:
    """Never called: transformers fetches from the Hub what the import lines of this file name, so all is there."""
    from .pipeline_tiktalkcoref import TikTalkCorefPipeline  # noqa: F401
    from .processing_tiktalkcoref import TikTalkCorefProcessor  # noqa: F401
