"""Linking by setting: the same links asked for over different pools, from given clusters and from found ones.

Recall over the annotated regions of one video is nearly free where a video has one region; each setting therefore
stands with its pool and with what chance gives.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from tiktalkcoref.evaluate_metric import score

from .dialogues import Dialogue
from .predictions import Prediction, links_of, ranks_regions, reference

ANNOTATED, TRACKED = "annotated regions", "tracked entities"  # the kinds of candidates
SAME_VIDEO = "gold clusters, annotated regions of the same video"
FOUND_CLUSTERS = "found clusters, annotated regions of the same video"
WHOLE_SPLIT = "gold clusters, all regions of the split"
SETTINGS = {
    ANNOTATED: (SAME_VIDEO, FOUND_CLUSTERS, WHOLE_SPLIT),
    TRACKED: (
        "gold clusters, tracked entities of the same video",
        "found clusters, tracked entities of the same video",
        "gold clusters, all tracked entities of the split",
    ),
}


def linking_settings(
    dialogues: Sequence[Dialogue], predictions: Sequence[Prediction], candidates: str = ANNOTATED, **options: Any
) -> list[dict[str, Any]]:
    """Each setting as {"name", "n", "mean_pool", "scores": {key: {"value", "low", "high"}}}; none without links.

    Args:
        predictions: made in full.
        candidates: what the regions of the dialogues are: `ANNOTATED` or `TRACKED`.
        options: of the metric (`n_resamples`, `confidence_level`, `seed`).
    """
    if not ranks_regions(predictions, dialogues):
        return []
    gold_rows = [p["gold_region_scores"] for p in predictions]
    references = [reference(dialogue) for dialogue in dialogues]
    found_rows = [aligned_region_scores(d["clusters"], p) for d, p in zip(dialogues, predictions, strict=True)]
    asked = ((gold_rows, references), (found_rows, references), retrieval(dialogues, predictions))
    return [_setting(name, *given, options) for name, given in zip(SETTINGS[candidates], asked, strict=True)]


def aligned_region_scores(gold: Sequence[Sequence[Sequence[int]]], prediction: Prediction) -> list[list[float]]:
    """The region scores of each gold cluster's counterpart among the found clusters, as CEAF-e aligns them.

    A gold cluster without one has no scores: its link counts as a miss.
    """
    rows: list[list[float]] = [[] for _ in gold]
    found = prediction["clusters"]
    if not gold or not found:
        return rows
    sides = [[{tuple(span) for span in cluster} for cluster in side] for side in (gold, found)]
    overlap = np.array([[2 * len(one & other) / (len(one) + len(other)) for other in sides[1]] for one in sides[0]])
    for cluster, other in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
        if overlap[cluster, other] > 0:
            rows[cluster] = prediction["region_scores"][other]
    return rows


def retrieval(
    dialogues: Sequence[Dialogue], predictions: Sequence[Prediction]
) -> tuple[list[list[list[float]]], list[dict[str, Any]]]:
    """Similarities of each linked gold cluster to all regions of all dialogues, and the references for them.

    Each query has a pool of its own, so it is a document of its own: regions of other videos that show the same known
    person are neither right nor wrong, and left out.

    Args:
        predictions: made in full.
    """
    pictured = [pair for pair in zip(dialogues, predictions, strict=True) if pair[0].get("regions")]
    regions = np.concatenate([prediction["region_features"] for _, prediction in pictured]) if pictured else None
    identities = [name for d, _ in pictured for name in d["region_identities"][: len(d["regions"])]]
    rows, references = [], []
    offset = 0
    for dialogue, prediction in zip(dialogues, predictions, strict=True):
        own = len(dialogue.get("regions", ()))
        for number, (cluster, link) in enumerate(zip(dialogue["clusters"], links_of(dialogue), strict=True)):
            if link < 0:
                continue
            person, right = dialogue["region_identities"][link], offset + link if link < own else None
            kept = [r for r, name in enumerate(identities) if r == right or name is None or name != person]
            row = []
            if regions is not None and right is not None:
                row = (regions @ prediction["gold_features"][number])[kept].tolist()
            rows.append([row])
            place = len(kept) if right is None else kept.index(right)
            pool = {"regions": len(kept) + (right is None), "candidates": len(kept)}
            references.append({"clusters": [cluster], "links": [place], **pool})
        offset += own
    return rows, references


def _setting(
    name: str, rows: Sequence[list[list[float]]], references: Sequence[dict[str, Any]], options: dict[str, Any]
) -> dict[str, Any]:
    systems = [{"clusters": r["clusters"], "region_scores": row} for row, r in zip(rows, references, strict=True)]
    scores = score(systems, [{k: v for k, v in r.items() if k != "kinds"} for r in references], **options)
    # whether a region was chosen at all is scored elsewhere
    kept = {key: value for key, value in scores.items() if key.startswith("linking_") and "visual" not in key}
    return {
        "name": name,
        "n": kept.pop("linking_n"),
        "mean_pool": kept.pop("linking_mean_pool"),
        "scores": with_intervals(kept),
    }


def with_intervals(scores: dict[str, float]) -> dict[str, dict[str, float]]:
    """Flat scores with `<key>_low` and `<key>_high` as {key: {"value", "low", "high"}}, bounds where there are any."""
    bounds = ("low", "high")
    plain = [key for key in scores if not (key.endswith(("_low", "_high")) and key.rpartition("_")[0] in scores)]
    return {
        key: {"value": scores[key]} | {b: scores[f"{key}_{b}"] for b in bounds if f"{key}_{b}" in scores}
        for key in plain
    }
