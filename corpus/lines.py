"""The lines of a corpus file: bytes to typed structs, or what is wrong with them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from tiktalkcoref.files.errors import UserError

from .problems import Fault
from .records import Annotation, Box, SplitEntry, TitleEntry

Line = TypeVar("Line", Annotation, SplitEntry, TitleEntry)
Entry = TypeVar("Entry", SplitEntry, TitleEntry)
Decoded: TypeAlias = tuple[Annotation | None, str | None, list[Fault]]  # what `decode` says of an annotation

# What a field holds, for messages; `[]` stands for any number.
EXPECTED = {
    "doc_key": "the video's id, a text",
    "video_id": "the video's id, a text",
    "genre": "a text",
    "sentences": "lists of tokens, one an utterance",
    "speaker_ids": "lists of texts, one an utterance",
    "sentence_map": "lists of whole numbers, 0 or more, one an utterance",
    "subtoken_map": "lists of whole numbers, 0 or more, one an utterance",
    "clusters": "a list of clusters",
    "clusters[]": "a list of at least one mention",
    "clusters[][]": "[start, end], two whole numbers",
    "entity_labels": "a list of texts, one a cluster",
    "entity_label": "a list of texts, one a cluster",
    "visual_annotations": "a list of boxes",
    "visual_annotations[]": "an object",
    "visual_annotations[].cur_frame": "a frame number, 0 or more",
    "visual_annotations[].bbox": "[x1, y1, x2, y2] in whole pixels",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors begin a file with one

_DECODERS: dict[type, Any] = {kind: msgspec.json.Decoder(kind) for kind in (Annotation, SplitEntry, TitleEntry)}


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    r"""Number, byte offset and bytes of each line that is not blank. A line ends at `\n` and nowhere else."""
    start = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1 and raw.startswith(BYTE_ORDER_MARK):
                start = len(BYTE_ORDER_MARK)
                raw = raw[start:]
            if not raw.isspace():
                yield number, start, raw
            start += len(raw)


def decode(raw: bytes, kind: type[Line]) -> tuple[Line | None, str | None, list[Fault]]:
    """The line as a struct (None where it is none), its key (where it has one), and what is wrong with it.

    A key that stands twice in an object is an error: which value was meant cannot be told.
    """
    try:
        line = _DECODERS[kind].decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _explain(raw, kind, str(error))
    # Each key has its colon: where there are no more than values, no key is unknown and none stands twice.
    values = msgspec.structs.astuple(line)
    n_keys = len(values) - values.count(None)
    for box in line.visual_annotations if kind is Annotation else ():
        values_of_box = msgspec.structs.astuple(box)
        n_keys += len(values_of_box) - values_of_box.count(None)
    if raw.count(b":") == n_keys:
        return line, values[0], []
    doubles: list[str] = []  # or there is a colon in a text
    try:
        _parse(raw, doubles)
    except ValueError as error:
        return None, None, [Fault("error", None, str(error))]
    return (None if doubles else line), values[0], _doubled(doubles)


def _explain(raw: bytes, kind: type[Line], otherwise: str) -> tuple[None, str | None, list[Fault]]:
    """The key and the faults of a line, found slowly; `otherwise`: the message where Python's JSON sees nothing."""
    doubles: list[str] = []
    try:
        value = _parse(raw, doubles)
    except ValueError as error:
        return None, None, [Fault("error", None, str(error))]
    if not isinstance(value, dict):
        message = f"found a JSON {type(value).__name__}, expected one JSON object a line"
        return None, None, [Fault("error", None, message)]
    key_name = msgspec.structs.fields(kind)[0].name
    wrong: list[Fault] = [Fault("error", *found) for found in _wrong_types(value, kind)]
    if wrong and wrong[0].field == key_name:  # without a key nothing else can be placed
        return None, None, wrong[:1]
    faults = [*_doubled(doubles), *wrong]
    if not faults:
        faults = [Fault("error", None, f"broken JSON: {otherwise}. Expected one JSON object a line")]
    return None, value[key_name], faults


def _doubled(names: list[str]) -> list[Fault]:
    return [Fault("error", name, "stands twice in the record, expected once") for name in dict.fromkeys(names)]


def _parse(raw: bytes, doubles: list[str]) -> Any:
    """A line by Python's JSON, whose messages say more; keys that stand twice in an object go to `doubles`.

    Raises: ValueError with a message about the line.
    """

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            doubles.extend(name for name in found if names.count(name) > 1)
        return found

    try:
        text = raw.decode("utf-8").strip()
        value = json.loads(text, object_pairs_hook=as_dict)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        return value
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        message = f"wrong encoding: {found} is not UTF-8. Convert the file to UTF-8"
    except UnicodeEncodeError:
        message = "broken JSON: an escape names half a surrogate pair, which is no character"
    except json.JSONDecodeError as error:
        message = f"broken JSON: {error.msg} (column {error.colno}). Expected one JSON object a line"
    except RecursionError:
        message = "broken JSON: nested too deeply. Expected one JSON object a line"
    raise UserError(message)


def _wrong_types(value: Any, kind: type, place: str = "") -> Iterator[tuple[str, str]]:
    """(field, message) of each field of an object whose value is missing or of another type."""
    if not isinstance(value, dict):
        yield place, _not_expected(place, value)
        return
    for field in msgspec.structs.fields(kind):
        name = f"{place}.{field.name}" if place else field.name
        found = value.get(field.name)
        if found is None and not field.required:
            continue
        if field.type == list[Box] and isinstance(found, list):
            for number, box in enumerate(found):
                yield from _wrong_types(box, Box, f"{name}[{number}]")
            continue
        try:
            msgspec.convert(found, field.type)
        except msgspec.ValidationError as error:
            yield _locate(name, found, str(error))


def _locate(name: str, value: Any, error: str) -> tuple[str, str]:
    """The field that a ValidationError is about (it ends in `$[0][1]`), no deeper than `EXPECTED` goes; a message."""
    path = re.search(r"`\$((?:\[\d+\])*)`$", error)
    for number in re.findall(r"\[\d+\]", path[1] if path else ""):
        if re.sub(r"\d+", "", name + number) not in EXPECTED:
            break
        name, value = name + number, value[int(number[1:-1])]
    return name, _not_expected(name, value)


def _not_expected(name: str, value: Any) -> str:
    expected = EXPECTED.get(re.sub(r"\d+", "", name), "a text")
    if value is None:
        return f"missing, expected {expected}"
    text = repr(value)
    return f"found {text[:80]}{'…' if len(text) > 80 else ''}, expected {expected}"
