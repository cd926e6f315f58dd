"""The networks that find heads, loaded once: those of a frame whose boxes nobody drew, and the persons of a video."""

import os
import threading
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

_lock = threading.Lock()  # a network reads one picture at a time


def find_heads(picture: Image.Image, most: int) -> list[list[int]]:
    """Boxes [x1, y1, x2, y2] in pixels, from left to right; of more than `most` heads the largest.

    Raises:
        UserError: the weights or the extra `tracking` are not there.
    """
    with _lock:
        found = detector().detect(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])).boxes
    boxes = found.round().astype(int).tolist()
    largest = sorted(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))[-most:]
    return sorted(box for box in largest if box[0] < box[2] and box[1] < box[3])


@cache
def detector() -> Any:
    """The detector of heads, for single pictures."""
    from tiktalkcoref.tracking.heads import YuNetHeads

    return YuNetHeads(weights_folder())


@cache
def tracker() -> Any:
    """The tracker of videos."""
    from tiktalkcoref.tracking.settings import Settings
    from tiktalkcoref.tracking.tracker import VideoTracker

    return VideoTracker(Settings(), weights_folder())


def weights_folder() -> str | None:
    """Where the weights lie; None: on the Hub."""
    return os.environ.get("TIKTALKCOREF_TRACKING_WEIGHTS")
