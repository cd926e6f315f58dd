"""A video in, its persons out: the stages in a row. The networks are loaded once, for as many videos as there are."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .detections import Detections
from .entities import Crop, Entity, VideoEntities, choose_crops, cut
from .faces import FaceEmbedder, SFaceEmbedder
from .heads import HeadDetector, HeadsWithFaces, YuNetHeads, load_detector
from .identities import group_tracks
from .settings import Settings
from .shots import ContentShots, ShotDetector
from .tracks import ShotTracker, Track
from .video import Frame, Video, sampler

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
        ExtraMissingError: the extra `tracking` is not installed.
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
        self.seconds: Counter[str] = Counter()

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
        shots, tracker, due = self._shots(), ShotTracker(self.settings), sampler(self.settings.fps)
        tracks: list[Track] = []
        starts: list[float] = []
        for frame in self._decoded(video):
            with self._timed("shots"):
                is_cut = shots.is_cut(frame.time, frame.thumbnail())
            if is_cut or not starts:
                starts.append(frame.time)
                tracks += tracker.finish() if len(starts) > 1 else []
            if video.images or due(frame.time):
                found.samples.append(frame.time)
                found.height, found.width = self._look(frame, tracker)
                progress(frame.time)
            found.seconds = frame.time
        tracks += tracker.finish()
        found.seconds = max(video.seconds or 0.0, found.seconds) if not video.warnings else found.seconds
        found.shots = list(zip(starts, [*starts[1:], found.seconds], strict=True))
        found.warnings = list(video.warnings)
        return found, tracks

    def _look(self, frame: Frame, tracker: ShotTracker) -> tuple[int, int]:
        """Search one picture; returns its height and width."""
        with self._timed("decoding"):
            picture = frame.picture()
        with self._timed("heads"):
            heads = self._heads.detect(picture)
        with self._timed("faces"):
            embeddings, qualities = self._embedder.embed(picture, heads)
        heads = Detections(heads.boxes, heads.scores, heads.landmarks, heads.sizes, embeddings, qualities)
        with self._timed("tracks"):
            tracker.update(frame.time, frame.number, heads)
        return picture.shape[0], picture.shape[1]

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
