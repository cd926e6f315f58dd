"""Linking by setting: the same links asked for over different pools, from given clusters and from found ones.

Recall over the annotated regions of one video is nearly free where a video has one region; each setting therefore
stands with its pool and with what chance gives.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from tiktalkcoref.evaluate_metric import score

from .dialogues import Dialogue
from .predictions import Prediction, links_of, reference

SAME_VIDEO = "gold clusters, annotated regions of the same video"
FOUND_CLUSTERS = "found clusters, annotated regions of the same video"
WHOLE_SPLIT = "gold clusters, all regions of the split"


def linking_settings(
    model: Any,
    processor: Any,
    dialogues: Sequence[Dialogue],
    predictions: Sequence[Prediction],
    *,
    batch_size: int = 32,
    **options: Any,
) -> list[dict[str, Any]]:
    """Each setting as {"name", "n", "mean_pool", "scores": {key: {"value", "low", "high"}}}; none without links.

    Args:
        options: of the metric (`n_resamples`, `confidence_level`, `seed`).
    """
    gold_rows = [p["gold_region_scores"] for p in predictions]
    if not any(row for rows in gold_rows for row in rows):
        return []
    references = [reference(dialogue) for dialogue in dialogues]
    found_rows = [aligned_region_scores(d["clusters"], p) for d, p in zip(dialogues, predictions, strict=True)]
    settings = [
        _setting(SAME_VIDEO, gold_rows, references, options),
        _setting(FOUND_CLUSTERS, found_rows, references, options),
    ]
    rows, pooled = retrieval(model, processor, dialogues, batch_size)
    return [*settings, _setting(WHOLE_SPLIT, rows, pooled, options)]


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
    model: Any, processor: Any, dialogues: Sequence[Dialogue], batch_size: int
) -> tuple[list[list[list[float]]], list[dict[str, Any]]]:
    """Similarities of each linked gold cluster to all regions of all dialogues, and the references for them.

    Each query has a pool of its own, so it is a document of its own: regions of other videos that show the same known
    person are neither right nor wrong, and left out.
    """
    pictured = [dialogue for dialogue in dialogues if dialogue.get("regions")]
    regions, clusters = [], []
    with torch.inference_mode():
        for start in range(0, len(pictured), batch_size):
            batch = processor(pictured[start : start + batch_size]).to(model.device)
            regions.append(
                torch.nn.functional.normalize(model.get_image_features(batch["pixel_values"]).float(), dim=-1)
            )
            gold = [dialogue["clusters"] for dialogue in pictured[start : start + batch_size]]
            clusters.append(model.get_cluster_features(batch, gold))
    similarity = (torch.cat(clusters) @ torch.cat(regions).T).cpu().numpy()
    identities = [name for dialogue in pictured for name in dialogue["region_identities"]]
    rows, references = [], []
    query = offset = 0
    for dialogue in pictured:
        for cluster, link in zip(dialogue["clusters"], links_of(dialogue), strict=True):
            if link >= 0:
                right = offset + link
                kept = [
                    region
                    for region in range(len(identities))
                    if region == right or identities[region] is None or identities[region] != identities[right]
                ]
                rows.append([similarity[query, kept].tolist()])
                references.append({"clusters": [cluster], "links": [kept.index(right)], "regions": len(kept)})
            query += 1
        offset += len(dialogue["regions"])
    return rows, references


def _setting(
    name: str, rows: Sequence[list[list[float]]], references: Sequence[dict[str, Any]], options: dict[str, Any]
) -> dict[str, Any]:
    systems = [
        {"clusters": r["clusters"], "region_scores": row, "links": r["links"]}
        for row, r in zip(rows, references, strict=True)
    ]
    scores = score(systems, [{k: v for k, v in r.items() if k != "kinds"} for r in references], **options)
    # whether a region was chosen at all is scored elsewhere: here the gold answer to that was given
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
