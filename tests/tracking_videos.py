"""Videos with known persons, made in the test: photographs moved over a background, 720p, 25 pictures a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

WIDTH, HEIGHT, RATE = 1280, 720, 25

# Heads (hair to chin, ear to ear) and the width of the face, marked by hand in the photographs: x1, y1, x2, y2; px.
HEADS = {
    "astronaut.png": ((160, 25, 300, 182), 90),
    "biden.jpg": ((402, 80, 733, 573), 276),
    "obama.jpg": ((350, 25, 642, 430), 232),
    "obama2.jpg": ((172, 165, 520, 625), 276),
    "obama3.jpg": ((600, 222, 920, 622), 264),
}


@dataclass
class Cutout:
    """A person cut out of a photograph, head and shoulders."""

    image: Image.Image
    head: tuple[float, float, float, float]
    face: float  # width of the face, px


@dataclass
class Actor:
    """Somebody in a shot: where the head's centre is (px) and how wide the face (px), by seconds since the cut."""

    person: str
    cutout: Cutout
    place: Callable[[float], tuple[float, float]]
    face: Callable[[float], float]


@dataclass
class Shot:
    """Actors are painted in their order, the last one in front; `bars` (x1, x2) stand before all of them."""

    seconds: float
    actors: Sequence[Actor]
    colour: tuple[int, int, int] = (90, 110, 130)
    bars: Sequence[tuple[int, int]] = ()


@dataclass
class Truth:
    """Per picture: persons, their heads [N, 4], the widths of their faces and the share of each that is to be seen."""

    persons: list[list[str]] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    faces: list[list[float]] = field(default_factory=list)
    visible: list[list[float]] = field(default_factory=list)


def cutout(
    photograph: Path, mirror: bool = False, brightness: float = 1.0, blur: float = 0.0, tighter: float = 1.0
) -> Cutout:
    """The person of a photograph in `HEADS`, varied; `blur` in widths of the face."""
    (x1, y1, x2, y2), face = HEADS[photograph.name]
    width, height = x2 - x1, y2 - y1
    image = Image.open(photograph).convert("RGB")
    margins = (0.6 * tighter * width, 0.3 * tighter * height, 0.6 * tighter * width, 0.8 * tighter * height)
    left, top = max(0, x1 - margins[0]), max(0, y1 - margins[1])
    right, bottom = min(image.width, x2 + margins[2]), min(image.height, y2 + margins[3])
    image = image.crop((round(left), round(top), round(right), round(bottom)))
    head = (x1 - left, y1 - top, x2 - left, y2 - top)
    if mirror:
        image = ImageOps.mirror(image)
        head = (image.width - head[2], head[1], image.width - head[0], head[3])
    if brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(brightness)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur * face))
    return Cutout(image, head, face)


def still(x: float, y: float) -> Callable[[float], tuple[float, float]]:
    """Stands, but for a little sway."""
    return lambda t: (x + 6 * np.sin(2 * t), y + 4 * np.sin(3 * t))


def moving(
    start: tuple[float, float], end: tuple[float, float], seconds: float
) -> Callable[[float], tuple[float, float]]:
    """From one place to another in a straight line."""
    return lambda t: tuple(a + (b - a) * min(1.0, t / seconds) for a, b in zip(start, end, strict=True))


def steady(face: float) -> Callable[[float], float]:
    """A face of this width."""
    return lambda t: face


def growing(start: float, end: float, seconds: float) -> Callable[[float], float]:
    """A zoom: the width grows by the same factor each second."""
    return lambda t: start * (end / start) ** min(1.0, t / seconds)


def render(shots: Sequence[Shot], seed: int = 0) -> tuple[list[np.ndarray], Truth]:
    """The pictures [720, 1280, 3], red-green-blue, and what is in them."""
    pictures, truth = [], Truth()
    for number, shot in enumerate(shots):
        background = _background(shot.colour, seed + number)
        for frame in range(round(shot.seconds * RATE)):
            picture = background.copy()
            heads = [_paint(picture, actor, frame / RATE) for actor in shot.actors]
            for x1, x2 in shot.bars:
                picture.paste((40, 35, 30), (x1, 0, x2, HEIGHT))
            pictures.append(np.asarray(picture))
            _note(truth, shot, [box for box, _ in heads], [area for _, area in heads], frame / RATE)
    return pictures, truth


def write_video(
    path: Path, pictures: Sequence[np.ndarray], codec: str = "libx264", rate: int = RATE, **options
) -> Path:
    """Encode pictures; `crf` and the like are the codec's options, `rotation` is the display's."""
    import av

    rotation = options.pop("rotation", None)
    container_options = options.pop("container_options", {})
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {key: str(value) for key, value in options.items()}
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _background(colour: tuple[int, int, int], seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = np.clip(np.array(colour) + generator.normal(0, 25, (9, 16, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def _paint(picture: Image.Image, actor: Actor, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Paste an actor; returns the box of the head and the area that is covered."""
    x, y = actor.place(t)
    person = actor.cutout
    scale = actor.face(t) / person.face
    size = [max(1, round(length * scale)) for length in person.image.size]
    head = np.array(person.head) * scale
    corner = np.array([x, y]) - (head[:2] + head[2:]) / 2
    picture.paste(person.image.resize(size, Image.Resampling.BICUBIC), tuple(np.round(corner).astype(int)))
    return head + np.tile(corner, 2), np.concatenate([corner, corner + size])


def _note(truth: Truth, shot: Shot, boxes: list[np.ndarray], areas: list[np.ndarray], t: float) -> None:
    frame = np.array([0, 0, WIDTH, HEIGHT])
    bars = [np.array([x1, 0, x2, HEIGHT]) for x1, x2 in shot.bars]
    visible = []
    for number, box in enumerate(boxes):
        hidden = max([_covered(box, cover) for cover in [*areas[number + 1 :], *bars]], default=0.0)
        visible.append(min(1 - hidden, _covered(box, frame)))
    truth.persons.append([actor.person for actor in shot.actors])
    truth.boxes.append(np.clip(np.array(boxes).reshape(-1, 4), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]))
    truth.faces.append([actor.face(t) for actor in shot.actors])
    truth.visible.append(visible)


def _covered(box: np.ndarray, cover: np.ndarray) -> float:
    """Which share of the box lies under the cover."""
    sides = np.clip(np.minimum(box[2:], cover[2:]) - np.maximum(box[:2], cover[:2]), 0, None)
    return float(sides.prod() / (box[2:] - box[:2]).prod())
