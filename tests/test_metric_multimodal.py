"""Clusters over mentions and head regions."""

from math import isclose

import numpy as np
import pytest

from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluate_metric.multimodal import Boxes, intersection_over_union, match_boxes


def box(x: float, frame: int = 1, width: float = 10) -> dict:
    return {"frame": frame, "bbox": [x, 0, x + width, 10]}


def score_boxes(predicted: list, gold: list, clusters: list | None = None, **options) -> dict:
    clusters = clusters or [[[i, i]] for i in range(len(gold))]
    found = score([{"clusters": clusters, "boxes": predicted}], [{"clusters": clusters, "boxes": gold}], **options)
    return {key.removeprefix("multimodal_"): v for key, v in found.items() if key.startswith("multimodal_")}


def test_intersection_over_union():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]], dtype=float)
    found = intersection_over_union(boxes[:1], boxes)
    assert np.allclose(found, [[1, 50 / 150, 0]])


def test_boxes_are_items_of_their_clusters():
    """Two clusters, a mention and a box each; the prediction exchanges the boxes."""
    found = score_boxes([[box(50)], [box(0)]], [[box(0)], [box(50)]])
    assert found["mention_f1"] == 1
    assert found["muc_f1"] == 0  # no mention is linked to its box
    assert found["b_cubed_f1"] == 0.5
    assert found["ceaf_e_f1"] == 0.5
    assert isclose(found["conll_f1"], 1 / 3)


def test_a_box_without_match_counts_on_its_own_side():
    found = score_boxes([[box(0), box(100)]], [[box(0), box(200)]])
    assert isclose(found["mention_recall"], 2 / 3)
    assert isclose(found["mention_precision"], 2 / 3)
    assert found["muc_recall"] == 0.5


@pytest.mark.parametrize(("shift", "matches"), [(0, True), (3.3, True), (3.4, False), (20, False)])
def test_threshold(shift, matches):
    """Boxes of width 10, shifted by s, overlap by (10 - s) / (10 + s): 0.504 for 3.3, 0.493 for 3.4."""
    assert (score_boxes([[box(shift)]], [[box(0)]])["conll_f1"] == 1) == matches


def test_threshold_is_an_argument_and_inclusive():
    half = {"frame": 1, "bbox": [0, 0, 10, 5]}
    assert score_boxes([[half]], [[box(0)]], iou_threshold=0.5)["conll_f1"] == 1
    assert score_boxes([[half]], [[box(0)]], iou_threshold=0.51)["conll_f1"] < 1


def test_boxes_match_within_their_frame():
    assert score_boxes([[box(0, frame=2)]], [[box(0, frame=1)]])["muc_f1"] == 0


def test_matching_is_one_to_one_and_as_large_as_can_be():
    """Greedy matching would take the pair of IoU 0.82 and leave one box on each side alone."""
    gold = np.array([[0, 0, 100, 10], [30, 0, 130, 10]], dtype=float)
    predicted = np.array([[20, 0, 120, 10], [50, 0, 150, 10]], dtype=float)
    sides = [Boxes(boxes, [(0, 1)] * 2, np.arange(2)) for boxes in (predicted, gold)]
    assert match_boxes(*sides, 0.5).tolist() == [0, 1]
    doubled = Boxes(np.repeat(gold[:1], 2, axis=0), [(0, 1)] * 2, np.arange(2))
    assert sorted(match_boxes(doubled, sides[1], 0.9).tolist()) == [-1, 0]


def test_a_cluster_may_hold_regions_alone():
    prediction = {"clusters": [[[0, 0]], []], "boxes": [[], [box(0)]]}
    found = score([prediction], [{"clusters": [[[0, 0]]], "boxes": [[box(0)]]}])
    assert found["ceaf_e_precision"] == found["conll_f1"] * 1.5 == 1  # text: one cluster each; MUC has no links
    assert found["multimodal_mention_f1"] == 1
    assert found["multimodal_muc_recall"] == 0


def test_singletons_are_of_one_mention_or_region():
    found = score_boxes([[box(0)], []], [[box(0)], []], keep_singletons=False)
    assert found["conll_f1"] == 1
    prediction = {"clusters": [[[0, 0]]], "boxes": [[box(0)]]}
    both = score([prediction], [prediction], keep_singletons=False)
    assert both["mention_f1"] == 0
    assert both["multimodal_mention_f1"] == 1


def test_documents_do_not_mix():
    one = {"clusters": [[[0, 0]]], "boxes": [[box(0)]]}
    two = {"clusters": [[[0, 0]]], "boxes": [[box(100)]]}
    found = score([one, two], [two, one])
    assert found["multimodal_mention_f1"] == 0.5


def test_more_matches_come_before_more_overlap():
    predicted, gold = ([[0, 0, 10, 10], [0, 0, 4, 10]], [[0, 0, 10, 10], [6, 0, 10, 10]])
    sides = [Boxes(np.array(boxes, dtype=float), [(0, 1)] * 2, np.arange(2)) for boxes in (predicted, gold)]
    assert match_boxes(*sides, 0.3).tolist() == [1, 0]  # 0.4 + 0.4, not 1
    assert match_boxes(*sides, 1).tolist() == [0, -1]


def test_boxes_of_dataset_rows():
    """A box belongs to the cluster with its label; a label that is none belongs to nobody."""
    corners = [[20 * i, 0, 20 * i + 10, 10] for i in range(4)]
    labels = ["C1", "none", "C1", ""]
    annotations = [
        {"cur_frame": 3, "bbox": bbox, "box_labels": label} for bbox, label in zip(corners, labels, strict=True)
    ]
    clusters = [[[0, 0]], [[2, 2]], [[4, 4]], [[6, 6]]]
    row = {"clusters": clusters, "entity_labels": ["C1", "none", "C2", ""], "visual_annotations": annotations}
    boxes = [[{"frame": 3, "bbox": corners[0]}, {"frame": 3, "bbox": corners[2]}], [], [], []]
    assert score([{"clusters": clusters, "boxes": boxes}], [row])["multimodal_b_cubed_f1"] == 1
    more = [*boxes[:1], [{"frame": 3, "bbox": corners[1]}], [], []]
    assert score([{"clusters": clusters, "boxes": more}], [row])["multimodal_mention_precision"] == 6 / 7


def test_a_threshold_of_one_asks_for_the_same_box():
    box = {"frame": 1, "bbox": [0, 0, 10, 10]}
    document = {"clusters": [[[0, 0]]], "boxes": [[box]]}
    other = document | {"boxes": [[box | {"bbox": [0, 0, 10, 11]}]]}
    assert score([document], [document], iou_threshold=1)["multimodal_muc_f1"] == 1
    assert score([other], [document], iou_threshold=1)["multimodal_muc_f1"] == 0
