"""TikTalkCorefModel: who is meant in a dialogue about a video, in its text and in its picture.

A Chinese text encoder and a timm ViT joined by three heads: mentions, clustering (Maverick, Martinelli et al., ACL
2024) and linking (Chinese-CLIP, Yang et al., 2022). Batches come from `TikTalkCorefProcessor`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ChineseCLIPModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, logging

from .chinese_clip_tiktalkcoref import convert_config, convert_weights
from .clustering_tiktalkcoref import ClusteringHead, close_clusters, clustering_loss, describe_mentions
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .encoders_tiktalkcoref import (
    build_text_encoder,
    build_vision_encoder,
    image_settings,
    load_text_encoder,
    pretrained_vision_config,
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

__all__ = ["TikTalkCorefModel", "TikTalkCorefOutput", "TikTalkCorefPreTrainedModel"]

logger = logging.get_logger(__name__)

TOKENS = 16384  # tokens encoded at once without gradients: bounds the memory of long dialogues
ALIGNMENT = 64  # bytes
PICTURES = 256  # pictures likewise
READ = ("input_ids", "attention_mask", "token_type_ids", "token_speaker", "character_index")
AUTO_MAP = {
    "AutoConfig": "configuration_tiktalkcoref.TikTalkCorefConfig",
    "AutoModel": "modeling_tiktalkcoref.TikTalkCorefModel",
    "AutoProcessor": "processing_tiktalkcoref.TikTalkCorefProcessor",
}
PIPELINES = {
    "multimodal-coreference": {
        "impl": "pipeline_tiktalkcoref.TikTalkCorefPipeline",
        "pt": ["AutoModel"],
        "type": "multimodal",
    }
}


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
        """Modules whose parameters start elsewhere say so in `initial_bias` and `initial_weight`."""
        super()._init_weights(module)
        if (value := getattr(module, "initial_bias", None)) is not None:
            init.constant_(module.bias, value)
        if (value := getattr(module, "initial_weight", None)) is not None:
            init.constant_(module.weight, value)
        if isinstance(module, LinkingHead):
            init.constant_(module.logit_scale, module.initial_logit_scale)
            init.zeros_(module.context_gate)
            init.zeros_(module.null_cosine)
        if hasattr(module, "init_non_persistent_buffers"):  # timm's, lost on the meta device
            module.init_non_persistent_buffers()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As everywhere in transformers; weights on the CPU are moved to aligned memory.

        Straight from the file they may lie anywhere, for which matrix kernels round differently: a loaded model would
        give other last digits than the saved one.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        for tensor in (loaded[0] if isinstance(loaded, tuple) else loaded).parameters():
            if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT:
                tensor.data = tensor.data.clone()
        return loaded

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Weights, config and the code beside them, so that the folder runs alone with `trust_remote_code=True`."""
        if kwargs.get("is_main_process", True):
            self.config.auto_map = dict(AUTO_MAP)
            self.config.custom_pipelines = {name: dict(value) for name, value in PIPELINES.items()}
            _copy_code(Path(save_directory), self.config.name_or_path)
        super().save_pretrained(save_directory, **kwargs)


class TikTalkCorefModel(TikTalkCorefPreTrainedModel):
    """Mentions, clusters and their regions.

    Built from the config alone, with random weights; `from_encoders` and `from_chinese_clip` take pretrained ones.
    """

    def __init__(self, config: TikTalkCorefConfig) -> None:
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.text_encoder = build_text_encoder(config.text_config)
        embedded = self.get_input_embeddings().embedding_dim
        self.speaker_embedding = nn.Embedding(config.max_speakers + 1, embedded, padding_idx=0)
        self.speaker_embedding.initial_weight = 0.0
        self.mention_head = MentionHead(hidden, config.mention_hidden_size, config.max_mention_length, config.dropout)
        self.clustering_head = ClusteringHead(hidden, config.pair_hidden_size, config.antecedent_top_k, config.dropout)
        self.vision_encoder = self.linking_head = None
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
        named = isinstance(vision, str)
        vision_config = pretrained_vision_config(vision) if named else vision
        model = cls(cls.config_class(text_config=text, vision_config=vision_config, **config))
        if encoder is not None:
            weights = {name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler.")}
            model.text_encoder.load_state_dict(weights)
        if named:
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
        name = os.fspath(name)
        found = PretrainedConfig.get_config_dict(name)[0].get("model_type")
        if found != "chinese_clip":
            raise ValueError(f"{name} holds a model of type {found!r}: expected 'chinese_clip'; see from_encoders.")
        clip = ChineseCLIPModel.from_pretrained(name, dtype=torch.float32)
        settings = {**convert_config(clip.config, image_settings(name)), **special_tokens(name), **config}
        model = cls(cls.config_class(**settings))
        missing, unexpected = model.load_state_dict(convert_weights(clip), strict=False)
        towers = ("text_encoder.", "vision_encoder.")
        if unexpected or any(key.startswith(towers) for key in missing):
            raise ValueError(f"{name} does not fit: missing {missing}, unexpected {unexpected}.")
        logger.warning_once("mention_head and clustering_head start from random weights and are to be trained.")
        return model

    def get_input_embeddings(self) -> nn.Module:
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_encoder.set_input_embeddings(value)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by the learning rate that they need: "text_encoder", "vision_encoder", "heads"."""
        groups = {
            "text_encoder": list(self.text_encoder.parameters()),
            "vision_encoder": list(self.vision_encoder.parameters()) if self.vision_encoder is not None else [],
        }
        known = {id(parameter) for group in groups.values() for parameter in group}
        groups["heads"] = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return groups

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Texts [K, L] -> the projected states of their [CLS], [K, P], not normalised."""
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, **kinds).last_hidden_state
        return self._linking().text_projection(states[:, 0])

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Pictures [R, 3, H, W] -> their projected features [R, P], not normalised."""
        head = self._linking()
        pixel_values = pixel_values.to(head.visual_projection.weight.dtype)
        if torch.is_grad_enabled() or len(pixel_values) <= PICTURES:
            return head.visual_projection(self.vision_encoder(pixel_values))
        return torch.cat([head.visual_projection(self.vision_encoder(part)) for part in pixel_values.split(PICTURES)])

    @torch.no_grad()
    def get_cluster_features(self, batch: dict[str, Any], clusters: list) -> Tensor:
        """Embeddings [K, P] of given clusters, to be compared with those of regions by cosine."""
        _check_spans(clusters, batch["characters"])
        states = self._read(*(batch.get(name) for name in READ))
        read = (batch[name] for name in ("input_ids", "token_speaker", "character_index", "characters"))
        queries, context, _ = self._describe_clusters(states, dict(enumerate(clusters)), *read)
        return self._linking().embed(queries, context)

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
        clusters: list[list[list[list[int]]]] | None = None,
        links: list[list[int] | None] | None = None,
        region_identities: list[list[str | None] | None] | None = None,
        masked_input_ids: Tensor | None = None,
    ) -> TikTalkCorefOutput:
        """Logits and, with `clusters`, the losses: see `TikTalkCorefOutput`.

        Args: as `TikTalkCorefProcessor` makes them, for B dialogues in N windows of L tokens with R regions.
        `masked_input_ids` [N, L] are read in the place of `input_ids` where training hides some; queries stay whole.
        """
        read = input_ids if masked_input_ids is None else masked_input_ids
        states = self._read(read, attention_mask, token_type_ids, token_speaker, character_index)
        start_logits, end_logits = self.mention_head(states)
        output = TikTalkCorefOutput(start_logits=start_logits, end_logits=end_logits, num_dialogues=len(states))
        if clusters is None:
            return output
        _check_spans(clusters, characters)
        config = self.config
        mask = band_mask(character_utterance, config.max_mention_length)
        starts, spans = (label.to(states.device) for label in mention_labels(clusters, tuple(mask.shape)))
        output.loss_start, output.loss_end = mention_losses(
            start_logits, end_logits, mask, starts, spans, config.end_starts, config.mention_threshold
        )
        predicted = None
        if config.clustering_negatives:
            predicted = self._select(start_logits.detach(), end_logits.detach(), character_utterance)
        output.loss_clustering = self._clustering_loss(
            states, clusters, predicted, characters, character_utterance, character_speaker
        )
        output.loss = config.start_weight * output.loss_start + config.end_weight * output.loss_end
        output.loss = output.loss + config.clustering_weight * output.loss_clustering
        if pixel_values is not None and links is not None and self.vision_encoder is not None:
            output.loss_linking = self._linking_loss(
                states, input_ids, token_speaker, character_index, characters, pixel_values, region_dialogue,
                clusters, links, region_identities,
            )  # fmt: skip
            if output.loss_linking is not None:
                output.loss = output.loss + config.linking_weight * output.loss_linking
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

        Returns:
            For each dialogue, lists with one entry a cluster: `clusters` [[first, last], ...], `mention_scores` one
            probability a mention, `region_scores` one probability a region of the dialogue, `null_scores` the
            probability of none (they sum to 1), `regions` the region assigned, -1 for none. Clusters come in the order
            of their first mentions, or as given.
        """
        training = self.training
        self.eval()
        try:
            return self._predict(batch, clusters, mentions)
        finally:
            self.train(training)

    def _predict(self, batch: dict[str, Any], clusters: list | None, mentions: list | None) -> list[dict[str, Any]]:
        batch = {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        states = self._read(*(batch.get(name) for name in READ))
        if clusters is None:
            if mentions is None:
                mentions = self._select(*self.mention_head(states), batch["character_utterance"])
            clusters = self._cluster(states, mentions, batch)
        _check_spans(clusters, batch["characters"])
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
        if batch.get("pixel_values") is not None and self.vision_encoder is not None:
            self._link(results, states, batch)
        return results

    # Reading: windows of tokens -> one state a character.

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
        row = torch.where(token_speaker > 0, (token_speaker - 1) % self.config.max_speakers + 1, 0)
        embedded = self.get_input_embeddings()(input_ids) + self.speaker_embedding(row)
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.text_encoder(inputs_embeds=embedded, attention_mask=attention_mask, **kinds).last_hidden_state

    # Mentions and clusters.

    def _select(self, start_logits: Tensor, end_logits: Tensor, utterance: Tensor) -> list[list[tuple[int, int]]]:
        """The mentions found, a list of inclusive spans a dialogue."""
        config = self.config
        mask = band_mask(utterance, config.max_mention_length)
        selected = select_mentions(
            start_logits, end_logits, mask, config.mention_threshold, config.max_mentions_per_character
        )
        mentions: list[list[tuple[int, int]]] = [[] for _ in utterance]
        for number, start, end in torch.stack(selected, 1).tolist():
            mentions[number].append((start, end))
        return mentions

    def _cluster(self, states: Tensor, spans: list, batch: dict[str, Any]) -> list[list[list[list[int]]]]:
        """Clusters of mentions, in the order of their first mentions."""
        _check_spans([[found] for found in spans], batch["characters"])
        mentions = describe_mentions(
            spans, batch["characters"], batch["character_utterance"], batch["character_speaker"]
        )
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        cluster = close_clusters(antecedents, scores, self.config.antecedent_threshold)
        clusters: list[dict[int, list[list[int]]]] = [{} for _ in spans]
        for (number, start, end), name in zip(mentions.spans(), cluster, strict=True):
            clusters[number].setdefault(name, []).append([start, end])
        return [list(found.values()) for found in clusters]

    def _mention_scores(self, states: Tensor, clusters: list) -> list[list[list[float]]]:
        rows = [(n, *span) for n, dialogue in enumerate(clusters) for cluster in dialogue for span in cluster]
        index = torch.tensor(rows, dtype=torch.long, device=states.device).reshape(-1, 3)
        start, end = self.mention_head.score_spans(states, *index.unbind(1))
        scores = iter((start.sigmoid() * end.sigmoid()).tolist())
        return [[[next(scores) for _ in cluster] for cluster in dialogue] for dialogue in clusters]

    def _clustering_loss(
        self,
        states: Tensor,
        clusters: list,
        predicted: list[list[tuple[int, int]]] | None,
        characters: list[list[str]],
        utterance: Tensor,
        speaker: Tensor,
    ) -> Tensor:
        """Over the gold mentions and, where given, the predicted ones, which corefer with nothing if they are wrong."""
        numbered = enumerate((number, cluster) for number, dialogue in enumerate(clusters) for cluster in dialogue)
        entities = {(n, start, end): entity for entity, (n, cluster) in numbered for start, end in cluster}
        spans = [[span for cluster in dialogue for span in cluster] for dialogue in clusters]
        if predicted is not None:
            spans = [gold + found for gold, found in zip(spans, predicted, strict=True)]
        mentions = describe_mentions(spans, characters, utterance, speaker)
        entity = [entities.get(span, -1) for span in mentions.spans()]
        antecedents, scores = self.clustering_head(self.clustering_head.represent(states, mentions), mentions)
        entity = torch.tensor(entity, dtype=torch.long, device=states.device)
        return clustering_loss(antecedents, scores, entity, len(clusters), self.config.clustering_loss)

    # Links.

    def _linking(self) -> LinkingHead:
        if self.linking_head is None:
            raise ValueError("this model reads text only: its config has no vision_config.")
        return self.linking_head

    def _linking_loss(
        self,
        states: Tensor,
        input_ids: Tensor,
        token_speaker: Tensor,
        character_index: Tensor,
        characters: list[list[str]],
        pixel_values: Tensor,
        region_dialogue: Tensor,
        clusters: list,
        links: list[list[int] | None],
        identities: list[list[str | None] | None] | None,
    ) -> Tensor | None:
        """None where no dialogue has both pictures and links; pictures of the others are not even looked at."""
        counts = torch.bincount(region_dialogue, minlength=len(clusters)).tolist()
        targets = link_targets(clusters, links, counts)
        chosen = [number for number, target in enumerate(targets) if target is not None]
        if not chosen:
            return None
        names: dict[str, int] = {}
        link, identity, offset = [], [], 0
        for number in chosen:
            link += [region + offset if region >= 0 else -1 for region in targets[number]]
            people = (identities[number] if identities is not None else None) or [None] * counts[number]
            identity += [names.setdefault(name, len(names)) if name else -1 for name in people]
            offset += counts[number]
        queries, context, cluster_dialogue = self._describe_clusters(
            states,
            {number: clusters[number] for number in chosen},
            input_ids,
            token_speaker,
            character_index,
            characters,
        )
        used = torch.isin(region_dialogue, torch.tensor(chosen, device=region_dialogue.device))
        logits, null = self._linking()(queries, context, self.get_image_features(pixel_values[used]))
        return linking_loss(
            logits,
            null,
            torch.tensor(link, device=states.device),
            torch.tensor(identity, device=states.device),
            cluster_dialogue,
            region_dialogue[used],
            len(clusters),
            self.config.linking_negatives,
        )

    def _link(self, results: list[dict[str, Any]], states: Tensor, batch: dict[str, Any]) -> None:
        """Fill in the regions of the clusters of `results`, where a dialogue has any."""
        region_dialogue = batch["region_dialogue"]
        pictured = region_dialogue.unique().tolist()
        clusters = {number: results[number]["clusters"] for number in pictured if results[number]["clusters"]}
        if not clusters:
            return
        read = (batch[name] for name in ("input_ids", "token_speaker", "character_index", "characters"))
        queries, context, cluster_dialogue = self._describe_clusters(states, clusters, *read)
        features = self.get_image_features(batch["pixel_values"])
        for number in clusters:
            rows, columns = cluster_dialogue == number, region_dialogue == number
            logits, null = self._linking()(queries[rows], context[rows], features[columns])
            options = torch.cat([logits, null[:, None]], 1).log_softmax(1)
            results[number]["region_scores"] = options[:, :-1].exp().tolist()
            results[number]["null_scores"] = options[:, -1].exp().tolist()
            results[number]["regions"] = assign_regions(options[:, :-1], options[:, -1])

    def _describe_clusters(
        self,
        states: Tensor,
        clusters: dict[int, list],
        input_ids: Tensor,
        token_speaker: Tensor,
        character_index: Tensor,
        characters: list[list[str]],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Projected queries [K, P], contexts [K, 2H] and dialogue numbers [K] of the clusters of some dialogues."""
        context, dialogue = cluster_contexts(states, clusters)
        queries = build_queries(clusters, input_ids, token_speaker, character_index, characters, self.config)
        return self._read_queries(queries), context, dialogue

    def _read_queries(self, queries: list[list[int]]) -> Tensor:
        features = []
        step = len(queries) if torch.is_grad_enabled() else TOKENS // self.config.max_query_length
        for low in range(0, len(queries), max(1, step)):
            part = [torch.tensor(query) for query in queries[low : low + step]]
            ids = nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=self.config.pad_token_id or 0)
            lengths = torch.tensor([len(query) for query in part])
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            features.append(self.get_text_features(ids.to(self.device), mask.to(self.device)))
        return torch.cat(features)


def _check_spans(clusters: list, characters: list[list[str]]) -> None:
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


def _copy_code(folder: Path, origin: str) -> None:
    """Copy the model's code, which lies beside this file or, for what transformers did not fetch, at its origin."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in (Path(origin or "."), Path(__file__).parent):  # the code that runs wins
        if source.resolve() == folder.resolve() or not (source / "modeling_tiktalkcoref.py").is_file():
            continue
        for file in [*source.glob("*_tiktalkcoref.py"), source / "handler.py"]:
            if file.is_file():
                shutil.copyfile(file, folder / file.name)


def _fetched_with_the_model() -> None:
    """Never called: transformers fetches from the Hub what the import lines of this file name, so all is there."""
    from .pipeline_tiktalkcoref import TikTalkCorefPipeline  # noqa: F401
    from .processing_tiktalkcoref import TikTalkCorefProcessor  # noqa: F401
