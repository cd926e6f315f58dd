"""From dialogues to the model's batch: characters to ids, long dialogues to overlapping windows, pictures to pixels.

A window reads `[CLS] (title [SEP])? utterance [SEP] utterance [SEP] ...`. A dialogue that fits has exactly one; of a
longer one each window sees a stretch, every character keeps the state of the window in which it is most central.

Every character (or token of a token list) keeps its place: one that the tokenizer drops (a space, a zero-width joiner)
or does not know becomes [UNK], one that it splits is read from its last piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from transformers.utils import logging

from .batch_tiktalkcoref import NAMES, DialogueBatch
from .configuration_tiktalkcoref import SettingsError, check_channels
from .inputs_tiktalkcoref import LABELS, Dialogue, DialogueError, read_labels, read_regions, read_text

logger = logging.get_logger(__name__)

MAX_PIECES = 16  # a token that splits into more becomes one [UNK], as BERT's own tokenizer does with endless words
MAX_CACHED = 100_000  # distinct characters and tokens whose pieces are remembered


class TikTalkCorefProcessor(ProcessorMixin):
    """Tokenizer, image transform and collation in one.

    Args:
        tokenizer: the text encoder's own; it needs [CLS], [SEP], [PAD] and [UNK].
        window_size: tokens a window holds, specials included.
        window_stride: tokens of dialogue between the starts of two windows of a long dialogue.
        use_title: whether the title is read, as context before the dialogue.
        max_title_length: tokens of the title that are read; the rest of it is left out.
        token_types: token types that the encoder knows; with two, the speakers alternate between them.
        image_size: side of the square, in pixels, that a region is scaled to; None for a text-only model.
        image_mean, image_std: of each channel, in [0, 1].
        max_characters: of one dialogue; a longer one is refused, since it would run for minutes without a word. Raise
            it for a processor by `processor.max_characters = ...`; memory grows linearly with the dialogue.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        window_size: int = 512,
        window_stride: int = 256,
        use_title: bool = False,
        max_title_length: int = 64,
        token_types: int = 2,
        image_size: int | None = None,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        max_characters: int = 50_000,
    ) -> None:
        super().__init__(tokenizer)
        _check_tokenizer(tokenizer)
        _check_settings(
            window_size=window_size,
            window_stride=window_stride,
            max_title_length=max_title_length,
            token_types=token_types,
            max_characters=max_characters,
            **({} if image_size is None else {"image_size": image_size}),
        )
        check_channels("image_mean", image_mean)
        check_channels("image_std", image_std)
        # a token of more pieces than a window can hold beside its [SEP] could never be read
        self._max_pieces = min(MAX_PIECES, _room(window_size, window_stride, max_title_length if use_title else 0) - 1)
        self.window_size = window_size
        self.window_stride = window_stride
        self.use_title = use_title
        self.max_title_length = max_title_length
        self.token_types = token_types
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.max_characters = max_characters
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id  # looking them up costs more than a line
        self._pieces: dict[str, tuple[int, ...]] = {}

    @classmethod
    def from_config(cls, config: Any, tokenizer: PreTrainedTokenizerBase) -> "TikTalkCorefProcessor":
        """The processor of a model with this TikTalkCorefConfig; a config without vision gives a text-only one."""
        vision = config.vision_config
        image = {key: vision[key] for key in ("image_size", "image_mean", "image_std")} if vision else {}
        return cls(
            tokenizer,
            window_size=config.window_size,
            window_stride=config.window_stride,
            use_title=config.use_title,
            max_title_length=config.max_title_length,
            token_types=getattr(config.text_config, "type_vocab_size", 1),
            **image,
        )

    @property
    def model_input_names(self) -> list[str]:
        """Keys of a batch, labels aside."""
        return [name for name in NAMES if name not in (*LABELS, "masked_input_ids")]

    def __call__(
        self, dialogues: Mapping | Sequence[Mapping], labels: bool = False, names: Sequence[str] | None = None
    ) -> DialogueBatch:
        """Turn dialogues (see `inputs_tiktalkcoref`) into one batch for the model.

        Args:
            dialogues: one dialogue or a list of B.
            labels: whether to read the labels too; then each dialogue needs `clusters`.
            names: how error messages call the dialogues; by default "dialogue 1" and so on.
        Returns:
            the batch; its pictures are there only where a dialogue has some, its labels only with labels=True.
        Raises:
            DialogueError (a ValueError): a dialogue that cannot be read; the message says where and what to do.
        """
        given: list[Mapping] = [dialogues] if isinstance(dialogues, Mapping) else list(dialogues)
        if not given:
            raise DialogueError("no dialogues: found an empty list, expected at least one.")
        if names is None:
            single = isinstance(dialogues, Mapping)
            names = ["dialogue"] if single else [f"dialogue {number}" for number in range(1, len(given) + 1)]
        texts = [self._read_text(dialogue, name) for dialogue, name in zip(given, names, strict=True)]
        regions = [self._read_regions(dialogue, name) for dialogue, name in zip(given, names, strict=True)]
        characters = [list(chain.from_iterable(text.units)) for text in texts]
        return DialogueBatch(
            **_collate([self._encode(text) for text in texts], self.tokenizer.pad_token_id, self.token_types),
            characters=characters,
            sentence_lengths=[[len(units) for units in text.units] for text in texts],
            **self._pictures(regions),
            **(self._labels(given, characters, regions, names) if labels else {}),
        )

    def process_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Scale R RGB images to the model's square, bicubically, and normalise them: [R, 3, image_size, image_size]."""
        if self.image_size is None:
            raise SettingsError("this processor has no image_size: its model reads text only.")
        size = (self.image_size, self.image_size)
        scaled = [image if image.size == size else image.resize(size, Image.Resampling.BICUBIC) for image in images]
        pixels = np.stack([np.asarray(image) for image in scaled]).astype(np.float32)
        pixels /= 255.0
        pixels -= np.asarray(self.image_mean, dtype=np.float32)
        pixels /= np.asarray(self.image_std, dtype=np.float32)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def pieces(self, units: Sequence[str]) -> list[tuple[int, ...]]:
        """The token ids of each character (or token), at least one each; remembered, so that each is looked up once."""
        known = self._pieces
        try:
            return [known[unit] for unit in units]
        except KeyError:
            if len(known) > MAX_CACHED:
                known = self._pieces = {}
            for unit in set(units) - known.keys():
                known[unit] = self._tokenize(unit)
            return [known[unit] for unit in units]

    def _tokenize(self, unit: str) -> tuple[int, ...]:
        unknown = (self.tokenizer.unk_token_id,)
        text = unit.encode("utf-8", "ignore").decode("utf-8")  # half a surrogate pair is no text to a tokenizer
        if not text:
            return unknown
        ids = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        # a user's text that spells a special token must not become one
        forged = not set(ids).isdisjoint(self.tokenizer.all_special_ids) and ids != unknown
        return unknown if not ids or forged or len(ids) > self._max_pieces else ids

    def _read_text(self, dialogue: Any, name: str) -> Dialogue:
        text = read_text(dialogue, name)
        if (count := sum(map(len, text.units))) > self.max_characters:
            raise DialogueError(
                f"{name} has {count:,} characters, more than the limit of {self.max_characters:,}: split it, or raise "
                f"the limit (processor.max_characters = {count}; it will take a while)."
            )
        return text

    def _pictures(self, regions: list[list[list[Image.Image]] | None]) -> dict[str, Any]:
        """The tensors of the pictures of a batch; none where there are no pictures."""
        shown = [pictures for group in regions for pictures in group or ()]
        if not shown:
            return {}
        counts = torch.tensor([len(group or ()) for group in regions])
        tensors = {
            "pixel_values": self.process_images(list(chain.from_iterable(shown))),
            "region_dialogue": torch.repeat_interleave(torch.arange(len(regions)), counts),
        }
        if any(len(pictures) > 1 for pictures in shown):
            several = torch.tensor([len(pictures) for pictures in shown])
            tensors["picture_region"] = torch.repeat_interleave(torch.arange(len(shown)), several)
        return tensors

    def _read_regions(self, dialogue: Mapping, name: str) -> list[list[Image.Image]] | None:
        if self.image_size is not None:
            return read_regions(dialogue, name)
        if dialogue.get("regions") or dialogue.get("boxes"):
            logger.warning_once("The model reads text only: the pictures of the dialogues are left out.")
        return None

    def _encode(self, text: Dialogue) -> "_Encoded":
        prefix = [self._cls]
        if self.use_title and text.title:
            title = list(chain.from_iterable(self.pieces(text.title)))[: self.max_title_length]
            prefix += [*title, self._sep]
        body: list[int] = []
        speakers: list[int] = []
        types: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for units, speaker in zip(text.units, text.speakers, strict=True):
            pieces = self.pieces(units)
            ids = list(chain.from_iterable(pieces))
            first, count = len(body), len(ids)
            starts.append(first)
            if count == len(units):
                ends.extend(range(first, first + count))
            else:
                ends.extend((np.cumsum([len(piece) for piece in pieces]) + first - 1).tolist())
            body += [*ids, self._sep]
            speakers += [*[speaker + 1] * count, 0]
            types += [speaker % 2] * (count + 1)
        windows = _windows(len(body), starts, ends, self.window_size - len(prefix), self.window_stride)
        lead, tokens = np.zeros((3, len(prefix)), dtype=np.int64), np.array([body, speakers, types])
        lead[0] = prefix
        rows = []
        for start, stop in windows:
            row = [lead, tokens[:, start:stop]]
            if tokens[1, stop - 1]:  # it stops within an utterance: a [SEP] of its own closes it
                row.append(np.array([[self._sep], [0], [tokens[2, stop - 1]]]))
            rows.append(np.concatenate(row, 1))
        window, offset = _place(np.asarray(ends), windows, len(body))
        return _Encoded(text, windows, rows, window, len(prefix) + offset)

    def _labels(
        self, dialogues: list[Mapping], characters: list[list[str]], regions: list[list | None], names: Sequence[str]
    ) -> dict[str, Any]:
        read = [
            read_labels(dialogue, len(units), None if group is None else len(group), name)
            for dialogue, units, group, name in zip(dialogues, characters, regions, names, strict=True)
        ]
        return {key: [labels[key] for labels in read] for key in LABELS}


@dataclass
class _Encoded:
    """One dialogue in tokens.

    Attributes:
        windows: the stretches [start, stop) of the body, which is the utterances, each closed by [SEP].
        rows: what is read of each window, [3, tokens]: ids, speaker number + 1 (0 of specials), token types.
        window, offset: of each character, its window and where in that row its last piece stands.
    """

    text: Dialogue
    windows: list[tuple[int, int]]
    rows: list[np.ndarray]
    window: np.ndarray
    offset: np.ndarray


def _windows(n: int, starts: list[int], ends: list[int], room: int, stride: int) -> list[tuple[int, int]]:
    """Cut a body of n tokens into overlapping [start, stop) stretches of at most `room` tokens.

    A window starts at an utterance where one starts within the stride, else between two units; one that does not stop
    with an utterance keeps a token of its room for the [SEP] that closes it.
    """
    if n <= room:
        return [(0, n)]
    last_piece = np.zeros(n, dtype=bool)
    last_piece[ends] = True
    boundaries = np.flatnonzero(last_piece) + 1  # where a unit has just ended: a window may start or stop here
    utterances = np.asarray(starts)
    windows = []
    start = 0
    while True:
        if n - start <= room:
            windows.append((start, n))
            return windows
        stop = _last(boundaries, start, start + room - 1)
        windows.append((start, stop))
        limit = min(start + stride, stop)
        start = _last(utterances, start, limit) or _last(boundaries, start, limit) or _first(boundaries, start)


def _last(sorted_positions: np.ndarray, after: int, limit: int) -> int:
    """The last position in (after, limit], 0 for none."""
    at = np.searchsorted(sorted_positions, limit, side="right") - 1
    return int(sorted_positions[at]) if at >= 0 and sorted_positions[at] > after else 0


def _first(sorted_positions: np.ndarray, after: int) -> int:
    """The first position behind `after`."""
    return int(sorted_positions[np.searchsorted(sorted_positions, after, side="right")])


def _place(ends: np.ndarray, windows: list[tuple[int, int]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The window of each unit, where it stands furthest from an inner edge, and its offset within that stretch."""
    window, best = np.zeros_like(ends), np.full(len(ends), -1)
    for number, (start, stop) in enumerate(windows):
        first, last = np.searchsorted(ends, (start, stop))
        # the dialogue's own edges are no loss of context
        left = ends[first:last] - start if start else np.full(last - first, n)
        depth = np.minimum(left, stop - 1 - ends[first:last] if stop < n else n)
        better = depth > best[first:last]
        best[first:last][better] = depth[better]
        window[first:last][better] = number
    return window, ends - np.array([start for start, _ in windows])[window]


def _collate(batch: list[_Encoded], pad_token_id: int, token_types: int) -> dict[str, Any]:
    """Pad the windows and characters of a batch into tensors (shapes: see `DialogueBatch`)."""
    rows = [row for encoded in batch for row in encoded.rows]
    n_tokens = max(row.shape[1] for row in rows)
    tokens = np.zeros((4, len(rows), n_tokens), dtype=np.int64)
    tokens[0] = pad_token_id
    for number, row in enumerate(rows):
        tokens[:3, number, : row.shape[1]] = row
        tokens[3, number, : row.shape[1]] = 1
    if token_types < 2:
        tokens[2] = 0
    characters = np.full((3, len(batch), max(len(encoded.offset) for encoded in batch)), -1, dtype=np.int64)
    first_row = 0
    for number, encoded in enumerate(batch):
        lengths = [len(units) for units in encoded.text.units]
        characters[:, number, : len(encoded.offset)] = (
            (first_row + encoded.window) * n_tokens + encoded.offset,
            np.repeat(np.arange(len(lengths)), lengths),
            np.repeat(encoded.text.speakers, lengths),
        )
        first_row += len(encoded.rows)
    of_tokens = ("input_ids", "token_speaker", "token_type_ids", "attention_mask")
    of_characters = ("character_index", "character_utterance", "character_speaker")
    tensors = map(torch.from_numpy, (*tokens, *characters))
    return dict(zip((*of_tokens, *of_characters), tensors, strict=True))


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("cls_token_id", "sep_token_id", "pad_token_id", "unk_token_id"):
        if getattr(tokenizer, name, None) is None:
            raise SettingsError(
                f"the tokenizer {type(tokenizer).__name__} has no {name.removesuffix('_id')}; "
                "take a BERT-like one with [CLS], [SEP], [PAD] and [UNK]."
            )
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise SettingsError(
            f"the tokenizer {type(tokenizer).__name__} knows no word beside its special tokens: its vocabulary is "
            "missing or empty; take the one that was saved with the model."
        )


def _check_settings(**settings: Any) -> None:
    for name, value in settings.items():
        least, most = (1, 4096) if name == "image_size" else (0, 10_000_000)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise SettingsError(f"{name} is {value!r}: expected a whole number from {least} to {most:,}.")


def _room(size: int, stride: int, title: int) -> int:
    """Tokens of dialogue in a window, beside [CLS] and the longest title with its [SEP]; checked."""
    room = size - 1 - (title + 1 if title else 0)
    if room < 4:
        raise SettingsError(
            f"window_size {size} leaves {max(room, 0)} tokens for the dialogue beside a title of {title}; "
            "raise window_size or lower max_title_length."
        )
    if not 1 <= stride < room:
        raise SettingsError(
            f"window_stride {stride}: expected at least 1 and less than the {room} tokens of dialogue that a window "
            f"of {size} holds, so that windows overlap."
        )
    return room


TikTalkCorefProcessor.register_for_auto_class()  # save_pretrained writes the code beside the settings
