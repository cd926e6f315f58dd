"""The lines of a corpus file: bytes to typed structs, or what is wrong with them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tiktalkcoref.files.errors import UserError

from .problems import Fault, error
from .records import Annotation, Box, SplitEntry, TitleEntry

Line = TypeVar("Line", Annotation, SplitEntry, TitleEntry)

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
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

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
        line: Line = _DECODERS[kind].decode(raw)
    except DECODE_ERRORS as unexplained:
        key, faults = _explain(raw, kind)
        message = f"broken JSON: {unexplained}. Expected one JSON object a line"
        return None, key, faults or [error(None, message)]
    # Each key has its colon: where there are no more than values, no key is unknown and none stands twice.
    values = msgspec.structs.astuple(line)
    n_keys = len(values) - values.count(None)
    for box in line.visual_annotations if isinstance(line, Annotation) else ():
        values_of_box = msgspec.structs.astuple(box)
        n_keys += len(values_of_box) - values_of_box.count(None)
    if raw.count(b":") == n_keys:
        return line, values[0], []
    key, faults = _explain(raw, kind, with_types=False)  # or there is a colon in a text
    return (None if faults else line), key, faults


def _explain(raw: bytes, kind: type[Line], with_types: bool = True) -> tuple[str | None, list[Fault]]:
    """The key and the faults of a line, found slowly."""
    doubles: dict[str, None] = {}  # keys that stand twice, in order
    try:
        value = _parse(raw, doubles)
    except UserError as refused:
        return None, [error(None, str(refused))]
    if not isinstance(value, dict):
        return None, [error(None, f"found a JSON {type(value).__name__}, expected one JSON object a line")]
    key_name = kind.__struct_fields__[0]
    wrong: list[Fault] = list(_wrong_types(value, kind)) if with_types else []
    if wrong and wrong[0].field == key_name:  # without a key nothing else can be placed
        return None, wrong[:1]
    return value[key_name], [*(error(name, "stands twice in the record, expected once") for name in doubles), *wrong]


def _parse(raw: bytes, doubles: dict[str, None]) -> Any:
    """A line by Python's JSON, whose messages say more; keys that stand twice in an object go to `doubles`.

    Raises: UserError with a message about the line.
    """

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            doubles.update((name, None) for name in found if names.count(name) > 1)
        return found

    try:
        value = json.loads(raw.decode("utf-8").strip(), object_pairs_hook=as_dict)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        return value
    except UnicodeDecodeError as failed:
        found = f"byte 0x{raw[failed.start]:02x} at position {failed.start}"
        message = f"wrong encoding: {found} is not UTF-8. Convert the file to UTF-8"
    except UnicodeEncodeError:
        message = "broken JSON: an escape names half a surrogate pair, which is no character"
    except json.JSONDecodeError as broken:
        message = f"broken JSON: {broken.msg} (column {broken.colno}). Expected one JSON object a line"
    except RecursionError:
        message = "broken JSON: nested too deeply. Expected one JSON object a line"
    raise UserError(message)


def _wrong_types(value: Any, kind: type, place: str = "") -> Iterator[Fault]:
    """A fault for each field of an object whose value is missing or of another type."""
    if not isinstance(value, dict):
        yield _not_expected(place, value)
        return
    for field in msgspec.structs.fields(kind):
        name = f"{place}.{field.name}" if place else field.name
        found: Any = value.get(field.name)
        if found is None and not field.required:
            continue
        if field.type == list[Box] and isinstance(found, list):
            for number, box in enumerate(found):
                yield from _wrong_types(box, Box, f"{name}[{number}]")
            continue
        try:
            msgspec.convert(found, field.type)
        except msgspec.ValidationError as invalid:
            # It ends in the path to what is wrong, `$[0][1]`; messages go no deeper than `EXPECTED`.
            path = re.search(r"`\$((?:\[\d+\])*)`$", str(invalid))
            for step in re.findall(r"\[\d+\]", path[1] if path else ""):
                if re.sub(r"\d+", "", name + step) not in EXPECTED:
                    break
                name, found = name + step, found[int(step[1:-1])]
            yield _not_expected(name, found)


def _not_expected(name: str, value: Any) -> Fault:
    expected = EXPECTED.get(re.sub(r"\d+", "", name), "a text")
    if value is None:
        return error(name, f"missing, expected {expected}")
    text = repr(value)
    return error(name, f"found {text[:80]}{'…' if len(text) > 80 else ''}, expected {expected}")
