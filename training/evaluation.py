"""Scores of a model on dialogues: what training validates with and `tiktalkcoref evaluate` reports."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from tiktalkcoref.evaluate_metric import score

from .data import Dialogue


def evaluate_model(
    model: Any,
    processor: Any,
    dialogues: Sequence[Dialogue],
    *,
    batch_size: int = 32,
    accelerator: Accelerator | None = None,
) -> dict[str, Any]:
    """Predict every dialogue and score the predictions against its labels.

    With several processes each predicts its share and all return the same scores, every dialogue counted once.

    Returns:
        The flat keys of the metric (`conll_f1`, ...; `linking_*` where dialogues have regions and the model sees).
    """
    predictions = predict_dialogues(model, processor, dialogues, batch_size=batch_size, accelerator=accelerator)
    return score_predictions(predictions, dialogues)


def score_gold(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """The scores of perfect predictions: which keys there are, and how much there is to link."""
    predictions = [{"clusters": d["clusters"], "rankings": _gold_rankings(d)} for d in dialogues]
    return score_predictions(predictions, dialogues)


def score_predictions(predictions: Sequence[dict[str, Any]], dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """The metric; links are scored where any region was ranked (not by a model that only reads)."""
    if not any(ranking for prediction in predictions for ranking in prediction["rankings"]):
        return score(
            [{"clusters": prediction["clusters"]} for prediction in predictions],
            [{"clusters": dialogue["clusters"]} for dialogue in dialogues],
        )
    references = [{"clusters": d["clusters"], "links": d.get("links", [-1] * len(d["clusters"]))} for d in dialogues]
    return score(predictions, references)


def predict_dialogues(
    model: Any,
    processor: Any,
    dialogues: Sequence[Dialogue],
    *,
    batch_size: int = 32,
    accelerator: Accelerator | None = None,
) -> list[dict[str, Any]]:
    """Predicted `clusters` and, for the gold clusters, `rankings` of the regions; in the order of the dialogues."""
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    by_length = sorted(range(len(dialogues)), key=lambda index: sum(map(len, dialogues[index]["sentences"])))
    mine = by_length[rank::processes]
    was_training = model.training
    model.eval()
    found: list[tuple[int, dict[str, Any]]] = []
    with torch.inference_mode():
        for start in range(0, len(mine), batch_size):
            indexes = mine[start : start + batch_size]
            batch = [dialogues[index] for index in indexes]
            found += zip(indexes, _predict_batch(model, processor, batch), strict=True)
    model.train(was_training)
    if processes > 1:
        found = gather_object(found)
    return [prediction for _, prediction in sorted(found, key=lambda pair: pair[0])]


def _predict_batch(model: Any, processor: Any, dialogues: list[Dialogue]) -> list[dict[str, Any]]:
    batch = processor(dialogues).to(model.device)
    predictions = [{"clusters": found["clusters"], "rankings": None} for found in model.predict(batch)]
    if batch.get("pixel_values") is None:
        rankings = [[[] for _ in dialogue["clusters"]] for dialogue in dialogues]
    else:
        linked = model.predict(batch, clusters=[dialogue["clusters"] for dialogue in dialogues])
        rankings = [[_ranking(scores) for scores in found["region_scores"]] for found in linked]
    return [prediction | {"rankings": ranking} for prediction, ranking in zip(predictions, rankings, strict=True)]


def _gold_rankings(dialogue: Dialogue) -> list[list[int]]:
    regions = range(len(dialogue.get("regions", ())))
    links = dialogue.get("links", [-1] * len(dialogue["clusters"]))
    return [sorted(regions, key=lambda region: region != link) for link in links]


def _ranking(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda region: -scores[region])
