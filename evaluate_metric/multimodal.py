"""Clusters of mentions and head regions scored together.

A region is a box in a frame. Predicted boxes are matched one to one to gold boxes of the same frame at
IoU >= threshold: as many matches as possible, and among those the greatest total IoU. A matched box is the same item as
its gold box, any other is an item that the other side does not have; the clusters over mentions and boxes are then
scored like clusters of mentions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from .coreference import Partitions
from .inputs import NO_COUNTERPART, Side, is_integer, is_list, is_number, show
from .linking import read_labels


@dataclass(frozen=True)
class Boxes:
    """One side's boxes: `box` [B, 4] x1, y1, x2, y2 in pixels, `group` [B] document and frame, `cluster` [B]."""

    box: np.ndarray
    group: list[tuple[int, int]]
    cluster: np.ndarray


def read_boxes(predicted: Side, gold: Side) -> tuple[Boxes, Boxes] | None:
    """Predicted and gold boxes; None where the predictions have none. Raises ValueError naming document and cluster."""
    rows, gold_rows = predicted.column("boxes"), gold.column("boxes")
    gold_boxes = None if gold_rows is None else _flatten(gold, gold_rows)
    if rows is None:
        return None
    return _flatten(predicted, rows), gold_boxes or _flatten(gold, _boxes_of_rows(gold))


def add_boxes(partitions: Partitions, predicted: Boxes, gold: Boxes, iou_threshold: float) -> Partitions:
    """The clusterings over mentions and boxes."""
    match = match_boxes(predicted, gold, iou_threshold)
    found = np.full(len(gold.box), -1)
    found[match[match >= 0]] = predicted.cluster[match >= 0]
    spurious = predicted.cluster[match < 0]
    return Partitions(
        np.concatenate([partitions.gold, gold.cluster, np.full(len(spurious), -1)]),
        np.concatenate([partitions.predicted, found, spurious]),
        partitions.gold_document,
        partitions.predicted_document,
        partitions.documents,
    )


def match_boxes(predicted: Boxes, gold: Boxes, iou_threshold: float) -> np.ndarray:
    """The gold box of each predicted box, -1 for none: int [B]."""
    match = np.full(len(predicted.box), -1)
    by_group: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for side, boxes in enumerate((predicted, gold)):
        for i, group in enumerate(boxes.group):
            by_group.setdefault(group, ([], []))[side].append(i)
    for ours, theirs in by_group.values():
        if not ours or not theirs:
            continue
        overlap = intersection_over_union(predicted.box[ours], gold.box[theirs])
        # The bonus puts the number of matches before their overlap.
        weight = np.where(overlap >= iou_threshold, overlap + len(ours) + len(theirs), 0)
        for row, column in zip(*linear_sum_assignment(weight, maximize=True), strict=True):
            if weight[row, column]:
                match[ours[row]] = theirs[column]
    return match


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[A, 4] and [B, 4] boxes (x1, y1, x2, y2) -> [A, B] in [0, 1]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared)


def _boxes_of_rows(gold: Side) -> list:
    """Boxes of dataset rows: those annotations whose label is the cluster's."""
    missing = "'boxes' is missing, and the predictions have boxes; give a list of boxes a cluster"
    result = []
    for i in range(len(gold.documents)):
        labels, annotations = read_labels(gold, i, missing)
        result.append(
            [[a for a in annotations if label not in NO_COUNTERPART and a["box_labels"] == label] for label in labels]
        )
    return result


def _flatten(side: Side, rows: list) -> Boxes:
    boxes, groups, clusters = [], [], []
    first = 0
    for i, (row, document) in enumerate(zip(rows, side.documents, strict=True)):
        expected = len(document["clusters"])
        if not is_list(row) or len(row) != expected:
            found = f"{len(row)} entries" if is_list(row) else show(row)
            side.refuse(i, None, f"'boxes' has {found} for {expected} clusters; give a list of boxes for each")
        seen: dict[tuple, int] = {}
        for j, cluster in enumerate(row):
            if not is_list(cluster):
                side.refuse(i, j, f"boxes {show(cluster)} are not a list of {{'frame', 'bbox'}}")
            for box in cluster:
                frame, corners = place = _check_box(side, i, j, box)
                if place in seen:
                    problem = f"is also in cluster {seen[place]}; give it once"
                    side.refuse(i, j, f"box {list(corners)} of frame {frame} {problem}")
                seen[place] = j
                boxes.append(corners)
                groups.append((i, frame))
                clusters.append(first + j)
        first += expected
    return Boxes(np.array(boxes, dtype=float).reshape(-1, 4), groups, np.array(clusters, dtype=np.int64))


def _check_box(side: Side, document: int, cluster: int, box: Any) -> tuple[int, tuple[float, ...]]:
    if not isinstance(box, dict) or "bbox" not in box or not ("frame" in box or "cur_frame" in box):
        side.refuse(document, cluster, f"box {show(box)} is not {{'frame': number, 'bbox': [x1, y1, x2, y2]}}")
    frame, corners = box.get("frame", box.get("cur_frame")), box["bbox"]
    if frame is None or not is_integer(frame):
        side.refuse(document, cluster, f"frame {show(frame)} is not an integer")
    if not is_list(corners) or len(corners) != 4 or not all(is_number(c) and math.isfinite(c) for c in corners):
        side.refuse(document, cluster, f"bbox {show(corners)} is not four numbers x1, y1, x2, y2")
    x1, y1, x2, y2 = map(float, corners)
    if x2 <= x1 or y2 <= y1:
        side.refuse(document, cluster, f"bbox {show(corners)} has no area; expected x1 < x2 and y1 < y2")
    return int(frame), (x1, y1, x2, y2)
