"""Where one shot ends and the next begins."""

from fractions import Fraction
from typing import Protocol

from .detections import Picture
from .extra import load


class ShotDetector(Protocol):
    """Sees every picture of one video, in order."""

    def is_cut(self, time: float, thumbnail: Picture) -> bool:
        """Whether a new shot begins with this picture ([height, width, 3], small)."""


class ContentShots:
    """PySceneDetect's content detector: the mean change of hue, saturation and brightness between two pictures.

    Args:
        threshold: the change (of 255) that is a cut; 27 is PySceneDetect's default.
        min_seconds: shots shorter than this are not cut off: a flash is one picture.
    """

    def __init__(self, threshold: float = 27.0, min_seconds: float = 0.2) -> None:
        scenedetect = load("scenedetect")
        detector = load("scenedetect.detector")
        # SUPPRESS tells of a cut at once; MERGE only after the following pictures, when they have been tracked.
        mode = detector.FlashFilter.Mode.SUPPRESS
        self._detector = scenedetect.ContentDetector(threshold, float(min_seconds), filter_mode=mode)
        self._timecode = scenedetect.FrameTimecode

    def is_cut(self, time: float, thumbnail: Picture) -> bool:
        return bool(self._detector.process_frame(self._timecode(float(time), Fraction(1000)), thumbnail))
