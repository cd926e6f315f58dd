"""Heads in a picture: YuNet's faces, enlarged; or a detector of one's own."""

from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from tiktalkcoref.files.errors import UserError

from .detections import Array, Detections, Picture
from .extra import load
from .weights import YUNET, read_weights

# From a face box (brows to chin, as YuNet draws it) to a head box (hair, ears): shares of the face's own sides.
LEFT_RIGHT, TOP, BOTTOM = 0.12, 0.27, 0.04


class HeadDetector(Protocol):
    """Finds the heads of one picture."""

    def detect(self, picture: Picture) -> Detections:
        """Boxes of heads, with scores; landmarks and sizes of the faces where they are seen.

        Args:
            picture: [height, width, 3], blue-green-red.
        """


class YuNetHeads:
    """YuNet (Wu, Peng & Yu, Machine Intelligence Research 2023) through OpenCV: faces, enlarged to heads.

    People seen from behind have no face and are not found.

    Args:
        weights: folder with the file of weights; None: the Hub's.
        side: larger pictures are shrunk to this long side before they are searched.
        min_score: of a face.

    Raises:
        WeightsError: the weights are missing or not the published ones.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, weights: Path | str | None = None, side: int = 1280, min_score: float = 0.7) -> None:
        self._cv2 = load("cv2")
        self._side = side
        nothing = np.empty(0, np.uint8)
        content = read_weights(YUNET, weights)
        self._network = self._cv2.FaceDetectorYN.create("onnx", content, nothing, (side, side), min_score)

    def detect(self, picture: Picture) -> Detections:
        height, width = picture.shape[:2]
        scale = min(1.0, self._side / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            searched = self._cv2.resize(picture, size, interpolation=self._cv2.INTER_AREA)
        else:
            searched = picture
        self._network.setInputSize((searched.shape[1], searched.shape[0]))
        _, rows = self._network.detect(searched)
        if rows is None:
            return Detections.empty()
        corner, sides = rows[:, :2] / scale, rows[:, 2:4] / scale
        boxes = head_boxes(np.hstack([corner, corner + sides]), width, height)
        seen = (boxes[:, 2:] - boxes[:, :2]).min(1) >= 1  # a face may lie wholly beyond the edge
        landmarks = (rows[:, 4:14] / scale).reshape(-1, 5, 2)
        return Detections.of(boxes[seen], rows[seen, 14], landmarks[seen], sides[seen].min(1))


class HeadsWithFaces:
    """A detector of heads without landmarks, and YuNet's faces in its boxes: these tell who the heads are.

    A head seen from behind is tracked by its place alone.
    """

    def __init__(self, heads: HeadDetector, faces: HeadDetector) -> None:
        self._heads, self._faces = heads, faces

    def detect(self, picture: Picture) -> Detections:
        heads, faces = self._heads.detect(picture), self._faces.detect(picture)
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        for number, box in enumerate(heads.boxes):
            inside = np.flatnonzero(((centres >= box[:2]) & (centres <= box[2:])).all(1))
            if len(inside):
                face = inside[faces.scores[inside].argmax()]
                heads.landmarks[number], heads.sizes[number] = faces.landmarks[face], faces.sizes[face]
        return heads


def head_boxes(faces: Array, width: int, height: int) -> Array:
    """Boxes of the heads around faces [N, 4], cut off at the picture's edges."""
    sides = faces[:, 2:] - faces[:, :2]
    grown = np.hstack(
        [faces[:, :2] - sides * [LEFT_RIGHT, TOP], faces[:, 2:] + sides * [LEFT_RIGHT, BOTTOM]]
    )  # fmt: skip
    return grown.clip(0, [width, height, width, height]).astype(np.float32)


def load_detector(name: str) -> HeadDetector:
    """The detector that `package.module:name` names: a class or a function without arguments that gives one.

    Raises:
        UserError: it cannot be imported, or what it gives has no `detect`.
    """
    module, _, attribute = name.partition(":")
    try:
        detector = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"head detector {name!r}: {error}; expected package.module:Class, made without arguments"
        ) from error
    if not callable(getattr(detector, "detect", None)):
        raise UserError(f"head detector {name!r} gives {type(detector).__name__}, which has no method `detect`")
    return detector
