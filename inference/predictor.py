"""One loaded model, rows in and answers out: whatever a row holds, it gets an answer, if only a message."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from tiktalkcoref.evaluation.dialogues import Dialogue
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.files.kernels import bound_kernel_caches
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

from .sources import as_dialogue
from .videos import OneVideo

Precision = Literal["auto", "fp32", "bf16"]
Answer = dict[str, Any]  # the pipeline's result, or {"error": message}
Named = tuple[int, Dialogue]
SaveCrop = Callable[[int, dict[str, Any]], str]

BATCH_TOKENS = {"cpu": 1024}  # a CPU gains nothing from large batches and loses by their padding
BATCH_TOKENS_ELSE = 16384
PICTURE_TOKENS = 128  # what a picture costs beside the text
LONGEST_MESSAGE = 500  # characters


class Predictor:
    """A model that answers row by row.

    Args:
        model: a folder or a name on the Hub.
        precision: `auto` is bf16 where the device computes faster in it (see `fast_in_bf16`).
        batch_tokens: of a batch, padding included; a picture counts as 128. By default what suits the device.
        weights: folder with the weights of the tracker's networks; None: the Hub's. Loaded when the first video comes.
    Raises:
        UserError: no such model.
    """

    def __init__(
        self,
        model: str | Path,
        precision: Precision = "auto",
        batch_tokens: int | None = None,
        weights: str | Path | None = None,
    ) -> None:
        bound_kernel_caches()
        network, processor = load_model(model)
        self._pipeline = TikTalkCorefPipeline(model=network, processor=processor, device=network.device)
        self._pipeline.videos.track = OneVideo(weights)
        self._batch_tokens = batch_tokens or BATCH_TOKENS.get(network.device.type, BATCH_TOKENS_ELSE)
        self.bf16 = precision == "bf16" or (precision == "auto" and fast_in_bf16(network.device))

    def __call__(
        self, rows: Sequence[Any], folder: Path, save_crop: SaveCrop = lambda *_: "", alone: bool = False
    ) -> list[Answer]:
        """The answers to rows (see `as_dialogue`), in their order. Nothing that a row holds raises.

        Args:
            folder: what paths in the rows are relative to.
            save_crop: given the number of a row and an entity of its video, keeps the crop and names it.
            alone: read each row in a batch of its own.
        """
        answers: list[Answer] = [{}] * len(rows)
        dialogues: list[Named] = []
        for number, row in enumerate(rows):
            try:
                dialogues.append((number, as_dialogue(row, folder)))
            except Exception as error:  # a stranger's row may trip anything
                answers[number] = _refusal(error)
        with self._computing():
            for batch in plan_batches(dialogues, 1 if alone else self._batch_tokens):
                for (number, _), answer in zip(batch, self._answer(batch), strict=True):
                    answers[number] = answer
                    for entity in answer.get("entities", ()):
                        entity["crop"] = save_crop(number, entity)
        return answers

    def _answer(self, batch: Sequence[Named]) -> list[Answer]:
        """Where a batch fails, those that cannot be read are sorted out; where the model fails, each goes alone."""
        named = [("dialogue", dialogue) for _, dialogue in batch]
        try:
            return self._predict(named)
        except Exception as error:
            if len(batch) == 1:
                return [_refusal(error)]
        refused = [self._try_to_read(one) for one in named]
        fine = [one for one, refusal in zip(batch, refused, strict=True) if refusal is None]
        if len(fine) == len(batch):
            return [answer for one in batch for answer in self._answer([one])]
        found = iter(self._answer(fine) if fine else [])
        return [next(found) if refusal is None else refusal for refusal in refused]

    def _predict(self, named: Sequence[tuple[str, Dialogue]]) -> list[Answer]:
        pipeline = self._pipeline
        if "video" in named[0][1]:  # always alone, see `plan_batches`
            answer: Any = pipeline(named[0][1])
            return [answer]
        return pipeline.postprocess(pipeline.forward(pipeline.preprocess(named)))

    def _try_to_read(self, one: tuple[str, Dialogue]) -> Answer | None:
        try:
            self._pipeline.preprocess([one])
        except Exception as error:
            return _refusal(error)
        return None

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """One context for all batches: autocast then turns each weight into bf16 once."""
        kind = self._pipeline.device.type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            yield


def fast_in_bf16(device: torch.device) -> bool:
    """Whether bf16 is the faster type: on a CPU with AMX, on CUDA from Ampere on.

    Not on one with AVX512-BF16 alone: there a linear layer of a small encoder took 1.4 times as long as in fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def plan_batches(dialogues: Sequence[Named], budget: int) -> Iterator[list[Named]]:
    """Batches of like length, the longest first; each is at most `budget` tokens with its padding, or one dialogue.

    Last come those with a video, each alone, by their videos' names.
    """
    videos = [named for named in dialogues if "video" in named[1]]
    dialogues = [named for named in dialogues if "video" not in named[1]]
    costs = [(_length(dialogue), PICTURE_TOKENS * _pictures(dialogue)) for _, dialogue in dialogues]
    batch: list[Named] = []
    longest = pictures = 0
    for place in sorted(range(len(dialogues)), key=lambda at: -costs[at][0]):
        length, more = costs[place]
        if batch and longest * (len(batch) + 1) + pictures + more > budget:
            yield batch
            batch, longest, pictures = [], 0, 0
        batch.append(dialogues[place])
        longest, pictures = max(longest, length), pictures + more
    if batch:
        yield batch
    yield from ([named] for named in sorted(videos, key=lambda named: str(named[1]["video"])))


def _length(dialogue: Mapping[str, Any]) -> int:
    """Of the text in characters, with a separator an utterance; 1 for what is none."""
    sentences = dialogue["sentences"]
    if not isinstance(sentences, list | tuple):
        return 1
    return 2 + sum(len(sentence) + 1 for sentence in sentences if isinstance(sentence, str | list | tuple))


def _pictures(dialogue: Mapping[str, Any]) -> int:
    return sum(len(value) for key in ("regions", "boxes") if isinstance(value := dialogue.get(key), list))


def _refusal(error: Exception) -> Answer:
    message = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, ValueError | OSError):
        message = f"{type(error).__name__}: {message}"
    return {"error": message[:LONGEST_MESSAGE]}
