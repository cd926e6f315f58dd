"""Rows of which some are spoilt, in every way that a platform's data is."""

import io
import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

# What is done to a row, and a part of the message that it should then carry.
SPOILT: dict[str, tuple[dict[str, Any] | int | None, str]] = {
    "broken picture": ({"regions": ["broken.png"]}, "broken.png"),
    "no picture": ({"regions": ["text.png"]}, "text.png"),
    "200 megapixels": ({"regions": ["huge.png"]}, "limit"),
    "empty dialogue": ({"sentences": []}, "sentences is empty"),
    "wrong type": ({"sentences": {"a": 1}}, "sentences: found a value of type dict"),
    "wrong type inside": ({"sentences": ["他", 3.5]}, "sentences[1]"),
    "null": (None, "found null"),
    "a number": (7, "found int"),
    "null inside": ({"sentences": None}, "no sentences"),
    "100,000 characters": ({"sentences": ["他" * 100_000]}, "100,000 characters"),
    "no video": ({"video": 5}, "video: found a value of type int"),
}


def write_pictures(folder: Path) -> None:
    """`good.png`, and what SPOILT names."""
    Image.new("RGB", (40, 30), "red").save(folder / "good.png")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.png").write_text("no picture")
    huge = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(huge, "PNG")
    (folder / "huge.png").write_bytes(huge.getvalue())


def spoil(rows: list[dict[str, Any]], share: float, seed: int) -> tuple[list[str], dict[int, str]]:
    """The rows as lines, a share of them spoilt at random places; and what the message at each such place holds."""
    draw = random.Random(seed)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    expected: dict[int, str] = {}
    for number, place in enumerate(draw.sample(range(len(rows)), round(share * len(rows)))):
        if number % 12 == 11:
            lines[place], expected[place] = lines[place][: len(lines[place]) // 2], f"row {place}"
            continue
        change, expected[place] = list(SPOILT.values())[number % 12]
        lines[place] = json.dumps(rows[place] | change if isinstance(change, dict) else change, ensure_ascii=False)
    return lines, expected
