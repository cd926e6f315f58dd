"""What a user may set about tracking, with the reason for each default."""

from dataclasses import dataclass, fields, replace

from tiktalkcoref.files.errors import UserError


@dataclass(frozen=True)
class Settings:
    """All numbers of the stages; lengths in pixels of the picture as displayed, times in seconds.

    Attributes:
        fps: pictures looked at a second of video.
        detection_side: the long side to which a larger picture is shrunk before heads are looked for. At 1280 YuNet
            finds 99.5% of the faces from 26 px of a 720p video, at 640 (`fast`) all from 64 px, 88% from 36 to 64 px.
        min_score: of a head; YuNet's faces score about 0.9, down to 0.7 where small or turned away.
        same_person: cosine of two faces' embeddings from which they count as one person. 0.363 is what OpenCV
            publishes for SFace, from the LFW benchmark; `docs/video.md` shows the sweep.
        min_face: the short side of a face below which it says who somebody is only if no larger one of its track does.
        max_gap: how long a head may be hidden and still go on in the same track.
        crops: pictures kept of each person.
        max_pixels: of a frame; larger videos are refused before they are decoded. The default admits 4K.
        max_seconds: likewise of a video.
    """

    fps: float = 5.0
    detection_side: int = 1280
    min_score: float = 0.7
    same_person: float = 0.363
    min_face: float = 36.0
    max_gap: float = 1.0
    crops: int = 5
    max_pixels: int = 4096 * 2304
    max_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UserError(f"{field.name} is {value!r}; a number above 0 was expected")
        for name in ("min_score", "same_person"):
            if getattr(self, name) >= 1:
                raise UserError(f"{name} is {getattr(self, name)!r}; a number between 0 and 1 was expected")

    def fast(self) -> "Settings":
        """The same for half the work: faces below 64 px are missed more often."""
        return replace(self, detection_side=min(self.detection_side, 640))
