"""A detector and an embedder for tests without faces: persons are discs of one colour each, on grey."""

from collections.abc import Callable, Sequence

import numpy as np

from tiktalkcoref.tracking.detections import Detections, Picture

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "yellow": (220, 210, 30)}
Place = Callable[[int], tuple[float, float] | None]


class DiscHeads:
    """Finds the discs; the face is as wide as the disc."""

    def detect(self, picture: Picture) -> Detections:
        boxes = []
        for colour in COLOURS.values():
            ys, xs = np.nonzero((np.abs(picture.astype(int) - colour[::-1]) < 60).all(2))
            if len(xs) > 30:
                boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        sizes = (boxes[:, 2:] - boxes[:, :2]).min(1)
        landmarks = np.repeat(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], 5, 1)
        return Detections.of(boxes, landmarks=landmarks, sizes=sizes)


class ColourEmbedder:
    """The colour of the disc's middle, as a direction around grey."""

    def embed(self, picture: Picture, heads: Detections) -> tuple[np.ndarray, np.ndarray]:
        centres = heads.landmarks[:, 0].astype(int)
        colours = picture[centres[:, 1], centres[:, 0]].astype(np.float32) - 110.0
        return colours / np.linalg.norm(colours, axis=1, keepdims=True), np.clip(heads.sizes / 112, 0.05, 1)


def discs(
    places: dict[str, Place], frames: int, size: tuple[int, int] = (320, 240), radius: int = 24, grey: int = 110
) -> list[Picture]:
    """Pictures [height, width, 3], red-green-blue: each colour where its function puts it, the last one in front."""
    ys, xs = np.mgrid[: size[1], : size[0]]
    pictures = []
    for frame in range(frames):
        picture = np.full((size[1], size[0], 3), grey, np.uint8)
        for colour, place in places.items():
            if (centre := place(frame)) is not None:
                picture[(xs - centre[0]) ** 2 + (ys - centre[1]) ** 2 <= radius**2] = COLOURS[colour]
        pictures.append(picture)
    return pictures


def standing(x: float, y: float = 120) -> Place:
    return lambda frame: (x, y)


def walking(start: float, end: float, frames: int, y: float = 120) -> Place:
    return lambda frame: (start + (end - start) * frame / frames, y)


def heads_at(boxes: Sequence[Sequence[float]], persons: Sequence[int], quality: float = 0.8, size: float = 60):
    """Detections with embeddings of orthogonal persons (-1: no face to be seen)."""
    embeddings = np.eye(8, dtype=np.float32)[np.array(persons, int)]
    embeddings[np.array(persons, int) < 0] = np.nan
    count = len(boxes)
    return Detections.of(
        np.array(boxes, np.float32),
        embeddings=embeddings,
        sizes=np.full(count, size, np.float32),
        qualities=np.full(count, quality, np.float32),
    )
