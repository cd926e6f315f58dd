"""What the stages pass to one another: the heads of one picture, as parallel arrays."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Picture = NDArray[np.uint8]  # [height, width, 3], blue-green-red as OpenCV has it


@dataclass
class Detections:
    """N heads of one picture; index with a mask or with numbers to choose among them.

    Attributes:
        boxes: [N, 4], x1, y1, x2, y2 in pixels.
        scores: [N], 0 to 1.
        landmarks: [N, 5, 2], pixels: right eye, left eye, nose, right and left corner of the mouth. NaN: unknown.
        sizes: [N], short side of the face in pixels; 0 where there is no face to be seen.
        embeddings: [N, D], of length 1. NaN: unknown.
        qualities: [N], 0 to 1: how well the face shows who it is (size, sharpness, frontality).
    """

    boxes: Array
    scores: Array
    landmarks: Array
    sizes: Array
    embeddings: Array
    qualities: Array

    @classmethod
    def of(
        cls,
        boxes: Array,
        scores: Array | None = None,
        landmarks: Array | None = None,
        sizes: Array | None = None,
        embeddings: Array | None = None,
        qualities: Array | None = None,
    ) -> "Detections":
        """Detections of which some is unknown.

        Raises:
            ValueError: the arrays do not have one row a box, or a box is empty or not a number.
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        count = len(boxes)
        if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
            raise ValueError(f"found boxes {boxes.tolist()}; expected x1 < x2 and y1 < y2, in pixels")
        given = {
            "scores": (scores, (count,), 1.0),
            "landmarks": (landmarks, (count, 5, 2), np.nan),
            "sizes": (sizes, (count,), 0.0),
            "embeddings": (embeddings, None, np.nan),
            "qualities": (qualities, (count,), 0.0),
        }
        arrays = {}
        for name, (value, shape, fill) in given.items():
            array = np.full(shape or (count, 1), fill, np.float32) if value is None else np.asarray(value, np.float32)
            if len(array) != count or (shape and array.shape != shape):
                raise ValueError(f"{name} have shape {array.shape}; one row for each of {count} boxes was expected")
            arrays[name] = array
        return cls(boxes, **arrays)

    @classmethod
    def empty(cls) -> "Detections":
        """No head at all."""
        return cls.of(np.empty((0, 4), np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int_]) -> "Detections":
        return Detections(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def overlaps(first: Array, second: Array) -> Array:
    """Intersection over union of each box [N, 4] with each [M, 4]: [N, M]."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    sides = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None)
    shared = sides.prod(-1)
    area = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    return shared / np.maximum(area[0][:, None] + area[1][None, :] - shared, 1e-9)
