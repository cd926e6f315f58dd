"""How well persons are found and followed, against annotated boxes with identities.

- Detection: recall and precision at IoU 0.5, pictures matched one by one.
- IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
- Identity switches: Bernardin & Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008.
- HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .detections import overlaps

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ALPHAS = np.arange(0.05, 0.99, 0.05)
EPSILON = float(np.finfo(float).eps)


@dataclass
class Boxes:
    """Who is where in one picture: N identities and boxes [N, 4], in pixels."""

    identities: Sequence[Hashable]
    boxes: NDArray[np.floating]


@dataclass
class _Picture:
    truth: Ints  # numbers of the identities
    found: Ints
    alike: Floats  # [truth, found], IoU


def tracking_scores(truth: Sequence[Boxes], found: Sequence[Boxes], iou: float = 0.5) -> dict[str, float]:
    """All scores of one video, or of several put one after another with identities of their own.

    Args:
        truth: annotated boxes, one entry a picture.
        found: those of the tracker, for the same pictures.
        iou: from which overlap two boxes are one.

    Returns:
        `detection_recall`, `detection_precision`, `idf1`, `hota` (mean over the thresholds 0.05 to 0.95), `purity` (the
        share of matched boxes that belong to their entity's most frequent person), as fractions, and
        `identity_switches`, a count. Without any box on either side everything is 1.

    Raises:
        ValueError: not as many pictures on both sides, or an identity twice in a picture.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} annotated pictures, {len(found)} of the tracker; as many were expected")
    true_ids, found_ids = _numbers(truth), _numbers(found)
    pictures = [
        _Picture(
            np.array([true_ids[name] for name in true.identities], np.int64),
            np.array([found_ids[name] for name in seen.identities], np.int64),
            overlaps(_rows(true.boxes), _rows(seen.boxes)).astype(float),
        )
        for true, seen in zip(truth, found, strict=True)
    ]
    shape = (len(true_ids), len(found_ids))
    return {
        **_detection(pictures, iou),
        **_clear(pictures, shape, iou),
        "idf1": _idf1(pictures, shape, iou),
        "hota": _hota(pictures, shape),
    }


def _detection(pictures: Sequence[_Picture], iou: float) -> dict[str, float]:
    matched = sum(len(_matches(np.where(p.alike >= iou - EPSILON, p.alike + 1, 0))[0]) for p in pictures)
    true, found = sum(len(p.truth) for p in pictures), sum(len(p.found) for p in pictures)
    return {
        "detection_recall": matched / true if true else 1.0,
        "detection_precision": matched / found if found else 1.0,
    }


def _clear(pictures: Sequence[_Picture], shape: tuple[int, int], iou: float) -> dict[str, float]:
    """Switches and purity, where a person keeps its identity from picture to picture as long as the boxes allow."""
    previous: dict[int, int] = {}
    before: dict[int, int] = {}  # as `previous`, of the last picture alone
    together = np.zeros(shape)
    switches = 0
    for picture in pictures:
        kept = np.array([[before.get(t) == f for f in picture.found] for t in picture.truth.tolist()])
        kept = kept.reshape(picture.alike.shape)
        scores = np.where(picture.alike >= iou - EPSILON, 1000.0 * kept + picture.alike, 0)
        rows, columns = _matches(scores)
        before = {}
        for person, entity in zip(picture.truth[rows].tolist(), picture.found[columns].tolist(), strict=True):
            switches += previous.get(person, entity) != entity
            previous[person] = before[person] = entity
            together[person, entity] += 1
    purity = together.max(0).sum() / together.sum() if together.sum() else 1.0
    return {"identity_switches": switches, "purity": float(purity)}


def _idf1(pictures: Sequence[_Picture], shape: tuple[int, int], iou: float) -> float:
    """Twice the boxes right under the best one-to-one assignment of identities, over all boxes of both sides."""
    together = np.zeros(shape)
    for picture in pictures:
        rows, columns = np.nonzero(picture.alike >= iou)
        together[picture.truth[rows], picture.found[columns]] += 1
    total = sum(len(p.truth) + len(p.found) for p in pictures)
    return float(2 * together[linear_sum_assignment(together, maximize=True)].sum() / total) if total else 1.0


def _hota(pictures: Sequence[_Picture], shape: tuple[int, int]) -> float:
    """The geometric mean of detection and association accuracy, averaged over localisation thresholds."""
    true, found = np.zeros((shape[0], 1)), np.zeros((1, shape[1]))
    potential = np.zeros(shape)
    for picture in pictures:
        true[picture.truth] += 1
        found[0, picture.found] += 1
        union = picture.alike.sum(0)[None, :] + picture.alike.sum(1)[:, None] - picture.alike
        share = np.divide(picture.alike, union, out=np.zeros_like(union), where=union > EPSILON)
        potential[np.ix_(picture.truth, picture.found)] += share
    if not true.sum() or not found.sum():
        return float(true.sum() == found.sum())
    aligned = potential / (true + found - potential)
    matched = np.zeros((len(ALPHAS), *shape))
    for picture in pictures:
        rows, columns = linear_sum_assignment(
            aligned[np.ix_(picture.truth, picture.found)] * picture.alike, maximize=True
        )
        right = picture.alike[rows, columns][None] >= ALPHAS[:, None] - EPSILON
        matched[:, picture.truth[rows], picture.found[columns]] += right
    hits = matched.sum((1, 2))
    detection = hits / (true.sum() + found.sum() - hits)
    association = (matched**2 / (true + found - matched)).sum((1, 2)) / np.maximum(1, hits)
    return float(np.sqrt(detection * association).mean())


def _matches(scores: Floats) -> tuple[Ints, Ints]:
    """The best one-to-one assignment among the pairs with a score above 0."""
    rows, columns = linear_sum_assignment(scores, maximize=True)
    good = scores[rows, columns] > 0
    return rows[good], columns[good]


def _numbers(pictures: Sequence[Boxes]) -> dict[Hashable, int]:
    for number, picture in enumerate(pictures):
        if len(set(picture.identities)) != len(picture.identities):
            raise ValueError(f"picture {number}: identities {list(picture.identities)}; each was expected once")
        if len(picture.identities) != len(_rows(picture.boxes)):
            raise ValueError(
                f"picture {number}: {len(picture.identities)} identities and {len(_rows(picture.boxes))} boxes"
            )
    names = dict.fromkeys(name for picture in pictures for name in picture.identities)
    return {name: number for number, name in enumerate(names)}


def _rows(boxes: NDArray[np.floating]) -> Floats:
    return np.asarray(boxes, float).reshape(-1, 4)
