"""Heads followed through one shot: place and appearance, assigned by the Hungarian method."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .detections import Array, Detections, overlaps
from .settings import Settings

OTHER_PERSON = 0.25  # cosine below which a well-seen face is not the track's: a cut that was missed, one behind another
WELL_SEEN = 0.3  # quality from which a face can prove that
SAME_PLACE = 0.3  # intersection over union that is enough where appearance says nothing
REACH = 6.0  # head sizes a second that a head may move and be known again by its face
SURE = 0.85  # score from which a head seen once is believed


@dataclass
class Track:
    """One head through one shot, T times seen.

    Attributes:
        shot: number of the shot, from 0.
        times: [T] seconds.
        frames: [T] numbers of the source's pictures.
        boxes: [T] of [x1, y1, x2, y2], pixels.
        scores, sizes, qualities: [T], as in `Detections`.
    """

    shot: int
    times: list[float] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    qualities: list[float] = field(default_factory=list)
    last: Array | None = None  # the newest embedding
    _small: Array | None = None  # sums of embeddings, weighted by quality: of small faces, of the others
    _large: Array | None = None

    def add(self, time: float, frame: int, heads: Detections, number: int, min_face: float) -> None:
        """Append head `number` of a picture; its face counts as large from `min_face` pixels."""
        self.times.append(time)
        self.frames.append(frame)
        self.boxes.append(heads.boxes[number].tolist())
        for values, name in ((self.scores, "scores"), (self.sizes, "sizes"), (self.qualities, "qualities")):
            values.append(float(getattr(heads, name)[number]))
        embedding = heads.embeddings[number]
        if not np.isfinite(embedding).all():
            return
        self.last = embedding
        weighted = embedding * max(self.qualities[-1], 1e-3)
        if self.sizes[-1] >= min_face:
            self._large = weighted if self._large is None else self._large + weighted
        else:
            self._small = weighted if self._small is None else self._small + weighted

    @property
    def embedding(self) -> Array | None:
        """Who it is, [D] of length 1: the mean over its faces, of small ones only if it has no other; None: unknown."""
        total = self._small if self._large is None else self._large
        return None if total is None else total / max(float(np.linalg.norm(total)), 1e-9)

    @property
    def is_sure(self) -> bool:
        """Whether it is more than a single doubtful box."""
        return len(self.times) > 1 or self.scores[0] >= SURE


class ShotTracker:
    """Follows the heads of one shot; `finish` gives the tracks and makes it ready for the next shot."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shot = 0
        self._open: list[Track] = []
        self._closed: list[Track] = []

    def update(self, time: float, frame: int, heads: Detections) -> None:
        """Give each head of the next picture to a track, or begin one with it."""
        lost = [track for track in self._open if time - track.times[-1] > self._settings.max_gap]
        self._closed += lost
        self._open = [track for track in self._open if track not in lost]
        taken = dict(self._assigned(time, heads))
        for number in range(len(heads)):
            if number not in taken:
                taken[number] = Track(self._shot)
                self._open.append(taken[number])
            taken[number].add(time, frame, heads, number, self._settings.min_face)

    def finish(self) -> list[Track]:
        """The tracks of the shot, by their first picture; single doubtful boxes are left out."""
        tracks = sorted(self._closed + self._open, key=lambda track: track.times[0])
        self._open, self._closed = [], []
        self._shot += 1
        return [track for track in tracks if track.is_sure]

    def _assigned(self, time: float, heads: Detections) -> Iterator[tuple[int, Track]]:
        if not self._open or not len(heads):
            return
        scores = self._scores(time, heads)
        for row, column in zip(*linear_sum_assignment(np.nan_to_num(scores, nan=-10.0), maximize=True), strict=True):
            if np.isfinite(scores[row, column]):
                yield int(column), self._open[row]

    def _scores(self, time: float, heads: Detections) -> Array:
        """[tracks, heads]: how well they go together, NaN where they cannot."""
        boxes = np.array([track.boxes[-1] for track in self._open], np.float32)
        gaps = time - np.array([track.times[-1] for track in self._open])
        shared = overlaps(boxes, heads.boxes)
        alike = np.stack([_similarity(track, heads) for track in self._open])
        known = np.isfinite(alike)
        near = _distances(boxes, heads.boxes) <= 1 + REACH * gaps[:, None]
        other = known & (alike < OTHER_PERSON) & (heads.qualities >= WELL_SEEN)
        by_place = (shared >= SAME_PLACE) & ~other
        by_face = known & near & (np.nan_to_num(alike) >= self._settings.same_person)
        return np.where(by_place | by_face, shared + np.nan_to_num(alike, nan=self._settings.same_person), np.nan)


def _similarity(track: Track, heads: Detections) -> Array:
    """Cosine of each head with the track as a whole or with its newest face, whichever is higher; NaN: unknown."""
    mean = track.embedding
    if mean is None or track.last is None or heads.embeddings.shape[1] != len(mean):
        return np.full(len(heads), np.nan, np.float32)
    return np.maximum(heads.embeddings @ mean, heads.embeddings @ track.last)


def _distances(first: Array, second: Array) -> Array:
    """Between the centres of boxes [N, 4] and [M, 4], in sizes of the larger box: [N, M]."""
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (first, second)]
    sizes = [np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(-1)) for boxes in (first, second)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    return apart / np.maximum(sizes[0][:, None], sizes[1][None])
