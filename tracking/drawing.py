"""Pictures of what was found: a row a person over a timeline, and the video with boxes."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .detections import Picture
from .entities import Entity, VideoEntities
from .extra import load
from .tracks import Track
from .video import Video

# Tableau's ten colours: told apart on dark and on light pictures.
COLOURS = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac",
)  # fmt: skip
ROWS = 40  # persons drawn on a contact sheet
SIDE, GAP, LEFT, LINE = 96, 8, 150, 1000  # of a contact sheet, px: crops, distances, names, timeline
ANNOTATED_SIDE = 1280  # long side of the annotated video


def contact_sheet(found: VideoEntities) -> Image.Image:
    """A row a person: name, crops, and a bar over the video's time wherever it is seen; lines where shots begin."""
    entities = found.entities[:ROWS]
    row, head, crops = SIDE + 26 + 2 * GAP, 64, max([len(entity.crops) for entity in entities], default=1)
    start = LEFT + crops * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (start + LINE + 3 * GAP, head + max(1, len(entities)) * row + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    _title(draw, found, len(entities))
    seconds = max(found.seconds, 1e-3)

    def x(time: float) -> float:
        return start + LINE * min(time / seconds, 1.0)

    _axis(draw, found, x, head, sheet.height - GAP)
    for number, entity in enumerate(entities):
        top = head + number * row
        draw.line((GAP, top, sheet.width - GAP, top), "#dddddd")
        _row(sheet, draw, entity, top + GAP, found.settings.fps, x)
    if not entities:
        draw.text((GAP * 2, head + GAP * 2), "no face was found", "#666666", font=_font(16))
    return sheet


def write_annotated(video: Video, found: VideoEntities, path: Path, progress: Callable[[float], object]) -> None:
    """Encode the video (H.264) with a coloured, numbered box around each person; between samples boxes move evenly."""
    av = load("av")
    scale = min(1.0, ANNOTATED_SIDE / max(found.width, found.height, 1))
    width, height = (max(2, round(length * scale / 2) * 2) for length in (found.width, found.height))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)  # pictures keep their own times
        tracks = [(entity.id, track) for entity in found.entities for track in entity.tracks]
        last = -1
        for frame in video.frames():
            picture = _resized(frame.picture(), width, height)
            for number, track in tracks:
                box = box_at(track, frame.time, 1.5 / found.settings.fps)
                if box is not None:
                    _box(picture, np.array(box) * np.tile([width / found.width, height / found.height], 2), number)
            encoded = av.VideoFrame.from_ndarray(picture, format="bgr24")
            last = max(last + 1, round(frame.time * 1000))
            encoded.pts, encoded.time_base = last, Fraction(1, 1000)
            container.mux(stream.encode(encoded))
            progress(frame.time)
        container.mux(stream.encode())


def box_at(track: Track, time: float, reach: float) -> list[float] | None:
    """The box at any time, moved evenly between two samples at most `reach` seconds apart; None: not to be seen."""
    times = track.times
    if not times[0] <= time < times[-1] + reach / 1.5:
        return None
    after = int(np.searchsorted(times, time, side="right"))
    before = after - 1
    if after == len(times):
        return track.boxes[before]
    gap = times[after] - times[before]
    if gap > reach:
        return track.boxes[before] if time - times[before] < reach / 1.5 else None
    share = (time - times[before]) / gap
    return (np.array(track.boxes[before]) * (1 - share) + np.array(track.boxes[after]) * share).tolist()


def _title(draw: ImageDraw.ImageDraw, found: VideoEntities, drawn: int) -> None:
    count = len(found.entities)
    persons = "1 person" if count == 1 else f"{count} persons" + (f" ({drawn} drawn)" if drawn < count else "")
    draw.text((2 * GAP, GAP), found.video, "#222222", font=_font(18))
    shots = "1 shot" if len(found.shots) == 1 else f"{len(found.shots)} shots"
    draw.text((2 * GAP, GAP + 26), f"{persons} · {shots} · {found.seconds:.1f} s", "#666666", font=_font(13))


def _axis(draw: ImageDraw.ImageDraw, found: VideoEntities, x: Callable[[float], float], top: int, bottom: int) -> None:
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800)
    step = next((step for step in steps if found.seconds / step <= 12), steps[-1])
    for number in range(int(found.seconds / step) + 1):
        time = number * step
        text = f"{time:g} s" if found.seconds < 120 else f"{int(time) // 60}:{int(time) % 60:02d}"
        draw.text((x(time), top - 20), text, "#888888", font=_font(12), anchor="ma")
        draw.line((x(time), top - 4, x(time), top), "#888888")
    for start, _ in found.shots:
        draw.line((x(start), top, x(start), bottom), "#c8c8c8", 1)


def _row(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, entity: Entity, top: int, fps: float, x: Callable[[float], float]
) -> None:
    colour = COLOURS[entity.id % len(COLOURS)]
    seen = sum(len(track.times) for track in entity.tracks)
    draw.rectangle((GAP, top, GAP + 5, top + SIDE + 24), colour)
    draw.text((3 * GAP, top + 20), f"person {entity.id}", "#222222", font=_font(18))
    draw.text((3 * GAP, top + 46), f"{seen / fps:.1f} s, {len(entity.tracks)} tracks", "#666666", font=_font(12))
    for number, crop in enumerate(entity.crops):
        left = LEFT + number * (SIDE + GAP)
        if crop.picture is not None:
            sheet.paste(_thumbnail(crop.picture), (left, top))
        draw.text((left + SIDE / 2, top + SIDE + 4), f"{crop.time:.1f} s", "#888888", font=_font(12), anchor="ma")
    middle = top + SIDE // 2
    for track in entity.tracks:
        for first, last in _stretches(track.times, 1.5 / fps):
            draw.rectangle((x(first), middle - 14, max(x(first) + 2, x(last + 1 / fps) - 1), middle + 14), colour)


def _stretches(times: list[float], reach: float) -> list[tuple[float, float]]:
    """From when to when, without the gaps."""
    edges = [0, *(np.flatnonzero(np.diff(times) > reach) + 1), len(times)]
    return [(times[first], times[end - 1]) for first, end in pairwise(edges)]


def _thumbnail(picture: Picture) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    scale = SIDE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (SIDE, SIDE), "#f2f2f2")
    tile.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return tile


def _resized(picture: Picture, width: int, height: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture.copy()
    cv2 = load("cv2")
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _box(picture: Picture, box: Any, number: int) -> None:
    cv2 = load("cv2")
    red, green, blue = (int(COLOURS[number % len(COLOURS)][place : place + 2], 16) for place in (1, 3, 5))
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(picture, (x1, y1), (x2, y2), (blue, green, red), 3)
    text, font = str(number), cv2.FONT_HERSHEY_SIMPLEX
    (width, height), _ = cv2.getTextSize(text, font, 0.7, 2)
    top = max(0, y1 - height - 8)
    cv2.rectangle(picture, (x1 - 1, top), (x1 + width + 8, top + height + 8), (blue, green, red), -1)
    cv2.putText(picture, text, (x1 + 4, top + height + 3), font, 0.7, (255, 255, 255), 2, cv2.LINE_AA)


def _font(size: int) -> Any:
    """One that has Chinese letters, if the system has one: videos are often called so."""
    for name in ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "msyh.ttc", "PingFang.ttc", "DejaVuSans.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
