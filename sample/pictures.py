"""What the sample corpus shows: frames with two to four drawn heads whose looks the language can tell apart.

Everything is a polygon in the head's own units (the face is two units wide, y points down, the origin is its centre),
so that a head can be scaled, tilted and mirrored; the frame is drawn at twice its size and reduced.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from .language import COLOURS, Trait

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels of the frame."""
Point = tuple[float, float]
Colour = tuple[int, ...]
"""(red, green, blue), each 0 to 255."""

FRAME = (400, 300)
SCALE = 2  # drawn larger, then reduced: smooth edges
INK = (48, 42, 46)
TOP, BOTTOM, SIDE = -2.15, 2.6, 1.6  # the box of a head, with room for a hat, in head units
PAINT = {
    "红": (212, 38, 44), "黄": (246, 202, 46), "绿": (44, 158, 78), "蓝": (46, 98, 214), "紫": (140, 66, 186),
    "黑": (42, 40, 46), "白": (242, 242, 240),
}  # fmt: skip
SKIN = [(252, 224, 200), (240, 200, 166), (222, 174, 130), (176, 122, 84), (128, 86, 62)]
WALLS = [(206, 214, 218), (222, 212, 196), (198, 210, 196), (214, 204, 212), (190, 200, 210), (226, 222, 214)]


@dataclass(frozen=True)
class Look:
    """What of a person can be seen and said. `hat` "" is no hat, `eyewear` and `extra` "" nothing."""

    gender: str
    hat: str
    hat_colour: str
    hair: str
    hair_colour: str
    eyewear: str
    clothes: str
    extra: str

    def traits(self) -> list[Trait]:
        """What can be said of it; the kinds of hat and hair only make pictures differ."""
        parts = ("hat_colour", "hair_colour", "eyewear", "clothes", "extra")
        return [(part, getattr(self, part)) for part in parts if getattr(self, part)]


def random_look(gender: str, rng: random.Random) -> Look:
    """Each part drawn for itself, so that no value tells another."""
    hat = rng.choice(["", "cap", "beanie", "tall"])
    return Look(
        gender=gender,
        hat=hat,
        hat_colour=rng.choice(COLOURS["hat_colour"]) if hat else "",
        hair=rng.choice(["long", "curly"] if hat else ["short", "long", "curly"]),  # a hat hides short hair
        hair_colour=rng.choice(COLOURS["hair_colour"]),
        eyewear=rng.choice(["", "glasses", "sunglasses"]),
        clothes=rng.choice(COLOURS["clothes"]),
        extra=rng.choice(["", "", "mask", "beard" if gender == "m" else "earrings"]),
    )


def nearly(look: Look) -> list[Look]:
    """Every look that differs from this one in the value of one attribute."""
    extras = ["mask", "beard" if look.gender == "m" else "earrings"]
    values = {**COLOURS, "eyewear": ["glasses", "sunglasses"], "extra": extras}
    return [replace(look, **{part: other}) for part, value in look.traits() for other in values[part] if other != value]


def draw_frame(looks: Sequence[Look], rng: random.Random) -> tuple[Image.Image, list[Box]]:
    """Heads from left to right in the order given -> the frame and each head's box."""
    width, height = FRAME
    image = Image.new("RGB", (width * SCALE, height * SCALE))
    draw = ImageDraw.Draw(image)
    _wall(draw, rng)
    boxes = []
    cell = width / len(looks)
    for number, look in enumerate(looks):
        largest = min(cell * 0.96 / (2 * SIDE), height * 0.9 / (BOTTOM - TOP))
        unit = largest * rng.uniform(0.74, 1.0)
        x = cell * number + rng.uniform(SIDE * unit + 1, cell - SIDE * unit - 1)
        lowest, room = height - BOTTOM * unit - 2, height - (BOTTOM - TOP) * unit - 4
        y = lowest - rng.uniform(0, min(room, 0.2 * height))
        _Head(draw, x * SCALE, y * SCALE, unit * SCALE, rng).draw(look)
        sides = (x - SIDE * unit, y + TOP * unit, x + SIDE * unit, y + BOTTOM * unit)
        x1, y1, x2, y2 = (round(side + rng.uniform(-0.06, 0.06) * unit) for side in sides)
        boxes.append((_clip(x1, width), _clip(y1, height), _clip(x2, width), _clip(y2, height)))
    return _photographed(image.reduce(SCALE), rng), boxes


def _clip(value: int, limit: int) -> int:
    return min(max(value, 0), limit)


def _wall(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """A quiet background: two tones, a few pale shapes. None of its colours is one that the language names."""
    width, height = FRAME[0] * SCALE, FRAME[1] * SCALE
    wall, floor = rng.sample(WALLS, 2)
    draw.rectangle((0, 0, width, height), wall)
    draw.rectangle((0, height * rng.uniform(0.6, 0.85), width, height), floor)
    for _ in range(rng.randint(2, 5)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height * 0.7), rng.uniform(40, 170)
        tone = tuple(channel + rng.randint(-16, 12) for channel in wall)
        shape = rng.choice([draw.rectangle, draw.ellipse])
        shape((x, y, x + size, y + size * rng.uniform(0.6, 1.3)), tone)


def _photographed(image: Image.Image, rng: random.Random) -> Image.Image:
    """Light and sensor noise of a camera."""
    noise = np.random.default_rng(rng.getrandbits(64))
    pixels = np.asarray(image, dtype=np.int32)
    light = round(256 * rng.uniform(0.88, 1.06))
    pixels = ((pixels * light) >> 8) + noise.integers(-6, 7, pixels.shape, dtype=np.int32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


class _Head:
    """One head at (x, y) with `unit` pixels to the unit."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, unit: float, rng: random.Random):
        self.canvas, self.x, self.y, self.unit, self.rng = draw, x, y, unit, rng
        tilt = math.radians(rng.uniform(-7, 7))
        self.cos, self.sin, self.mirror = math.cos(tilt), math.sin(tilt), rng.choice([-1, 1])
        self.line = max(2, round(unit / 22))

    def draw(self, look: Look) -> None:
        skin = self.tint(self.rng.choice(SKIN))
        hair, clothes = self.tint(PAINT[look.hair_colour]), self.tint(PAINT[look.clothes])
        self.hair_behind(look, hair)
        self.body(skin, clothes)
        self.oval(-0.98, 0.1, 0.2, 0.28, skin)
        self.oval(0.98, 0.1, 0.2, 0.28, skin)
        self.oval(0, 0, 1, 1.2, skin)
        if look.extra == "beard":
            self.beard(self.tint((82, 56, 42)))
        self.hair_front(look, hair)
        self.face(look)
        if look.extra == "mask":
            self.mask()
        if look.extra == "earrings":
            for side in (-1, 1):
                self.oval(side * 1.12, 0.72, 0.24, 0.3, None, outline=(226, 168, 20), width=4)
        if look.eyewear:
            self.eyewear(look.eyewear)
        if look.hat:
            getattr(self, f"hat_{look.hat}")(self.tint(PAINT[look.hat_colour]))

    def hair_behind(self, look: Look, hair: Colour) -> None:
        if look.hair == "long":
            self.shape([(-1.22, -0.6), (-1.42, 1.75), (1.42, 1.75), (1.22, -0.6)], hair)
            self.oval(0, -0.3, 1.24, 1.2, hair, outline=None)
        if look.hair == "curly":
            for angle in range(-200, 21, 22):
                turn = math.radians(angle)
                self.oval(1.12 * math.cos(turn), 1.0 * math.sin(turn) - 0.1, 0.4, 0.4, hair)

    def body(self, skin: Colour, clothes: Colour) -> None:
        bottom = (FRAME[1] * SCALE - self.y) / self.unit + 0.2
        shoulders = [(-1.52, 2.1), (-1.2, 1.62), (-0.5, 1.42), (0.5, 1.42), (1.2, 1.62), (1.52, 2.1)]
        self.shape([(-1.52, bottom), *shoulders, (1.52, bottom)], clothes, fixed=True)
        for side in (-1, 1):
            self.shape([(side * 1.12, 2.3), (side * 1.18, bottom), (side * 1.12, 2.3)], None, fixed=True)
        self.shape([(-0.36, 0.9), (-0.4, 1.5), (0, 1.78), (0.4, 1.5), (0.36, 0.9)], skin, fixed=True)

    def hair_front(self, look: Look, hair: Colour) -> None:
        cap = self.arc(0, -0.12, 1.06, 1.18, 182, 358)
        self.shape([*cap, (0.86, -0.5), (0.2, -0.74), (-0.35, -0.62), (-0.9, -0.42)], hair)
        if look.hair == "short":
            for side in (-1, 1):
                self.shape([(side * 0.72, -0.6), (side * 0.86, 0.3), (side * 1.12, 0.1), (side * 1.1, -0.5)], hair)
        if look.hair == "long":
            for side in (-1, 1):
                self.shape([(side * 0.82, -0.62), (side * 1.0, 1.7), (side * 1.42, 1.75), (side * 1.2, -0.6)], hair)
        if look.hair == "curly":
            for x in (-0.8, -0.4, 0, 0.4, 0.8):
                self.oval(x, -0.98 + 0.25 * abs(x), 0.34, 0.32, hair)

    def face(self, look: Look) -> None:
        for side in (-1, 1):
            self.oval(side * 0.4, 0.02, 0.09, 0.13, INK)
            self.shape([(side * 0.24, -0.28), (side * 0.56, -0.32), (side * 0.56, -0.24), (side * 0.24, -0.2)], INK)
            if look.gender == "f":
                self.oval(side * 0.62, 0.4, 0.17, 0.1, (240, 150, 150), outline=None)
        self.shape([(0, 0.14), (0.1, 0.36), (-0.06, 0.36)], (150, 96, 80), outline=None)
        smile = self.rng.uniform(0.06, 0.22)
        lips = (196, 60, 80) if look.gender == "f" else (140, 56, 56)
        self.shape(self.arc(0, 0.62, 0.36, smile, 0, 180), lips, outline=None)

    def beard(self, colour: Colour) -> None:
        self.shape([*self.arc(0, 0.1, 1.0, 1.22, 8, 172), (-0.5, 0.46), (0, 0.4), (0.5, 0.46)], colour)

    def mask(self) -> None:
        self.shape([(-0.78, 0.34), (0, 0.24), (0.78, 0.34), (0.62, 0.98), (0, 1.16), (-0.62, 0.98)], (176, 220, 226))
        for side in (-1, 1):
            self.shape([(side * 0.78, 0.36), (side * 0.98, 0.1), (side * 0.98, 0.16), (side * 0.78, 0.44)], INK)

    def eyewear(self, kind: str) -> None:
        dark = kind == "sunglasses"
        for side in (-1, 1):
            if dark:
                x = side * 0.42
                self.shape([(x - 0.44, -0.26), (x + 0.44, -0.26), (x + 0.36, 0.36), (x - 0.36, 0.36)], (18, 18, 22))
            else:
                self.oval(side * 0.45, 0.04, 0.4, 0.4, (206, 228, 236), width=2)
                self.oval(side * 0.4, 0.04, 0.09, 0.13, INK)
        self.shape([(-0.12, -0.02), (0.12, -0.02), (0.12, 0.06), (-0.12, 0.06)], INK)

    def hat_cap(self, colour: Colour) -> None:
        self.shape(self.arc(0, -0.55, 1.14, 1.1, 180, 360), colour)
        brim = [(-0.2, -0.72), (1.14, -0.78), (1.58, -0.6), (1.5, -0.46), (-0.2, -0.48)]
        self.shape([(x * self.mirror, y) for x, y in brim], colour)

    def hat_beanie(self, colour: Colour) -> None:
        self.oval(0, -1.84, 0.28, 0.26, colour)
        self.shape(self.arc(0, -0.6, 1.12, 1.2, 180, 360), colour)
        self.shape([(-1.2, -0.86), (1.2, -0.86), (1.2, -0.44), (-1.2, -0.44)], colour)

    def hat_tall(self, colour: Colour) -> None:
        self.shape([(-0.82, -0.7), (-0.9, -2.0), (0.9, -2.0), (0.82, -0.7)], colour)
        self.shape([(-0.84, -1.0), (-0.85, -1.24), (0.85, -1.24), (0.84, -1.0)], INK)
        self.oval(0, -0.68, 1.5, 0.2, colour)

    def tint(self, colour: Colour) -> tuple:
        return tuple(min(255, max(0, channel + self.rng.randint(-14, 14))) for channel in colour)

    def arc(self, x: float, y: float, rx: float, ry: float, start: int, end: int) -> list[Point]:
        turns = [math.radians(start + (end - start) * step / 24) for step in range(25)]
        return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Colour | None,
        outline: Colour | None = INK,
        width: float = 1,
    ) -> None:
        self.shape(self.arc(x, y, rx, ry, 0, 360), fill, outline, width)

    def shape(
        self,
        points: Sequence[Point],
        fill: Colour | None,
        outline: Colour | None = INK,
        width: float = 1,
        fixed: bool = False,
    ) -> None:
        """A polygon in head units; `fixed` ones do not tilt with the head."""
        cos, sin = (1.0, 0.0) if fixed else (self.cos, self.sin)
        placed = [
            (self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)) for x, y in points
        ]
        if fill:
            self.canvas.polygon(placed, fill)
        if outline:
            self.canvas.line([*placed, placed[0], placed[1]], outline, round(self.line * width), joint="curve")
