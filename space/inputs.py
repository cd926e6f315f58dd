"""What visitors give, checked: lines of a chat, pictures, boxes and videos become a dialogue for the pipeline."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tiktalkcoref.files.errors import UserError

from .heads import find_heads
from .texts import say

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
NAME_LENGTH = 12  # what stands before a colon is a speaker's name up to this many characters
MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What is accepted, as the page says."""

    characters: int = 4000
    utterances: int = 100
    pictures: int = 12
    picture_megabytes: int = 10
    megapixels: int = 24
    video_megabytes: int = 50
    video_seconds: int = 60


LIMITS = Limits()


class InputError(UserError):
    """Something that is refused: at which field, and why, in the visitor's language.

    Args:
        field: "chat", "pictures", "frame" or "video".
        key: of the text that says why (`texts.py`), with its values.
    """

    def __init__(self, field: str, key: str, **values: object) -> None:
        super().__init__(say(key, "en", **values))
        self.field, self.key, self.values = field, key, values

    def message(self, language: str) -> str:
        """Why, in a language."""
        return say(self.key, language, **self.values)


@dataclass(frozen=True)
class Visit:
    """What was given: the words, and files as paths of uploads; `boxes` as `read_boxes` takes them."""

    sentences: Sequence[str] = ()
    speakers: Sequence[str] = ()
    title: str = ""
    pictures: Sequence[str] = ()
    frame: str | None = None
    boxes: str = ""
    video: str | None = None


def read_visit(visit: Visit) -> dict[str, Any]:
    """The dialogue: a dictionary that the pipeline takes, but for the video, which is only checked.

    Raises:
        InputError: what is refused.
    """
    _check_text(visit)
    dialogue: dict[str, Any] = {"sentences": list(visit.sentences), "title": visit.title.strip() or None}
    if visit.speakers:
        dialogue["speakers"] = list(visit.speakers)
    kinds = [kind for kind in ("pictures", "frame", "video") if getattr(visit, kind)]
    if len(kinds) > 1:
        raise InputError(kinds[1], "several_kinds", found=len(kinds))
    if visit.pictures:
        dialogue["regions"] = read_pictures(visit.pictures)
    elif visit.frame:
        frame = read_picture(visit.frame, "frame")
        boxes = read_boxes(visit.boxes, frame.size) if visit.boxes.strip() else detect_boxes(frame)
        dialogue["frames"] = [frame]
        dialogue["boxes"] = [{"frame": 0, "bbox": box} for box in boxes]
    elif visit.boxes.strip():
        raise InputError("frame", "no_frame")
    elif visit.video:
        _check_file(visit.video, LIMITS.video_megabytes, "video")
    return dialogue


def read_chat(text: str) -> tuple[list[str], list[str]]:
    """Utterances and speakers of a chat, one utterance a line: `甲：你好`, `A: 你好`, or the words alone.

    A line without a name goes on with the speaker of the line before; where the first line has none, no line has one,
    and the list of speakers is empty.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [re.fullmatch(rf"([^：:]{{1,{NAME_LENGTH}}})[：:]\s*(.+)", line) for line in lines]
    if not lines or named[0] is None:
        return lines, []
    sentences: list[str] = []
    speakers: list[str] = []
    for line, match in zip(lines, named, strict=True):
        sentences.append(match[2] if match else line)
        speakers.append(match[1].strip() if match else speakers[-1])
    return sentences, speakers


def split_chat(text: str) -> list[list[str]]:
    """A chat as rows of [speaker, words], those who are not named by turns A and B."""
    sentences, speakers = read_chat(text)
    return [[speakers[n] if speakers else "AB"[n % 2], sentence] for n, sentence in enumerate(sentences)]


def read_rows(rows: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Utterances and speakers of rows of (speaker, words); empty rows are left out.

    A row without a speaker goes on with the one of the row before.
    """
    sentences: list[str] = []
    speakers: list[str] = []
    for speaker, words in rows or ():
        if words.strip():
            sentences.append(words.strip())
            speakers.append(speaker.strip() or (speakers[-1] if speakers else "A"))
    return sentences, speakers


def read_pictures(paths: Sequence[str]) -> list[Image.Image]:
    """The pictures of heads.

    Raises:
        InputError: too many, too large, or no picture.
    """
    if len(paths) > LIMITS.pictures:
        raise InputError("pictures", "too_many_pictures", found=len(paths), limit=LIMITS.pictures)
    return [read_picture(path, "pictures") for path in paths]


def read_picture(path: str, field: str) -> Image.Image:
    """A picture as RGB, turned as its EXIF says; its size is checked before it is decoded."""
    name = _check_file(path, LIMITS.picture_megabytes, field)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            megapixels = picture.width * picture.height / MEGA
            if megapixels > LIMITS.megapixels:
                raise InputError(field, "too_many_pixels", name=name, found=megapixels, limit=LIMITS.megapixels)
            return ImageOps.exif_transpose(picture).convert("RGB")
    except InputError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise what its decoders raise, SyntaxError among them
        raise InputError(field, "no_picture", name=name) from error


def read_boxes(text: str, size: tuple[int, int]) -> list[list[int]]:
    """Boxes [x1, y1, x2, y2] in pixels, one a line, in a frame of `size` (width, height)."""
    boxes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        box = [int(value) for value in re.findall(r"-?\d{1,6}", line)]
        x1, y1, x2, y2 = box if len(box) == 4 else (0, 0, 0, 0)
        if not (0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]):
            raise InputError("frame", "bad_box", line=number, found=line[:60], width=size[0], height=size[1])
        boxes.append(box)
    if len(boxes) > LIMITS.pictures:
        raise InputError("frame", "too_many_pictures", found=len(boxes), limit=LIMITS.pictures)
    return boxes


def write_boxes(boxes: Sequence[Sequence[object]]) -> str:
    """Boxes as `read_boxes` takes them."""
    return "\n".join(", ".join(map(str, box)) for box in boxes)


def detect_boxes(frame: Image.Image) -> list[list[int]]:
    """Boxes of the heads that are found in a frame.

    Raises:
        InputError: none is, or there is nothing here to find them.
    """
    try:
        boxes = find_heads(frame, LIMITS.pictures)
    except UserError as error:  # no weights, or no extra `tracking`
        raise InputError("frame", "no_detector") from error
    if not boxes:
        raise InputError("frame", "no_boxes")
    return boxes


def _check_text(visit: Visit) -> None:
    """Raise InputError for nothing, for more than the limits, and for speakers that do not match."""
    if not any(sentence.strip() for sentence in visit.sentences):
        raise InputError("chat", "no_words")
    if len(visit.sentences) > LIMITS.utterances:
        raise InputError("chat", "too_many_lines", found=len(visit.sentences), limit=LIMITS.utterances)
    characters = sum(map(len, [visit.title, *visit.sentences, *visit.speakers]))
    if characters > LIMITS.characters:
        raise InputError("chat", "too_long", found=characters, limit=LIMITS.characters)
    if visit.speakers and len(visit.speakers) != len(visit.sentences):
        raise InputError("chat", "speakers_differ", found=len(visit.speakers), expected=len(visit.sentences))


def _check_file(path: str, limit: int, field: str) -> str:
    """The file's name, cut for messages; its size within the limit."""
    name = Path(path).name[:60]
    try:
        megabytes = Path(path).stat().st_size / MEGA
    except OSError as error:
        raise InputError(field, "gone", name=name) from error
    if megabytes > limit:
        raise InputError(field, "file_too_large", name=name, found=megabytes, limit=limit)
    return name
