"""Reading: what the two towers make of a batch, of query texts and of pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .batch_tiktalkcoref import DialogueBatch
from .linking_tiktalkcoref import LinkingHead, mean_pictures
from .pretrained_tiktalkcoref import TikTalkCorefPreTrainedModel

TOKENS = 16384  # tokens encoded at once without gradients: bounds the memory of long dialogues
PICTURES = 256  # pictures likewise


class TikTalkCorefReader(TikTalkCorefPreTrainedModel):
    """The towers in use; `TikTalkCorefModel` builds them.

    Attributes:
        text_encoder, speaker_embedding: of every model.
        vision_encoder, linking_head: None where the model reads text only.
    """

    text_encoder: PreTrainedModel
    speaker_embedding: nn.Embedding
    vision_encoder: nn.Module | None
    linking_head: LinkingHead | None

    def get_input_embeddings(self) -> Any:
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_encoder.set_input_embeddings(value)

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Texts [K, L] -> the projected states of their [CLS], [K, P], not normalised."""
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, **kinds).last_hidden_state
        return self._linking().text_projection(states[:, 0])

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Pictures [Q, 3, H, W] -> their projected features [Q, P], not normalised."""
        head, encoder = self._linking(), self.vision_encoder
        assert encoder is not None  # it comes with the head
        pixel_values = pixel_values.to(head.visual_projection.weight.dtype)
        parts = [pixel_values] if torch.is_grad_enabled() else pixel_values.split(PICTURES)
        return torch.cat([head.visual_projection(encoder(part)) for part in parts])

    def _linking(self) -> LinkingHead:
        if self.linking_head is None:
            raise ValueError("this model reads text only: its config has no vision_config.")
        return self.linking_head

    def _read(self, batch: DialogueBatch, whole: bool = False) -> Tensor:
        """The state of every character, [B, C, H]; without gradients the windows are encoded some at a time.

        Args:
            whole: read the characters that training hides, too.
        """
        read = batch.input_ids if whole or batch.masked_input_ids is None else batch.masked_input_ids
        windows, length = read.shape
        rows = windows if torch.is_grad_enabled() else max(1, TOKENS // length)
        parts = [self._encode(read, batch, slice(low, low + rows)) for low in range(0, windows, rows)]
        return torch.cat(parts).flatten(0, 1)[batch.character_index.clamp(min=0)]

    def _encode(self, input_ids: Tensor, batch: DialogueBatch, part: slice) -> Tensor:
        """The states of some of the windows, [n, L, H]."""
        speaker = batch.token_speaker[part]
        row = torch.where(speaker > 0, (speaker - 1) % self.config.max_speakers + 1, 0)
        embedded = self.get_input_embeddings()(input_ids[part]) + self.speaker_embedding(row)
        kinds = {} if batch.token_type_ids is None else {"token_type_ids": batch.token_type_ids[part]}
        mask = batch.attention_mask[part]
        return self.text_encoder(inputs_embeds=embedded, attention_mask=mask, **kinds).last_hidden_state

    def _read_new_queries(self, queries: list[list[int]], known: dict[tuple[int, ...], Tensor]) -> Tensor:
        """As `_read_queries`, each once: those read are added to `known`."""
        unread = [list(query) for query in dict.fromkeys(map(tuple, queries)) if query not in known]
        if unread:
            known.update(zip(map(tuple, unread), self._read_queries(unread), strict=True))
        return torch.stack([known[tuple(query)] for query in queries])

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

    def _regions(self, batch: DialogueBatch, dialogues: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """Projected regions [R', P] of some dialogues (of all), and the dialogue of each, [R'].

        A region of several pictures is the mean of their embeddings.
        """
        pixels, owner, picture_region = batch.pixel_values, batch.region_dialogue, batch.picture_region
        assert pixels is not None and owner is not None  # noqa: PT018 (they come together)
        used = torch.ones_like(owner, dtype=torch.bool)
        if dialogues is not None:
            used = torch.isin(owner, torch.tensor(dialogues))
        if picture_region is None:
            return self.get_image_features(pixels[used]), owner[used]
        shown = used[picture_region]
        row = (used.cumsum(0) - 1)[picture_region[shown]]
        return mean_pictures(self.get_image_features(pixels[shown]), row, int(used.sum())), owner[used]
