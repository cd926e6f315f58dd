"""Who a face is: an embedding, and how far it may be trusted."""

from pathlib import Path
from typing import Protocol

import numpy as np

from .detections import Array, Detections, Picture
from .extra import load
from .weights import SFACE, read_weights

SIDE = 112  # of an aligned face, px: what SFace was trained on
SHARP = 60.0  # variance of the Laplacian of an aligned face from which it counts as sharp


class FaceEmbedder(Protocol):
    """Turns faces into directions: the nearer two are, the likelier are they one person's."""

    def embed(self, picture: Picture, heads: Detections) -> tuple[Array, Array]:
        """Embeddings [N, D] of length 1 (NaN: no face to be seen) and qualities [N] in 0 to 1."""


class SFaceEmbedder:
    """SFace (Zhong et al., IEEE TIP 2021) through OpenCV, on faces aligned by their landmarks; D is 128.

    Args:
        weights: folder with the file of weights; None: the Hub's.

    Raises:
        WeightsError: the weights are missing or not the published ones.
        MissingExtraError: OpenCV is not installed.
    """

    dimension = 128

    def __init__(self, weights: Path | str | None = None) -> None:
        self._cv2 = load("cv2")
        self._network = self._cv2.FaceRecognizerSF.create("onnx", read_weights(SFACE, weights), np.empty(0, np.uint8))

    def embed(self, picture: Picture, heads: Detections) -> tuple[Array, Array]:
        embeddings = np.full((len(heads), self.dimension), np.nan, np.float32)
        qualities = np.zeros(len(heads), np.float32)
        for number in np.flatnonzero(np.isfinite(heads.landmarks).all((1, 2))):
            # A row as YuNet gives it; only the landmarks are looked at.
            row = np.concatenate([heads.boxes[number], heads.landmarks[number].ravel(), [1.0]]).astype(np.float32)
            aligned = self._network.alignCrop(picture, row)
            feature = self._network.feature(aligned)[0]
            embeddings[number] = feature / max(float(np.linalg.norm(feature)), 1e-9)
            qualities[number] = self._quality(aligned, heads.sizes[number], heads.landmarks[number])
        return embeddings, qualities

    def _quality(self, aligned: Picture, size: float, landmarks: Array) -> float:
        grey = self._cv2.cvtColor(aligned, self._cv2.COLOR_BGR2GRAY)
        sharpness = min(1.0, self._cv2.Laplacian(grey, self._cv2.CV_32F).var() / SHARP)
        return float(min(1.0, size / SIDE) * (0.25 + 0.75 * sharpness) * (0.1 + 0.9 * frontality(landmarks)))


def frontality(landmarks: Array) -> float:
    """1 for a face seen from the front, 0 for a profile.

    Where the nose stands between the eyes, seen along the line through them: half-way for a face from the front, at
    one of them or beyond for one turned away.
    """
    right, left, nose = landmarks[:3]
    across = left - right
    length = float(across @ across)
    if length < 1e-6:
        return 0.0
    place = float((nose - right) @ across) / length
    return float(np.clip(1 - 2 * abs(place - 0.5), 0, 1))
