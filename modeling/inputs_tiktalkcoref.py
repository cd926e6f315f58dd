"""What a dialogue is, checked: its text, its speakers, its pictures and, for training, its labels.

A dialogue is a dictionary:

    sentences          list[str], or list[list[str]] with one entry a character (or token); one sentence an utterance
    speakers           list[str], one an utterance; without it the utterances alternate between two speakers
    title              str or None, context only
    regions            list of head pictures: PIL images, numpy arrays [H, W, 3] uint8, or paths; a list of pictures in
                       the place of one shows one person several times, and counts as one region
    frames, boxes      instead of regions: pictures, and {"frame": index, "bbox": [x1, y1, x2, y2] in pixels} a region
    clusters           labels: a list of clusters, each a list of [start, end], token offsets, end inclusive
    links              labels: a cluster's region, as an index into the regions, -1 for none
    region_identities  labels: the name of the person each region shows, or None
    doc_key            carried along, not read

Everything that is wrong with one raises `DialogueError`, a `ValueError` that names the place and the way out.
"""

import difflib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

TEXT = ("sentences", "speakers", "title")
PICTURES = ("regions", "frames", "boxes")
LABELS = ("clusters", "links", "region_identities")
KEYS = (*TEXT, *PICTURES, *LABELS, "doc_key")
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's names of grey pictures of more than 8 bits
MAX_PIXELS = 64_000_000  # twice an 8K frame; a larger picture is taken for a decompression bomb


class DialogueError(ValueError):
    """A dialogue that cannot be read; the message says where, what was found, and what to do."""

    for_user = True  # not an error of the program: see tiktalkcoref.files.errors


@dataclass
class Dialogue:
    """The text of a dialogue, checked.

    Attributes:
        units: the characters (or tokens) of each utterance; a unit is what offsets count.
        speakers: the speaker's number of each utterance; the first speaker seen is 0.
        title: the title, or "" where there is none.
    """

    units: list[list[str]]
    speakers: list[int]
    title: str


def read_text(dialogue: Any, where: str = "dialogue") -> Dialogue:
    """Check a dialogue's keys, sentences, speakers and title.

    Args:
        dialogue: the dictionary described above.
        where: how error messages call it, e.g. "dialogue 3".
    Raises:
        DialogueError: an unknown key, no utterance, an empty one, a wrong type, speakers that do not match.
    """
    if not isinstance(dialogue, Mapping):
        raise DialogueError(
            f"{where}: found {_a(dialogue)}, expected a dictionary such as "
            '{"sentences": ["…", "…"], "speakers": ["A", "B"]}.'
        )
    check_keys(dialogue, KEYS, where)
    units = _read_sentences(dialogue.get("sentences"), where)
    title = dialogue.get("title")
    if title is not None:
        _need_text(title, f"{where}: title", "a string or None")
    return Dialogue(units, _read_speakers(dialogue.get("speakers"), len(units), where), (title or "").strip())


def check_keys(dialogue: Mapping, known: Sequence[str], where: str) -> None:
    """Raise DialogueError for a key that is not among `known`, naming the nearest one that is."""
    for key in dialogue:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise DialogueError(f"{where}: unknown key {key!r}. {hint}Known keys: {', '.join(known)}.")


def read_labels(dialogue: Mapping, n_units: int, n_regions: int | None, where: str = "dialogue") -> dict[str, Any]:
    """Check the labels of a dialogue of `n_units` characters.

    Args:
        n_regions: how many regions it has; None where they are not read (a text-only model): then links and
            identities come back as None.
    Returns:
        clusters: list of clusters, each a list of (start, end) tuples, end inclusive;
        links: list[int], or None where the dialogue has no links (it then trains no linking);
        region_identities: list[str | None], one a region, or None.
    Raises:
        DialogueError: labels that are missing, outside the dialogue, or of another length than what they label.
    """
    clusters: Any = dialogue.get("clusters")
    expected = (
        "a list of clusters, each a list of [start, end] token offsets. Give labels=False to read a dialogue without "
        "labels"
    )
    _need_list(clusters, f"{where}: clusters", expected)
    checked = [
        [_read_span(span, n_units, f"{where}: clusters[{i}][{j}]") for j, span in enumerate(cluster)]
        for i, cluster in enumerate(clusters)
    ]
    labels: dict[str, Any] = {"clusters": checked, "links": None, "region_identities": None}
    if n_regions is None:
        return labels
    links = dialogue.get("links")
    if links is not None:
        if len(links) != len(checked):
            raise DialogueError(f"{where}: links: found {len(links)} for {len(checked)} clusters, expected one each.")
        for i, link in enumerate(links):
            if not _is_integer(link) or not -1 <= link < n_regions:
                raise DialogueError(
                    f"{where}: links[{i}]: found {link!r}, expected an index into the {n_regions} regions, or -1."
                )
        labels["links"] = [int(link) for link in links]
    identities = dialogue.get("region_identities")
    if identities is not None:
        if len(identities) != n_regions:
            raise DialogueError(
                f"{where}: region_identities: found {len(identities)} for {n_regions} regions, expected one each."
            )
        labels["region_identities"] = list(identities)
    return labels


def read_regions(dialogue: Mapping, where: str = "dialogue") -> list[list[Image.Image]]:
    """Load the regions of a dialogue as RGB images, in order: its `regions`, or its `boxes` cut from its `frames`.

    Returns:
        the pictures of each region: one, or several where the region is given as a list of pictures.
    Raises:
        DialogueError: both ways at once, boxes without frames, a picture that cannot be read, has no pixels or more
            than MAX_PIXELS of them, a region without pictures, a box that is empty or leaves its frame.
    """
    regions, frames, boxes = (_read_list(dialogue, key, where) for key in ("regions", "frames", "boxes"))
    if regions and (frames or boxes):
        raise DialogueError(f"{where}: both regions and frames with boxes are given; give one of the two.")
    if boxes and not frames:
        raise DialogueError(f"{where}: {len(boxes)} boxes but no frames to cut them from; give frames too, or regions.")
    if regions:
        return [_open_region(region, f"{where}: regions[{i}]") for i, region in enumerate(regions)]
    pictures: dict[int, Image.Image] = {}
    crops = []
    for i, box in enumerate(boxes):
        number = _frame_of(box, len(frames), f"{where}: boxes[{i}]")
        if number not in pictures:
            pictures[number] = open_picture(frames[number], f"{where}: frames[{number}]")
        crops.append([_crop(pictures[number], box["bbox"], number, f"{where}: boxes[{i}]")])
    return crops


def _open_region(region: Any, where: str) -> list[Image.Image]:
    if not _is_list(region):
        return [open_picture(region, where)]
    if not region:
        raise DialogueError(f"{where}: found an empty list, expected a picture, or a list of at least one.")
    return [open_picture(picture, f"{where}[{i}]") for i, picture in enumerate(region)]


def open_picture(picture: Any, where: str = "picture") -> Image.Image:
    """A PIL image, a numpy array [H, W], [H, W, 1|3|4] of uint8, or a path, as an RGB image, turned as its EXIF says.

    Raises:
        DialogueError: a picture that cannot be read, has no pixels, or has more than MAX_PIXELS.
    """
    is_path = isinstance(picture, str | os.PathLike)
    name = repr(os.fspath(picture)) if is_path else "the picture"
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, where)
    elif is_path:
        picture = _from_path(picture, where)
    elif not isinstance(picture, Image.Image):
        raise DialogueError(f"{where}: found {_a(picture)}, expected a PIL image, a numpy array, or a path.")
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DialogueError(
            f"{where}: {name} is {width} x {height} = {width * height:,} pixels, more than the limit of "
            f"{MAX_PIXELS:,}; scale it down first."
        )
    if width * height == 0:
        raise DialogueError(f"{where}: {name} is {width} x {height}: it has no pixels.")
    try:
        # the size was read from the header: only now is the picture decoded
        turned = ImageOps.exif_transpose(picture)
        return (turned if turned.mode not in DEEP_MODES else _in_eight_bits(turned, where, name)).convert("RGB")
    except DialogueError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise DialogueError(f"{where}: cannot read {name}: {error}.") from error


def _in_eight_bits(picture: Image.Image, where: str, name: str) -> Image.Image:
    """A grey picture of 16 or 32 bits or of floats, scaled by the range of its type (which Pillow would clip)."""
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.floating):
        top = 1.0 if high <= 1 else 255.0
    else:
        top = 255.0 if picture.mode == "I" and high <= 255 else 65_535.0 if high <= 65_535 else 2_147_483_647.0
    if not 0 <= low <= high <= top:  # NaN too
        raise DialogueError(
            f"{where}: {name} holds values from {low:g} to {high:g} in mode {picture.mode}; expected 0 to 1, 0 to 255, "
            "or the range of unsigned integers: scale it first."
        )
    return Image.fromarray((values.astype(np.float32) * (255 / top)).round().astype(np.uint8))


def _from_path(path: str | os.PathLike, where: str) -> Image.Image:
    try:
        if stat.S_IFMT(os.stat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise DialogueError(f"{where}: {os.fspath(path)!r} is a pipe, socket or device, expected a picture file.")
        return Image.open(path)
    except DialogueError:
        raise
    except FileNotFoundError as error:
        raise DialogueError(f"{where}: no such file: {os.fspath(path)!r}.") from error
    except UnidentifiedImageError as error:
        raise DialogueError(f"{where}: {os.fspath(path)!r} is not a picture that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        raise DialogueError(
            f"{where}: {os.fspath(path)!r} is more than the limit of {MAX_PIXELS:,} pixels; scale it down first."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DialogueError(f"{where}: cannot read {os.fspath(path)!r}: {error}.") from error


def _from_array(array: np.ndarray, where: str) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DialogueError(
            f"{where}: found an array of shape {array.shape} and type {array.dtype}, expected [height, width, 3] of "
            "uint8; channels come last, and floats in [0, 1] are turned by (array * 255).astype('uint8')."
        )
    if array.size == 0:
        raise DialogueError(f"{where}: found an array of shape {array.shape}: it has no pixels.")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _frame_of(box: Any, n_frames: int, where: str) -> int:
    if not isinstance(box, Mapping) or set(box) != {"frame", "bbox"}:
        found = f"keys {sorted(map(str, box))}" if isinstance(box, Mapping) else _a(box)
        raise DialogueError(f'{where}: found {found}, expected {{"frame": index, "bbox": [x1, y1, x2, y2]}}.')
    number = box["frame"]
    if not _is_integer(number) or not 0 <= number < n_frames:
        raise DialogueError(f"{where}: frame: found {number!r}, expected an index into the {n_frames} frames.")
    return int(number)


def _crop(frame: Image.Image, bbox: Any, number: int, where: str) -> Image.Image:
    if isinstance(bbox, np.ndarray):
        bbox = bbox.tolist()
    if not _is_list(bbox) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise DialogueError(f"{where}: bbox: found {bbox!r}, expected four numbers [x1, y1, x2, y2] in pixels.")
    x1, y1, x2, y2 = (round(value) for value in bbox)
    if x2 <= x1 or y2 <= y1:
        raise DialogueError(f"{where}: bbox {list(bbox)} is empty; expected x1 < x2 and y1 < y2, in pixels.")
    if x1 < 0 or y1 < 0 or x2 > frame.width or y2 > frame.height:
        raise DialogueError(
            f"{where}: bbox {list(bbox)} leaves frames[{number}], which is {frame.width} x {frame.height}; "
            "clip it to the frame first."
        )
    return frame.crop((x1, y1, x2, y2))


def _read_sentences(sentences: Any, where: str) -> list[list[str]]:
    _need_list(sentences, f"{where}: sentences", "a list with one string (or list of characters) an utterance")
    if not sentences:
        raise DialogueError(f"{where}: sentences is empty; expected at least one utterance.")
    units = []
    for i, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            _need_list(sentence, f"{where}: sentences[{i}]", "a string or a list of characters")
            for j, unit in enumerate(sentence):
                if not unit or not isinstance(unit, str):
                    _need_text(unit, f"{where}: sentences[{i}][{j}]", "a character (or token) as a string")
                    raise DialogueError(f"{where}: sentences[{i}][{j}] is an empty token; leave it out.")
        units.append(list(sentence))
        if not units[-1]:
            raise DialogueError(f"{where}: sentences[{i}] is empty; leave out utterances without text.")
    return units


def _read_speakers(speakers: Any, n_utterances: int, where: str) -> list[int]:
    if speakers is None:
        return [i % 2 for i in range(n_utterances)]
    _need_list(speakers, f"{where}: speakers", "a list with one name an utterance")
    for i, speaker in enumerate(speakers):
        _need_text(speaker, f"{where}: speakers[{i}]", "a name as a string")
    if len(speakers) != n_utterances:
        found = "more" if len(speakers) > n_utterances else "fewer"
        raise DialogueError(
            f"{where}: {found} speakers than utterances: found {len(speakers)} speakers for {n_utterances} "
            "utterances, expected one each (repeat the name of one who speaks again)."
        )
    numbers: dict[str, int] = {}
    return [numbers.setdefault(speaker, len(numbers)) for speaker in speakers]


def _read_span(span: Any, n_units: int, where: str) -> tuple[int, int]:
    if not _is_list(span) or len(span) != 2 or not all(_is_integer(offset) for offset in span):
        raise DialogueError(f"{where}: found {span!r}, expected [start, end], two token offsets.")
    start, end = span
    if not 0 <= start <= end < n_units:
        raise DialogueError(
            f"{where}: found [{start}, {end}] in a dialogue of {n_units} tokens; expected "
            f"0 <= start <= end < {n_units}, the end inclusive."
        )
    return int(start), int(end)


def _read_list(dialogue: Mapping, key: str, where: str) -> Sequence:
    value = dialogue.get(key)
    if value is None:
        return ()
    _need_list(value, f"{where}: {key}", "a list")
    return value


def _need_list(value: Any, where: str, expected: str) -> None:
    if not _is_list(value):
        raise DialogueError(f"{where}: found {_a(value)}, expected {expected}.")


def _need_text(value: Any, where: str, expected: str) -> None:
    if not isinstance(value, str):
        raise DialogueError(f"{where}: found {_a(value)}, expected {expected}.")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) and np.isfinite(value)) or isinstance(value, np.floating) or _is_integer(value)


def _a(value: Any) -> str:
    """A value's type, as a message names it."""
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
