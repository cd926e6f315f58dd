"""The persons of a video, and the file `entities.json` that says so."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from tiktalkcoref.files.errors import UserError

from .detections import Picture
from .settings import Settings
from .tracks import Track

VERSION = 1
FILE = "entities.json"


@dataclass
class Crop:
    """A head cut out of the video.

    Attributes:
        frame, time, box: which picture (number, seconds) and where in it (pixels).
        quality: 0 to 1, by size, sharpness and frontality.
        file: relative to `entities.json`; empty while it is not written.
        picture: [height, width, 3], blue-green-red; None when read from the file.
    """

    frame: int
    time: float
    box: list[float]
    quality: float
    file: str = ""
    picture: Picture | None = None


@dataclass
class Entity:
    """A visual entity: one person with all tracks; `crops` are the best first, in different moments."""

    id: int
    tracks: list[Track]
    crops: list[Crop] = field(default_factory=list)


@dataclass
class VideoEntities:
    """What was found in one video.

    Attributes:
        video: file name.
        bytes: size of the file.
        seconds, width, height: of the pictures as displayed, as far as they could be read.
        shots: start and end of each, in seconds.
        samples: times of the pictures that were searched.
        entities: persons, the one seen most often first.
        warnings: what was wrong with the file.
    """

    video: str
    bytes: int
    settings: Settings
    seconds: float
    width: int
    height: int
    shots: list[tuple[float, float]]
    samples: list[float]
    entities: list[Entity]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For `entities.json`; the schema is in `docs/video.md`."""
        return {
            "version": VERSION,
            "video": self.video,
            "bytes": self.bytes,
            "fps": self.settings.fps,
            "seconds": round(self.seconds, 3),
            "width": self.width,
            "height": self.height,
            "samples": len(self.samples),
            "shots": [[round(start, 3), round(end, 3)] for start, end in self.shots],
            "entities": [entity_dict(entity) for entity in self.entities],
            "warnings": self.warnings,
            "settings": asdict(self.settings),
        }


def entity_dict(entity: Entity) -> dict[str, Any]:
    """An entity for JSON: its tracks, and its representative crop with where that is from."""
    best = entity.crops[0]
    return {
        "id": entity.id,
        "tracks": [
            {
                "shot": track.shot,
                "times": [round(time, 3) for time in track.times],
                "frames": track.frames,
                "boxes": [_rounded(box) for box in track.boxes],
                "scores": [round(score, 3) for score in track.scores],
            }
            for track in entity.tracks
        ],
        "crop": best.file,
        "frame": best.frame,
        "time": round(best.time, 3),
        "box": _rounded(best.box),
        "crops": [
            {
                "file": crop.file,
                "frame": crop.frame,
                "time": round(crop.time, 3),
                "box": _rounded(crop.box),
                "quality": round(crop.quality, 3),
            }
            for crop in entity.crops
        ],
    }


def candidates(found: VideoEntities) -> tuple[list[list[Image.Image]], list[dict[str, Any]]]:
    """The persons of a video as a model takes them: several pictures of each, and what its result says of them.

    Returns:
        pictures, and for each person `{"id", "tracks", "crop": picture, "frame", "time", "box"}`, in the same order.
    """
    pictures = [
        [
            Image.fromarray(np.ascontiguousarray(crop.picture[..., ::-1]))
            for crop in entity.crops
            if crop.picture is not None
        ]
        for entity in found.entities
    ]
    described = []
    for entity, images in zip(found.entities, pictures, strict=True):
        described.append({**entity_dict(entity), "crop": images[0]})
        del described[-1]["crops"]
    return pictures, described


def spans(entity: Mapping[str, Any], reach: float = 0.5) -> list[tuple[float, float]]:
    """From when to when a person is to be seen, in seconds; gaps up to `reach` are passed over."""
    times = sorted(time for track in entity["tracks"] for time in track["times"])
    found: list[list[float]] = []
    for time in times:
        if found and time - found[-1][1] <= reach:
            found[-1][1] = time
        else:
            found.append([time, time])
    return [(start, end) for start, end in found]


def span_text(entity: Mapping[str, Any]) -> str:
    """`spans` as text, like `0.0–2.4 s, 5.0–5.8 s`."""
    return ", ".join(f"{start:.1f}–{end:.1f} s" for start, end in spans(entity))


def choose_crops(tracks: Sequence[Track], count: int, apart: float = 0.5) -> list[Crop]:
    """The `count` best moments of a person by quality, at least `apart` seconds from one another where there are such.

    Without a face to be seen (quality 0) the larger box is the better one.
    """
    found = [
        Crop(frame, time, box, quality)
        for track in tracks
        for frame, time, box, quality in zip(track.frames, track.times, track.boxes, track.qualities, strict=True)
    ]
    found.sort(key=lambda crop: (-crop.quality, -_area(crop.box), crop.time))
    chosen: list[Crop] = []
    for crop in found:
        if len(chosen) < count and all(abs(crop.time - other.time) >= apart for other in chosen):
            chosen.append(crop)
    return chosen


def cut(picture: Picture, box: Sequence[float]) -> Picture:
    """The part of a picture in a box; at least one pixel."""
    height, width = picture.shape[:2]
    x1, y1 = (
        int(np.clip(np.floor(value), 0, limit - 1)) for value, limit in zip(box[:2], (width, height), strict=True)
    )
    x2, y2 = (int(np.clip(np.ceil(value), 1, limit)) for value, limit in zip(box[2:], (width, height), strict=True))
    return picture[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].copy()


def read_entities(folder: Path | str) -> dict[str, Any]:
    """The content of `entities.json` in a folder that `tiktalkcoref track` wrote.

    Raises:
        UserError: it is not there or not of this version.
    """
    path = Path(folder) / FILE
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); a folder written by `tiktalkcoref track` was expected"
        ) from error
    found = content.get("version") if isinstance(content, dict) else None
    if found != VERSION:
        raise UserError(f"{path} is of version {found!r}, {VERSION} was expected: run `tiktalkcoref track` again")
    return content


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in box]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
