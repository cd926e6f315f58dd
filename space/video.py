"""A visitor's video to its visual entities, by the tracking room; told as it goes, ended when nobody waits any more."""

import base64
import io
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from PIL import Image

from .heads import tracker
from .inputs import LIMITS, InputError

MAX_PIXELS = 1920 * 1088  # of one picture of the video
TELL_SECONDS = 0.4  # each step costs time on the server and on the page


@dataclass
class People:
    """Who is to be seen in a video.

    Attributes:
        entities: as the pipeline's result has them; `crop` is a PNG as base64 string.
        crops: pictures of each.
        seconds: how long the video is.
    """

    entities: list[dict[str, Any]]
    crops: list[list[Image.Image]]
    seconds: float


class _StoppedError(Exception):
    """Nobody waits for the video any more."""


def find_people(path: str) -> Iterator[tuple[float, float] | People]:
    """Track the heads of a video: yields (seconds done, seconds in all) as it goes, in the end the people.

    Closing the iterator ends the work.

    Raises:
        InputError: no video, beyond the limits, nobody in it, or the extra `tracking` is not installed.
    """
    if find_spec("tiktalkcoref.tracking") is None:
        raise InputError("video", "no_tracking")
    from tiktalkcoref.files.extras import MissingExtraError
    from tiktalkcoref.tracking.video import VideoError

    steps: queue.Queue[tuple[float, float] | People | Exception] = queue.Queue()
    stop = threading.Event()
    worker = threading.Thread(target=_work, args=(path, steps, stop), daemon=True)
    worker.start()
    try:
        while True:
            step = steps.get()
            if isinstance(step, MissingExtraError):
                raise InputError("video", "no_tracking") from step
            if isinstance(step, VideoError | OSError):
                reason = str(step).replace(path, "").strip(" :")  # the path on the server is nobody's business
                raise InputError("video", "bad_video", reason=reason) from step
            if isinstance(step, Exception):
                raise step
            yield step
            if isinstance(step, People):
                return
    finally:
        stop.set()


def _work(path: str, steps: "queue.Queue[Any]", stop: threading.Event) -> None:
    try:
        steps.put(_track(path, steps, stop))
    except _StoppedError:
        pass
    except Exception as error:
        steps.put(error)


def _track(path: str, steps: "queue.Queue[Any]", stop: threading.Event) -> People:
    from tiktalkcoref.tracking import candidates
    from tiktalkcoref.tracking.video import Video

    video = Video(path, MAX_PIXELS, max_seconds=3600)
    if (video.seconds or 0) > LIMITS.video_seconds:
        raise InputError("video", "too_long_video", found=video.seconds, limit=LIMITS.video_seconds)
    video.max_seconds = LIMITS.video_seconds + 1  # a file may say less than it holds
    total = 2 * (video.seconds or 0.0)  # it is read twice

    told = 0.0

    def tell(done: float) -> None:
        nonlocal told
        if stop.is_set():
            raise _StoppedError
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            steps.put((min(done, total) / 2, total / 2))

    found = tracker()(video, tell)
    if not found.entities:
        raise InputError("video", "no_heads")
    crops, entities = candidates(found)
    return People([{**entity, "crop": _encode(entity["crop"])} for entity in entities], crops, found.seconds)


def _encode(picture: Image.Image) -> str:
    """A PNG as base64, as the model's handler sends it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
