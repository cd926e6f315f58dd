"""Reading a video picture by picture: by time, as displayed, with limits, whatever state the file is in."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiktalkcoref.corpus.videos import OPTIONS
from tiktalkcoref.files.errors import UserError

from .detections import Picture
from .extra import load

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FOLDER_FPS = 5.0  # a folder of frames does not say when they were taken
THUMBNAIL = 192  # long side, px: what cuts are looked for in
SHORTFALL = 0.5  # seconds that may be missing at the end before it is worth a warning

log = logging.getLogger(__name__)


class VideoError(UserError):
    """A file that cannot be read as a video, or one beyond the limits."""


@dataclass
class Frame:
    """One picture of a video.

    Attributes:
        number: counted from 0 in the order of display, over all pictures of the source.
        time: seconds from the start of the file's presentation.
        picture: decodes to [height, width, 3], blue-green-red, turned as the video is displayed.
        thumbnail: the same, small (`THUMBNAIL`).
    """

    number: int
    time: float
    picture: Callable[[], Picture]
    thumbnail: Callable[[], Picture]


class Video:
    """A video file, or a folder of frames in the order of their names; each call of `frames` reads it anew.

    Args:
        path: the file or the folder.
        max_pixels, max_seconds: the limits, see `Settings`.

    Attributes:
        seconds: how long the file says it is; None where it does not.
        end: seconds at which the last picture read so far ends.
        warnings: what was wrong with the file, as far as it has been read.

    Raises:
        FileNotFoundError: there is no such file.
        VideoError: a URL, no video, no pictures in it, or it is beyond a limit.
    """

    def __init__(self, path: Path | str, max_pixels: int = 4096 * 2304, max_seconds: float = 3600.0) -> None:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
            raise VideoError(f"{path} is a URL; download the video and name the file")
        self.path = Path(path)
        self.max_pixels, self.max_seconds = max_pixels, max_seconds
        self.seconds: float | None = None
        self.end = 0.0
        self.warnings: list[str] = []
        self.images: list[Path] = []
        if self.path.is_dir():
            self.images = [
                entry for entry in sorted(self.path.iterdir(), key=_natural) if entry.suffix.lower() in IMAGES
            ]
            if not self.images:
                raise VideoError(f"{path} holds no frames; pictures ({', '.join(IMAGES)}) were expected")
            self.seconds = len(self.images) / FOLDER_FPS
        else:
            with _open(self.path) as container:
                stream = _video_stream(container, self.path)
                self._check_size(stream.codec_context.width, stream.codec_context.height)
                self.seconds = _header_seconds(container, stream)
        self._check_time(self.seconds or 0.0)

    def frames(self) -> Iterator[Frame]:
        """All pictures, one at a time. What cannot be decoded is left out, with a warning.

        Raises:
            VideoError: not one picture can be decoded, or a picture is beyond a limit.
        """
        self.warnings.clear()
        self.end = 0.0
        count = 0
        for frame in self._images() if self.images else self._decoded():
            count += 1
            yield frame
        if not count:
            raise VideoError(f"{self.path} has no picture that can be decoded: it is empty or damaged")

    def sampled(self, fps: float) -> Iterator[Frame]:
        """About `fps` pictures a second, by their times: the first one at or after each multiple of 1/fps."""
        due = sampler(fps)
        return (frame for frame in self.frames() if self.images or due(frame.time))

    def _images(self) -> Iterator[Frame]:
        for number, path in enumerate(self.images):
            picture = read_image(path)
            self._check_size(picture.shape[1], picture.shape[0])
            self.end = (number + 1) / FOLDER_FPS
            yield Frame(number, number / FOLDER_FPS, _constant(picture), _shrinker(picture))

    def _decoded(self) -> Iterator[Frame]:
        reformatter = load("av.video.reformatter")
        full, small = reformatter.VideoReformatter(), reformatter.VideoReformatter()  # each keeps its scaler
        with _open(self.path) as container:
            stream = _video_stream(container, self.path)
            stream.thread_type = "AUTO"
            start, length = (container.start_time or 0) / 1e6, 1 / float(stream.average_rate or 25)
            number, last = -1, -1.0
            for decoded in self._packets(container, stream):
                number += 1
                time = number * length if decoded.time is None else decoded.time - start
                self._check_size(decoded.width, decoded.height)
                self._check_time(time)
                if time <= last:  # a damaged clock; the order of decoding is right all the same
                    continue
                last = time
                self.end = time + length
                yield Frame(number, time, _converter(full, decoded), _converter(small, decoded, THUMBNAIL))
            self._note_shortfall(stream)

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """The decoded frames; damaged packets are counted."""
        av = load("av")
        damaged = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._warn(f"reading stopped: {error.strerror}")
                break
            if packet is None:
                break
            try:
                damaged += bool(packet.is_corrupt)
                for frame in packet.decode():
                    damaged += bool(frame.is_corrupt)
                    yield frame
            except av.FFmpegError:
                damaged += 1
        if damaged:
            self._warn(f"{damaged} damaged packets or pictures; what could be decoded was kept")

    def _note_shortfall(self, stream: Any) -> None:
        promised = stream.duration and float(stream.duration * stream.time_base)
        if promised and self.end and promised - self.end > SHORTFALL:
            self._warn(f"its header says {promised:.1f} s, its pictures end at {self.end:.1f} s: the file is cut off")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        log.warning("%s: %s", self.path, text)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise VideoError(
                f"{self.path} has {width}x{height} pixels, the limit is {self.max_pixels:,} "
                "(--max-pixels, `Settings.max_pixels`): scale it down or raise the limit"
            )

    def _check_time(self, seconds: float) -> None:
        if seconds > self.max_seconds:
            raise VideoError(
                f"{self.path} is {seconds / 60:.1f} minutes long, the limit is {self.max_seconds / 60:g} "
                "(--max-minutes, `Settings.max_seconds`): cut it or raise the limit"
            )


def sampler(fps: float) -> Callable[[float], bool]:
    """A function that says of ascending times which to look at: the first at or after each multiple of 1/fps."""
    following = 0

    def due(time: float) -> bool:
        nonlocal following
        step = int(time * fps + 1e-3)  # a thousandth of a step: times are rounded to the file's clock
        if step < following:
            return False
        following = step + 1
        return True

    return due


def _open(path: Path) -> Any:
    av = load("av")
    try:
        with path.open("rb"):  # the system's own message for a file that is missing or may not be read
            pass
        return av.open(str(path.resolve()), options=OPTIONS, metadata_errors="replace")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; the path of a video was expected") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read: check its permissions") from None
    except av.FFmpegError as error:
        hint = (
            "it is empty"
            if not path.stat().st_size
            else f"it is no video, or cut off before its index ({error.strerror})"
        )
        raise VideoError(f"{path} cannot be opened as a video: {hint}") from error


def _video_stream(container: Any, path: Path) -> Any:
    streams = [stream for stream in container.streams.video if not stream.disposition & _cover_art()]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream"
        raise VideoError(f"{path} holds no pictures (found: {kinds}); a video was expected")
    return streams[0]


def _cover_art() -> Any:
    return load("av.stream").Disposition.attached_pic


def _header_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _converter(reformatter: Any, frame: Any, side: int | None = None) -> Callable[[], Picture]:
    def convert() -> Picture:
        scale = min(1.0, side / max(frame.width, frame.height)) if side else 1.0
        width, height = (max(2, round(length * scale)) for length in (frame.width, frame.height))
        smaller = reformatter.reformat(frame, width, height, "bgr24", interpolation="AREA" if side else "BILINEAR")
        # FFmpeg gives the turn for display counter-clockwise, as rot90 takes it.
        return np.ascontiguousarray(np.rot90(smaller.to_ndarray(), round(frame.rotation / 90)))

    return convert


def _constant(picture: Picture) -> Callable[[], Picture]:
    return lambda: picture


def _shrinker(picture: Picture) -> Callable[[], Picture]:
    cv2, scale = load("cv2"), min(1.0, THUMBNAIL / max(picture.shape[:2]))
    return lambda: cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def read_image(path: Path) -> Picture:
    """A picture file, turned upright, as [height, width, 3], blue-green-red. Raises: VideoError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a picture ({error})") from error
    return np.ascontiguousarray(np.asarray(turned)[:, :, ::-1])


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """`frame2` before `frame10`."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name) if part]
