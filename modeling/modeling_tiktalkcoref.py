"""TikTalkCorefModel: who is meant in a dialogue about a video, in its text and in its picture.

A Chinese text encoder and a timm ViT joined by three heads: mentions, clustering (Maverick, Martinelli et al., ACL
2024) and linking (Chinese-CLIP, Yang et al., 2022). Batches come from `TikTalkCorefProcessor`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, logging

from .clustering_tiktalkcoref import ClusteringHead, close_clusters, clustering_loss, describe_mentions
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .mentions_tiktalkcoref import PRIOR, MentionHead, band_mask, mention_labels, mention_losses, select_mentions

__all__ = ["TikTalkCorefModel", "TikTalkCorefOutput", "TikTalkCorefPreTrainedModel"]

logger = logging.get_logger(__name__)

TOKENS = 16384  # tokens encoded at once without gradients: bounds the memory of long dialogues


@dataclass
class TikTalkCorefOutput(ModelOutput):
    """What `forward` returns, for B dialogues of at most C characters.

    Args:
        loss: Weighted sum of the four, where `clusters` were given.
        loss_start, loss_end, loss_clustering: Means over dialogues, so micro-batches are weighted by their dialogues.
        loss_linking: None where no dialogue of the batch has both pictures and links.
        start_logits: [B, C] that a mention starts here.
        end_logits: [B, C, W] that, given this start, it ends w characters later.
        num_dialogues: B, the weight of this batch's loss in a mean over several batches.
    """

    loss: Tensor | None = None
    loss_start: Tensor | None = None
    loss_end: Tensor | None = None
    loss_clustering: Tensor | None = None
    loss_linking: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    num_dialogues: int | None = None


class TikTalkCorefPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config_class = TikTalkCorefConfig
    base_model_prefix = "tiktalkcoref"
    main_input_name = "input_ids"
    input_modalities = ("text", "image")
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MentionHead):
            init.constant_(module.start_score.bias, PRIOR)
            init.zeros_(module.width_bias.weight)
        elif isinstance(module, TikTalkCorefModel):
            init.zeros_(module.speaker_embedding.weight)


class TikTalkCorefModel(TikTalkCorefPreTrainedModel):
    """Mentions, clusters and their regions. Built from the config alone; `from_encoders` takes pretrained ones."""

    def __init__(self, config: TikTalkCorefConfig) -> None:
        super().__init__(config)
        self.text_encoder = _build_text_encoder(config.text_config)
        hidden = config.text_config.hidden_size
        embedded = self.text_encoder.get_input_embeddings().embedding_dim
        self.speaker_embedding = nn.Embedding(config.max_speakers + 1, embedded, padding_idx=0)
        self.mention_head = MentionHead(hidden, config.mention_hidden_size, config.max_mention_length, config.dropout)
        self.clustering_head = ClusteringHead(hidden, config.pair_hidden_size, config.antecedent_top_k, config.dropout)
        self.post_init()

    @classmethod
    def from_encoders(
        cls, text: str | PretrainedConfig | dict, vision: str | dict | None = None, **config: Any
    ) -> TikTalkCorefModel:
        """A model whose heads are fresh. `text`: a name or path (pretrained weights) or a config (random weights)."""
        if not isinstance(text, PretrainedConfig | dict):
            config = {**_special_tokens(str(text)), **config}
            encoder = AutoModel.from_pretrained(text, dtype=torch.float32)
            model = cls(cls.config_class(text_config=encoder.config, vision_config=vision, **config))
            model.text_encoder.load_state_dict(encoder.state_dict(), strict=False)
            return model
        return cls(cls.config_class(text_config=text, vision_config=vision, **config))

    def get_input_embeddings(self) -> nn.Module:
        return self.text_encoder.get_input_embeddings()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by the learning rate that they need: "text_encoder", "vision_encoder", "heads"."""
        groups = {"text_encoder": list(self.text_encoder.parameters()), "vision_encoder": []}
        known = {id(parameter) for group in groups.values() for parameter in group}
        groups["heads"] = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return groups

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_speaker: Tensor,
        character_index: Tensor,
        character_utterance: Tensor,
        character_speaker: Tensor,
        characters: list[list[str]],
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        region_dialogue: Tensor | None = None,
        clusters: list[list[list[list[int]]]] | None = None,
        links: list[list[int]] | None = None,
        region_identities: list[list[str | None]] | None = None,
        sentence_lengths: list[list[int]] | None = None,
        **unused: Any,
    ) -> TikTalkCorefOutput:
        """Logits, and with `clusters` the losses. Shapes as the processor makes them; see `TikTalkCorefOutput`."""
        states = self._read(input_ids, attention_mask, token_type_ids, token_speaker, character_index)
        start_logits, end_logits = self.mention_head(states)
        output = TikTalkCorefOutput(start_logits=start_logits, end_logits=end_logits, num_dialogues=len(states))
        if clusters is None:
            return output
        mask = band_mask(character_utterance, self.config.max_mention_length)
        _check_clusters(clusters, characters)
        starts, spans = (label.to(states.device) for label in mention_labels(clusters, tuple(mask.shape)))
        output.loss_start, output.loss_end = mention_losses(
            start_logits, end_logits, mask, starts, spans, self.config.end_starts, self.config.mention_threshold
        )
        output.loss_clustering = self._clustering_loss(
            states, clusters, characters, character_utterance, character_speaker, (start_logits, end_logits, mask)
        )
        output.loss = (
            self.config.start_weight * output.loss_start
            + self.config.end_weight * output.loss_end
            + self.config.clustering_weight * output.loss_clustering
        )
        return output

    @torch.no_grad()
    def predict(
        self, batch: dict[str, Any], clusters: list | None = None, mentions: list | None = None
    ) -> list[dict[str, Any]]:
        """Clusters and their regions, one dict a dialogue.

        Args:
            batch: What the processor makes; labels in it are not looked at.
            clusters: Given clusters of inclusive spans, one list a dialogue, to be linked alone.
            mentions: Given mentions, one list of inclusive spans a dialogue, to be clustered.
        """
        training = self.training
        self.eval()
        try:
            return self._predict(batch, clusters, mentions)
        finally:
            self.train(training)

    def _predict(self, batch: dict[str, Any], clusters: list | None, mentions: list | None) -> list[dict[str, Any]]:
        batch = {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        characters = batch["characters"]
        states = self._read(*(batch.get(name) for name in _READ))
        if clusters is None:
            if mentions is None:
                mentions = self._find_mentions(states, batch["character_utterance"])
            clusters = self._cluster(states, mentions, batch)
        _check_clusters(clusters, characters)
        scores = self._mention_scores(states, clusters)
        return [
            {"clusters": found, "mention_scores": score, "region_scores": [[] for _ in found],
             "null_scores": [1.0] * len(found), "regions": [-1] * len(found)}
            for found, score in zip(clusters, scores, strict=True)
        ]  # fmt: skip

    def _read(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        token_speaker: Tensor,
        character_index: Tensor,
    ) -> Tensor:
        """The state of every character, [B, C, H]; without gradients the windows are encoded some at a time."""
        windows, length = input_ids.shape
        rows = windows if torch.is_grad_enabled() else max(1, TOKENS // length)
        index = character_index.clamp(min=0)
        if rows >= windows:
            states = self._encode(input_ids, attention_mask, token_type_ids, token_speaker)
            return states.flatten(0, 1)[index]
        gathered = None
        for low in range(0, windows, rows):
            part = slice(low, low + rows)
            kinds = None if token_type_ids is None else token_type_ids[part]
            states = self._encode(input_ids[part], attention_mask[part], kinds, token_speaker[part]).flatten(0, 1)
            if gathered is None:
                gathered = states.new_zeros((*index.shape, states.shape[-1]))
            here = (index >= low * length) & (index < low * length + len(states))
            gathered[here] = states[index[here] - low * length]
        return gathered

    def _encode(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None, token_speaker: Tensor
    ) -> Tensor:
        speakers = self.config.max_speakers
        row = torch.where(token_speaker > 0, (token_speaker - 1) % speakers + 1, 0)
        embedded = self.get_input_embeddings()(input_ids) + self.speaker_embedding(row)
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.text_encoder(inputs_embeds=embedded, attention_mask=attention_mask, **kinds).last_hidden_state

    def _clustering_loss(
        self,
        states: Tensor,
        clusters: list,
        characters: list[list[str]],
        utterance: Tensor,
        speaker: Tensor,
        found: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        entities = {
            (number, start, end): entity
            for entity, (number, cluster) in enumerate((n, c) for n, dialogue in enumerate(clusters) for c in dialogue)
            for start, end in cluster
        }
        spans = [[(start, end) for cluster in dialogue for start, end in cluster] for dialogue in clusters]
        if self.config.clustering_negatives:
            logits = (logit.detach() for logit in found[:2])
            selected = select_mentions(
                *logits, found[2], self.config.mention_threshold, self.config.max_mentions_per_character
            )
            for number, start, end in torch.stack(selected, 1).tolist():
                spans[number].append((start, end))
        mentions = describe_mentions(spans, characters, utterance, speaker)
        keys = torch.stack([mentions.dialogue, mentions.start, mentions.end], 1).tolist()
        entity = torch.tensor([entities.get(tuple(key), -1) for key in keys], dtype=torch.long, device=states.device)
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        return clustering_loss(
            antecedents, scores, entity, mentions.dialogue, len(clusters), self.config.clustering_loss
        )

    def _find_mentions(self, states: Tensor, utterance: Tensor) -> list[list[tuple[int, int]]]:
        start_logits, end_logits = self.mention_head(states)
        mask = band_mask(utterance, self.config.max_mention_length)
        selected = select_mentions(
            start_logits, end_logits, mask, self.config.mention_threshold, self.config.max_mentions_per_character
        )
        mentions: list[list[tuple[int, int]]] = [[] for _ in states]
        for number, start, end in torch.stack(selected, 1).tolist():
            mentions[number].append((start, end))
        return mentions

    def _cluster(self, states: Tensor, spans: list, batch: dict[str, Any]) -> list[list[list[list[int]]]]:
        """Clusters of mentions, in the order of their first mentions."""
        spans = [[(int(start), int(end)) for start, end in found] for found in spans]
        _check_clusters([[found] for found in spans], batch["characters"])
        mentions = describe_mentions(
            spans, batch["characters"], batch["character_utterance"], batch["character_speaker"]
        )
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        cluster = close_clusters(antecedents, scores, self.config.antecedent_threshold)
        clusters: list[dict[int, list[list[int]]]] = [{} for _ in spans]
        keys = torch.stack([mentions.dialogue, mentions.start, mentions.end], 1).tolist()
        for (number, start, end), name in zip(keys, cluster, strict=True):
            clusters[number].setdefault(name, []).append([start, end])
        return [list(found.values()) for found in clusters]

    def _mention_scores(self, states: Tensor, clusters: list) -> list[list[list[float]]]:
        rows = [(n, *span) for n, dialogue in enumerate(clusters) for cluster in dialogue for span in cluster]
        index = torch.tensor(rows, dtype=torch.long, device=states.device).reshape(-1, 3)
        start, end = self.mention_head.score_spans(states, *index.unbind(1))
        scores = iter((start.sigmoid() * end.sigmoid()).tolist())
        return [[[next(scores) for _ in cluster] for cluster in dialogue] for dialogue in clusters]


_READ = ("input_ids", "attention_mask", "token_type_ids", "token_speaker", "character_index")


def _build_text_encoder(config: PretrainedConfig) -> PreTrainedModel:
    """The encoder without a pooler, which nothing here reads."""
    encoder = AutoModel.from_config(config)
    if "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters:
        encoder.pooler = None
    return encoder


def _special_tokens(name: str) -> dict[str, int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    names = ("cls_token_id", "sep_token_id", "pad_token_id")
    return {key: getattr(tokenizer, key) for key in names}


def _check_clusters(clusters: list, characters: list[list[str]]) -> None:
    if len(clusters) != len(characters):
        raise ValueError(f"clusters are given for {len(clusters)} dialogues, but the batch has {len(characters)}.")
    for number, (dialogue, text) in enumerate(zip(clusters, characters, strict=True)):
        for cluster in dialogue:
            for span in cluster:
                if len(span) != 2 or not 0 <= span[0] <= span[1] < len(text):
                    raise ValueError(
                        f"dialogue {number} of the batch has the mention {list(span)}: expected [first, last], "
                        f"inclusive offsets of its {len(text)} characters (0 to {len(text) - 1})."
                    )
