"""The scores of tracking, against examples worked out by hand."""

import numpy as np
import pytest

from tiktalkcoref.tracking.scores import Boxes, tracking_scores


def at(**places: float) -> Boxes:
    """Boxes of 10 px at these places, by identity."""
    return Boxes(list(places), np.array([[x, 0, x + 10, 10] for x in places.values()]).reshape(-1, 4))


def test_perfect() -> None:
    truth = [at(a=0, b=50), at(a=1, b=51), at(b=52)]
    found = [at(x=50, y=0), at(x=51, y=1), at(x=52)]
    assert tracking_scores(truth, found) == {
        "detection_recall": 1, "detection_precision": 1, "identity_switches": 0, "purity": 1, "idf1": 1, "hota": 1,
    }  # fmt: skip


def test_one_switch_half_way() -> None:
    """One person, four pictures, two entities: IDTP 2 of 4 + 4 boxes; HOTA is the root of 1 times 1/2."""
    scores = tracking_scores([at(a=0)] * 4, [at(x=0)] * 2 + [at(y=0)] * 2)
    assert scores["identity_switches"] == 1
    assert scores["idf1"] == pytest.approx(0.5)
    assert scores["hota"] == pytest.approx(np.sqrt(0.5))
    assert scores["purity"] == 1


def test_two_persons_in_one_entity() -> None:
    """Three pictures of a, one of b, one entity: purity 3/4; IDF1 2 * 3 / 8; association (3 * 3/4 + 1/4) / 4."""
    scores = tracking_scores([at(a=0)] * 3 + [at(b=0)], [at(x=0)] * 4)
    assert scores["purity"] == pytest.approx(0.75)
    assert scores["idf1"] == pytest.approx(0.75)
    assert scores["hota"] == pytest.approx(np.sqrt((3 * 3 / 4 + 1 / 4) / 4))
    assert scores["identity_switches"] == 0


def test_missing_and_false_boxes() -> None:
    scores = tracking_scores([at(a=0, b=50), at(a=0, b=50)], [at(x=0), at(x=0, y=200)])
    assert scores["detection_recall"] == pytest.approx(2 / 4)
    assert scores["detection_precision"] == pytest.approx(2 / 3)
    assert scores["idf1"] == pytest.approx(2 * 2 / 7)
    assert scores["hota"] == pytest.approx(np.sqrt(2 / 5))


def test_boxes_that_overlap_less_than_half_do_not_match() -> None:
    """A shift by 3 of 10 px: IoU 7/13 > 0.5; by 4: 6/14 < 0.5. HOTA counts the thresholds up to the IoU."""
    assert tracking_scores([at(a=0)], [at(x=3)])["idf1"] == 1
    scores = tracking_scores([at(a=0)], [at(x=4)])
    assert scores["idf1"] == scores["detection_recall"] == 0
    assert scores["hota"] == pytest.approx(8 / 19)  # 0.05 ... 0.40


def test_a_match_is_kept_as_long_as_the_boxes_allow() -> None:
    """y lies better in the second picture, but x still fits: no switch."""
    assert tracking_scores([at(a=0), at(a=0)], [at(x=0), at(x=3, y=0)])["identity_switches"] == 0


def test_a_gap_does_not_hide_a_switch() -> None:
    assert tracking_scores([at(a=0), at(), at(a=0)], [at(x=0), at(), at(y=0)])["identity_switches"] == 1


@pytest.mark.parametrize(
    ("truth", "found", "hota"), [([at()], [at()], 1), ([at(a=0)], [at()], 0), ([at()], [at(x=0)], 0)]
)
def test_an_empty_side(truth: list[Boxes], found: list[Boxes], hota: float) -> None:
    scores = tracking_scores(truth, found)
    assert scores["hota"] == scores["idf1"] == hota


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="2 annotated pictures, 1 of the tracker"):
        tracking_scores([at(), at()], [at()])
    twice = Boxes(["a", "a"], np.array([[0, 0, 1, 1], [2, 2, 3, 3.0]]))
    with pytest.raises(ValueError, match="each was expected once"):
        tracking_scores([twice], [at()])
    with pytest.raises(ValueError, match="1 identities and 2 boxes"):
        tracking_scores([Boxes(["a"], twice.boxes)], [at()])
