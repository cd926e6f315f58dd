"""The stages from heads to persons, on heads made up: tracks, identities, crops, settings."""

import numpy as np
import pytest
from tracking_fakes import heads_at

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.tracking.detections import Detections, overlaps
from tiktalkcoref.tracking.entities import choose_crops, cut
from tiktalkcoref.tracking.faces import frontality
from tiktalkcoref.tracking.heads import HeadsWithFaces, head_boxes, load_detector
from tiktalkcoref.tracking.identities import group_tracks
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracks import ShotTracker, Track


def box(x: float, y: float = 100, side: float = 60) -> list[float]:
    return [x, y, x + side, y + side]


def follow(pictures: list[Detections], settings: Settings | None = None) -> list[Track]:
    tracker = ShotTracker(settings or Settings())
    for number, heads in enumerate(pictures):
        tracker.update(number / 5, 5 * number, heads)
    return tracker.finish()


def track(person: list[float], frames: list[int], quality: float = 0.5, size: float = 60) -> Track:
    result = Track(0)
    embedding = np.array([person], np.float32) / np.linalg.norm(person)
    for frame in frames:
        heads = Detections.of([box(0)], sizes=[size], embeddings=embedding, qualities=[quality])
        result.add(frame / 25, frame, heads, 0, 36.0)
    return result


def test_overlaps() -> None:
    found = overlaps(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]]))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0]])


@pytest.mark.parametrize("bad", [[[10, 0, 5, 5]], [[0, 0, np.nan, 5]], [[0, 0, 0, 0]]])
def test_boxes_that_are_none_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="expected x1 < x2"):
        Detections.of(np.array(bad))


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match=r"scores have shape \(2,\); one row for each of 1 boxes"):
        Detections.of([box(0)], scores=[1.0, 0.5])


def test_a_mask_chooses_heads() -> None:
    heads = heads_at([box(0), box(200)], [0, 1])[np.array([False, True])]
    assert len(heads) == 1
    assert heads.embeddings[0, 1] == 1


def test_two_who_stand_are_two_tracks() -> None:
    tracks = follow([heads_at([box(0), box(200)], [0, 1])] * 5)
    assert [track.frames for track in tracks] == [[0, 5, 10, 15, 20]] * 2


def test_a_crossing_is_resolved_by_appearance() -> None:
    """They jump onto one another's place; by place alone both would switch."""
    tracks = follow([heads_at([box(0), box(50)], [0, 1]), heads_at([box(50), box(0)], [0, 1])] * 3)
    assert len(tracks) == 2
    assert [int(np.argmax(track.embedding)) for track in tracks] == [0, 1]


def test_another_person_in_the_same_place_begins_a_track() -> None:
    """A cut that was missed."""
    tracks = follow([heads_at([box(0)], [0])] * 3 + [heads_at([box(0)], [1])] * 3)
    assert [len(track.times) for track in tracks] == [3, 3]


def test_a_face_badly_seen_proves_no_change() -> None:
    blurred = heads_at([box(4)], [1], quality=0.1)
    assert len(follow([heads_at([box(0)], [0]), blurred, heads_at([box(8)], [0])])) == 1


@pytest.mark.parametrize(("hidden", "count"), [(4, 1), (6, 2)])
def test_who_is_hidden_for_a_second_stays_in_the_track(hidden: int, count: int) -> None:
    seen = [heads_at([box(0)], [0])] * 2
    assert len(follow([*seen, *[Detections.empty()] * hidden, *seen])) == count


def test_without_a_face_the_place_decides() -> None:
    tracks = follow([heads_at([box(0), box(200)], [-1, -1])] * 3 + [heads_at([box(400)], [-1])] * 2)
    assert sorted(len(track.times) for track in tracks) == [2, 3, 3]
    assert tracks[0].embedding is None


def test_a_single_doubtful_box_is_left_out() -> None:
    doubtful, sure = heads_at([box(0)], [0]), heads_at([box(300)], [1])
    doubtful.scores[:] = 0.7
    assert [track.boxes[0][0] for track in follow([doubtful, Detections.empty(), sure])] == [300]


def test_small_faces_say_who_it_is_only_without_larger_ones() -> None:
    both = track([1, 0], [0, 5], size=20)
    np.testing.assert_allclose(both.embedding, [1, 0])
    heads = Detections.of([box(0)], sizes=[50], embeddings=[[0, 1]], qualities=[0.1])
    both.add(0.4, 10, heads, 0, 36.0)
    np.testing.assert_allclose(both.embedding, [0, 1])


def test_better_faces_weigh_more() -> None:
    mixed = track([1, 0], [0], quality=0.9)
    heads = Detections.of([box(0)], sizes=[60], embeddings=[[0, 1]], qualities=[0.3])
    mixed.add(0.2, 5, heads, 0, 36.0)
    np.testing.assert_allclose(mixed.embedding, np.array([3, 1]) / np.sqrt(10), rtol=1e-6)


def test_tracks_of_one_person_are_joined() -> None:
    tracks = [track([1, 0, 0], [0, 5]), track([0.9, 0.3, 0], [10, 15, 20]), track([0, 0, 1], [25])]
    groups = group_tracks(tracks, 0.363)
    assert [[tracks.index(member) for member in group] for group in groups] == [[0, 1], [2]]


def test_the_threshold_is_inclusive_of_nothing_below() -> None:
    pair = [track([1, 0], [0]), track([0.5, np.sqrt(0.75)], [5])]  # cosine 0.5
    assert len(group_tracks(pair, 0.49)) == 1
    assert len(group_tracks(pair, 0.51)) == 2


def test_who_is_seen_together_is_never_one_person() -> None:
    """Not even by way of a third track that is like both."""
    tracks = [track([1, 0], [0, 5]), track([1, 0.01], [5, 10]), track([1, 0.005], [20])]
    groups = group_tracks(tracks, 0.3)
    assert len(groups) == 2
    assert not any(tracks[0] in group and tracks[1] in group for group in groups)


def test_average_linkage_does_not_chain() -> None:
    """a is like b and b like c, but a not like c: one link is not enough."""
    angle = np.radians(50)
    chain = [track([np.cos(n * angle), np.sin(n * angle)], [5 * n]) for n in range(3)]
    assert len(group_tracks(chain, 0.6)) == 2  # b joins one of them; the mean of 0.64 and -0.17 is below 0.6


def test_agglomeration_agrees_with_scipy() -> None:
    """Where nobody is seen together: 40 random sets of 12 tracks, seed 0."""
    from scipy.cluster.hierarchy import fcluster, linkage

    generator = np.random.default_rng(0)
    for _ in range(40):
        tracks = [track(list(generator.normal(size=4)), [number]) for number in range(12)]
        distances = 1 - np.stack([t.embedding for t in tracks]) @ np.stack([t.embedding for t in tracks]).T
        expected = fcluster(linkage(distances[np.triu_indices(12, 1)], "average"), 1 - 0.363, "distance")
        groups = group_tracks(tracks, 0.363)
        assert sorted(sorted(tracks.index(member) for member in group) for group in groups) == sorted(
            np.flatnonzero(expected == label).tolist() for label in np.unique(expected)
        )


def test_tracks_without_a_face_stay_alone() -> None:
    behind = Track(0)
    behind.add(0.0, 0, heads_at([box(0)], [-1]), 0, 36.0)
    assert sorted(len(group) for group in group_tracks([behind, track([1.0, 0], [5]), track([1.0, 0], [10])], 0.3)) == [
        1,
        2,
    ]
    assert group_tracks([], 0.3) == []


def test_crops_are_the_best_moments_apart_from_one_another() -> None:
    long = track([1, 0], list(range(0, 100, 5)), quality=0.5)
    long.qualities[4], long.qualities[5], long.qualities[12] = 0.9, 0.89, 0.8
    crops = choose_crops([long], 3)
    assert [crop.frame for crop in crops[:2]] == [20, 60]  # frame 25 is a fifth of a second from frame 20
    assert len(crops) == 3


def test_a_short_track_has_fewer_crops() -> None:
    assert len(choose_crops([track([1, 0], [0, 5])], 5)) == 1


def test_cut_stays_in_the_picture() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    assert cut(picture, [-5, -5, 10.2, 8]).shape == (8, 11, 3)
    assert cut(picture, [29.9, 19.9, 60, 60]).shape == (1, 1, 3)


def test_head_boxes_grow_and_stay_in_the_picture() -> None:
    grown = head_boxes(np.array([[100, 100, 200, 200], [0, 0, 50, 50.0]]), 210, 300)
    np.testing.assert_allclose(grown, [[88, 73, 210, 204], [0, 0, 56, 52]])


def test_frontality() -> None:
    front = np.array([[0, 0], [10, 0], [5, 6], [2, 10], [8, 10.0]])
    assert frontality(front) == 1
    turned = front.copy()
    turned[2] = [10, 6]
    assert frontality(turned) == 0
    rolled = front @ np.array([[0, 1], [-1, 0]])
    assert frontality(rolled) == pytest.approx(1)
    assert frontality(np.zeros((5, 2))) == 0


class Heads:
    """A detector of one's own: boxes, no landmarks."""

    def detect(self, picture: np.ndarray) -> Detections:
        return Detections.of(np.array([box(0), box(200)]))


class Faces:
    def detect(self, picture: np.ndarray) -> Detections:
        return Detections.of([box(210, 110, 30)], landmarks=np.ones((1, 5, 2)), sizes=[30])


def test_faces_tell_who_the_heads_of_another_detector_are() -> None:
    heads = HeadsWithFaces(Heads(), Faces()).detect(np.zeros((9, 9, 3), np.uint8))
    assert heads.sizes.tolist() == [0, 30]
    assert np.isnan(heads.landmarks[0]).all()
    assert (heads.landmarks[1] == 1).all()


def test_a_detector_comes_by_its_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("their_detector")
    module.Heads, module.number = Heads, lambda: 3
    monkeypatch.setitem(sys.modules, "their_detector", module)
    assert isinstance(load_detector("their_detector:Heads"), Heads)
    with pytest.raises(UserError, match="gives int, which has no method `detect`"):
        load_detector("their_detector:number")
    for wrong in ("nowhere_at_all:Heads", "their_detector:Nothing", "their_detector"):
        with pytest.raises(UserError, match=r"expected package\.module:Class"):
            load_detector(wrong)


@pytest.mark.parametrize(
    ("name", "value"), [("fps", 0), ("max_gap", -1), ("same_person", 1.5), ("min_score", float("nan"))]
)
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is"):
        Settings(**{name: value})
