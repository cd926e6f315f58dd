"""Predictions of a model on dialogues, and their scores: what training validates with and `evaluate` reports."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn import functional as F

from tiktalkcoref.evaluate_metric import Scores, score
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track
from tiktalkcoref.modeling.lexicon_tiktalkcoref import normalise, query_rank

from .dialogues import Dialogue, names_of, text_of

OF_ALL = re.compile(r"linking_((?:recall|chance)_at_\d+|mrr|mean_pool|n)")  # over all kinds of clusters
KINDS = ("name", "noun", "pronoun")  # of a cluster: of its most telling mention

Prediction = dict[str, Any]
IN_FULL = ("gold_mention_clusters", "gold_features", "region_features")  # its keys that stay in memory


def evaluate_model(
    model: Any,
    processor: Any,
    dialogues: Sequence[Dialogue],
    *,
    batch_size: int = 32,
    accelerator: Accelerator | None = None,
) -> Scores:
    """Predict every dialogue and score the predictions against its labels.

    With several processes each predicts its share and all return the same scores, every dialogue counted once.

    Returns:
        The flat keys of the metric (`conll_f1`, ...; `linking_*` where dialogues have regions and the model sees), and
        those of `score_choices`.
    """
    predictions = predict_dialogues(model, processor, dialogues, batch_size=batch_size, accelerator=accelerator)
    return _score_all(predictions, dialogues)


def score_gold(dialogues: Sequence[Dialogue]) -> Scores:
    """The scores of perfect predictions: which keys there are, and how much there is to link."""
    return _score_all([gold_prediction(dialogue) for dialogue in dialogues], dialogues)


def _score_all(predictions: Sequence[Prediction], dialogues: Sequence[Dialogue]) -> Scores:
    scores = score_predictions(predictions, dialogues)
    scores.update(score_choices(predictions, dialogues))
    return scores


def score_predictions(predictions: Sequence[Prediction], dialogues: Sequence[Dialogue], **options: Any) -> Scores:
    """The metric, with its options; links are scored where any region was ranked (not by a model that only reads)."""
    if not ranks_regions(predictions, dialogues):
        return score(
            [{"clusters": prediction["clusters"]} for prediction in predictions],
            [{"clusters": dialogue["clusters"]} for dialogue in dialogues],
            **options,
        )
    system = [
        {"clusters": p["clusters"], "region_scores": p["gold_region_scores"], "links": p["gold_regions"]}
        for p in predictions
    ]
    return score(system, [reference(dialogue) for dialogue in dialogues], **options)


def ranks_regions(predictions: Sequence[Prediction], dialogues: Sequence[Dialogue]) -> bool:
    """Whether any region was ranked, or could not be since a tracker missed its person."""
    ranked = any(row for prediction in predictions for row in prediction["gold_region_scores"])
    return ranked or any(max(links_of(d), default=-1) >= len(d.get("regions", ())) for d in dialogues)


def score_choices(predictions: Sequence[Prediction], dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """The linking scores over the dialogues with more than one region, as `linking_choice_*`; none where none has.

    Where a video has a single region any ranking is right: such queries say nothing about a model.
    """
    pairs = [pair for pair in zip(predictions, dialogues, strict=True) if len(pair[1].get("regions", ())) > 1]
    if not pairs:
        return {}
    scores = score_predictions([prediction for prediction, _ in pairs], [dialogue for _, dialogue in pairs])
    return {f"linking_choice_{found[1]}": value for key, value in scores.items() if (found := OF_ALL.fullmatch(key))}


def reference(dialogue: Dialogue) -> dict[str, Any]:
    """A dialogue's labels as the metric reads them. A link behind the last region: a tracker missed the person."""
    links, candidates = links_of(dialogue), len(dialogue.get("regions", ()))
    return {
        "clusters": dialogue["clusters"],
        "links": links,
        "regions": max([candidates, *(link + 1 for link in links)]),
        "candidates": candidates,
        "kinds": [cluster_kind(dialogue, cluster) for cluster in dialogue["clusters"]],
    }


def links_of(dialogue: Dialogue) -> list[int]:
    """The region of each gold cluster; -1 for all where the dialogue has no pictures."""
    return dialogue.get("links") or [-1] * len(dialogue["clusters"])


def cluster_kind(dialogue: Dialogue, cluster: Sequence[Sequence[int]]) -> str:
    """`name`, `noun` or `pronoun`: the kind of the most telling mention."""
    return KINDS[min(query_rank(normalise(text_of(dialogue, span))) for span in cluster)]


def predict_dialogues(
    model: Any,
    processor: Any,
    dialogues: Sequence[Dialogue],
    *,
    batch_size: int = 32,
    accelerator: Accelerator | None = None,
    in_full: bool = False,
    description: str | None = None,
) -> list[Prediction]:
    """What the model finds in each dialogue, in their order; text and pictures are read once.

    Args:
        in_full: also what baselines and retrieval need.
        description: of a progress bar; none is shown without it.

    Returns:
        For each dialogue `clusters`, `mention_scores`, `region_scores`, `null_scores` and `regions` of the predicted
        clusters as `TikTalkCorefModel.predict` gives them, and `gold_region_scores`, `gold_regions` of the gold ones.
        In full also `gold_mention_clusters`, as the model clusters the gold mentions, and where it sees pictures
        `gold_features` [K, P] and `region_features` [R, P], arrays of rows of length 1.
    """
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    by_length = sorted(range(len(dialogues)), key=lambda index: sum(map(len, dialogues[index]["sentences"])))
    mine = by_length[rank::processes]
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    was_training = model.training
    model.eval()
    found: list[tuple[int, Prediction]] = []
    with torch.inference_mode():
        for indexes in track(batches, description) if description else batches:
            batch = [dialogues[index] for index in indexes]
            found += zip(indexes, _predict_batch(model, processor, batch, in_full), strict=True)
    model.train(was_training)
    if processes > 1:
        found = gather_object(found)
    return [prediction for _, prediction in sorted(found, key=lambda pair: pair[0])]


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError for one that reads nothing."""
    if batch_size < 1:
        raise UserError(f"batch size is {batch_size}: 1 or more dialogues at once expected")


def gold_prediction(dialogue: Dialogue) -> Prediction:
    """What a system without error would predict."""
    links = links_of(dialogue)
    scores = [[float(region == link) for region in range(len(dialogue.get("regions", ())))] for link in links]
    return {"clusters": dialogue["clusters"], "gold_region_scores": scores, "gold_regions": links}


def _predict_batch(model: Any, processor: Any, dialogues: list[Dialogue], in_full: bool) -> list[Prediction]:
    batch = processor(dialogues, names=names_of(dialogues)).to(model.device)
    gold = [dialogue["clusters"] for dialogue in dialogues]
    encoded = model.encode(batch)
    if encoded.regions is None:
        linked = [{"region_scores": [[] for _ in clusters], "regions": [-1] * len(clusters)} for clusters in gold]
    else:
        linked = model.predict(batch, clusters=gold, encoded=encoded)
    found = [
        prediction | {"gold_region_scores": given["region_scores"], "gold_regions": given["regions"]}
        for prediction, given in zip(model.predict(batch, encoded=encoded), linked, strict=True)
    ]
    if in_full:
        mentions = [[span for cluster in clusters for span in cluster] for clusters in gold]
        clustered = model.predict(replace(batch, pixel_values=None), mentions=mentions, encoded=encoded)
        for prediction, given in zip(found, clustered, strict=True):
            prediction["gold_mention_clusters"] = given["clusters"]
        if encoded.regions is not None:
            _add_rows(found, "region_features", F.normalize(encoded.regions.float(), dim=-1), batch.region_counts())
            if any(gold):
                features = model.get_cluster_features(batch, gold, encoded)
                _add_rows(found, "gold_features", features, list(map(len, gold)))
    return found


def _add_rows(predictions: list[Prediction], key: str, rows: torch.Tensor, counts: list[int]) -> None:
    """Give each prediction its stretch of the rows."""
    for prediction, part in zip(predictions, rows.cpu().split(counts), strict=True):
        prediction[key] = part.numpy()
