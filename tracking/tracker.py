"""A video in, its persons out: the stages in a row. The networks are loaded once, for as many videos as there are."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from .detections import Detections, Picture
from .entities import Crop, Entity, VideoEntities, choose_crops, cut
from .faces import FaceEmbedder, SFaceEmbedder
from .heads import HeadDetector, HeadsWithFaces, YuNetHeads, load_detector
from .identities import group_tracks
from .settings import Settings
from .shots import ContentShots, ShotDetector
from .tracks import ShotTracker, Track
from .video import Frame, Video, sampler

Item = TypeVar("Item")
Progress = Callable[[float], object]  # told how many seconds of the video have been seen


class VideoTracker:
    """Finds the persons of videos.

    Args:
        settings: all numbers.
        weights: folder with the weights of YuNet and SFace; None: the Hub's.
        heads: another detector of heads, or its import path (`package.module:Class`); YuNet's faces tell who they are.
        embedder: another embedding of faces.
        shots: makes another detector of shots, for each video.

    Attributes:
        seconds: wall time spent in each stage, over all videos.

    Raises:
        WeightsError: weights are missing or not the published ones.
        MissingExtraError: the extra `tracking` is not installed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        weights: Path | str | None = None,
        heads: HeadDetector | str | None = None,
        embedder: FaceEmbedder | None = None,
        shots: Callable[[], ShotDetector] = ContentShots,
    ) -> None:
        self.settings = settings or Settings()
        if isinstance(heads, str):
            heads = HeadsWithFaces(load_detector(heads), self._yunet(weights))
        self._heads = heads or self._yunet(weights)
        self._embedder = embedder or SFaceEmbedder(weights)
        self._shots = shots
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __call__(self, video: Video | Path | str, progress: Progress = lambda seconds: None) -> VideoEntities:
        """The persons of one video, with crops.

        Args:
            video: a file, or a folder of frames.
            progress: called with the seconds seen so far; each video is read twice, so it runs to twice its length.

        Raises:
            VideoError, FileNotFoundError: see `Video`.
        """
        video = video if isinstance(video, Video) else Video(video, self.settings.max_pixels, self.settings.max_seconds)
        found, tracks = self._search(video, progress)
        for number, group in enumerate(group_tracks(tracks, self.settings.same_person)):
            found.entities.append(Entity(number, group, choose_crops(group, self.settings.crops)))
        with self._timed("crops"):
            cut_crops(video, [crop for entity in found.entities for crop in entity.crops], progress)
        return found

    def _yunet(self, weights: Path | str | None) -> YuNetHeads:
        return YuNetHeads(weights, self.settings.detection_side, self.settings.min_score)

    def _search(self, video: Video, progress: Progress) -> tuple[VideoEntities, list[Track]]:
        """The first reading: shots and tracks."""
        size = video.path.stat().st_size
        found = VideoEntities(video.path.name, size, self.settings, 0.0, 0, 0, [], [], [])
        tracker = ShotTracker(self.settings)
        tracks: list[Track] = []
        starts: list[float] = []
        for seen in _ahead(self._seen(video)):
            if seen.starts_shot:
                starts.append(seen.time)
                tracks += tracker.finish() if len(starts) > 1 else []
            if seen.picture is not None:
                found.samples.append(seen.time)
                found.height, found.width = seen.picture.shape[:2]
                self._follow(seen, tracker)
                progress(seen.time)
        tracks += tracker.finish()
        found.seconds = video.end
        found.shots = list(zip(starts, [*starts[1:], found.seconds], strict=True))
        found.warnings = list(video.warnings)
        return found, tracks

    def _seen(self, video: Video) -> Iterator["_Seen"]:
        """The pictures that are searched, and those that begin a shot."""
        shots, due = self._shots(), sampler(self.settings.fps)
        is_first = True
        for frame in self._decoded(video):
            with self._timed("shots"):
                starts_shot = shots.is_cut(frame.time, frame.thumbnail()) or is_first
            is_first = False
            if video.images or due(frame.time):
                with self._timed("decoding"):
                    picture = frame.picture()
                with self._timed("heads"):
                    heads = self._heads.detect(picture)
                yield _Seen(frame.time, frame.number, starts_shot, picture, heads)
            elif starts_shot:
                yield _Seen(frame.time, frame.number, True)

    def _follow(self, seen: "_Seen", tracker: ShotTracker) -> None:
        assert seen.picture is not None
        with self._timed("faces"):
            embeddings, qualities = self._embedder.embed(seen.picture, seen.heads)
        with self._timed("tracks"):
            heads = replace(seen.heads, embeddings=embeddings, qualities=qualities)
            tracker.update(seen.time, seen.frame, heads)

    def _decoded(self, video: Video) -> Iterator[Frame]:
        frames = video.frames()
        while True:
            with self._timed("decoding"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started


@dataclass
class _Seen:
    """A picture on its way from the detector to the tracker; `picture` is None where it was not searched."""

    time: float
    frame: int
    starts_shot: bool
    picture: Picture | None = None
    heads: Detections = field(default_factory=Detections.empty)


def _ahead(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """The items, made in another thread up to `count` ahead: OpenCV and FFmpeg leave Python's lock alone."""
    end = object()
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1) as pool:
        while True:
            while len(waiting) < count:
                waiting.append(pool.submit(next, items, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item


def cut_crops(video: Video, crops: list[Crop], progress: Progress) -> None:
    """The second reading: cut the chosen heads out. Kept from the first one they would grow with the video's length."""
    wanted: dict[int, list[Crop]] = {}
    for crop in crops:
        wanted.setdefault(crop.frame, []).append(crop)
    if not wanted:
        return
    last = max(wanted)
    for frame in video.frames():
        progress((video.seconds or frame.time) + frame.time)
        for crop in wanted.get(frame.number, ()):
            crop.picture = cut(frame.picture(), crop.box)
        if frame.number >= last:
            break
