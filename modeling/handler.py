"""Serving: what an inference endpoint, and the widget on the model's page, run. Uploaded beside the weights.

A string gives the clusters as the token-classification widget colours them; each line is an utterance, and the
speakers A and B take turns:

    handler({"inputs": "这个男生认识她吗\\n可以"})
    [{"entity_group": "C1", "word": "这个男生", "start": 0, "end": 4, "score": 0.9812}, ...]

A dictionary gives the pipeline's full result. Its keys are those of the pipeline; pictures are base64 strings (or data
URLs) of PNG, JPEG, WebP, GIF or BMP files:

    handler({"inputs": {"sentences": ["…", "…"], "speakers": ["A", "B"], "title": "…", "regions": ["iVBORw0…"]}})

A video, base64 too, may stand in the place of pictures: `"video": "AAAAIGZ0eXB…"`. The persons in it are the regions,
and the result's `entities` say when and where each is to be seen; `crop` is a PNG as base64 string.

Addresses and paths are never fetched or opened. A request that cannot be answered raises `BadRequestError`, whose
message the serving toolkit returns as {"error": message} with status 400.
"""

import base64
import binascii
import io
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image, UnidentifiedImageError
from transformers import pipeline

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 20_000  # of all utterances together
MAX_TITLE = 1_000  # characters
MAX_PICTURES = 64
MAX_PICTURE_BYTES = 10_000_000  # of one decoded file
MAX_PIXELS = 64_000_000  # of all pictures together: 200 MB once they are decoded
MAX_VIDEO_BYTES = 20_000_000
VIDEO = {"max_seconds": 180.0, "max_pixels": 1920 * 1088}  # a longer or larger one would keep others waiting
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
TEXT_KEYS = ("sentences", "speakers", "title")
KEYS = (*TEXT_KEYS, "regions", "frames", "boxes", "video", "clusters", "mentions")
REQUEST_KEYS = ("inputs", "parameters", "options")  # what the widget and the clients send


class BadRequestError(ValueError):
    """A request that cannot be answered; the message says what was found and what to send instead."""


class EndpointHandler:
    """Answers requests with the model in a folder.

    Args:
        path: the folder with the weights, the configuration and the code.
    """

    def __init__(self, path: str = "") -> None:
        # the task is this model's own, which transformers' overloads do not list; the device is whatever there is
        start: Any = pipeline
        self.pipeline = start("multimodal-coreference", model=str(path), trust_remote_code=True)
        self.pipeline.videos.options.update(VIDEO)
        self.lock = threading.Lock()  # requests wait their turn: memory does not grow with their number

    def __call__(self, data: Any) -> list[dict[str, Any]] | dict[str, Any]:
        """Answer one request.

        Args:
            data: a string, a dialogue, or {"inputs": one of the two}.
        Returns:
            for a string, the mentions in reading order: `entity_group` ("C1" is the first cluster), `word`, and
            `start`, `end` (exclusive), character offsets into the string as it was sent, and `score`, the
            probability of the mention;
            for a dialogue, the pipeline's result.
        Raises:
            BadRequestError: anything that cannot be answered.
        """
        inputs = _read_request(data)
        try:
            if isinstance(inputs, str):
                return self._colour(inputs)
            return self._resolve(_read_dialogue(inputs))
        except BadRequestError:
            raise
        except ValueError as error:  # the pipeline's own checks
            raise BadRequestError(" ".join(str(error).split())) from None
        except Exception:
            logger.exception("a request failed")
            raise RuntimeError("the model failed on this request; the log of the endpoint says why") from None

    def _resolve(self, dialogue: dict[str, Any]) -> dict[str, Any]:
        with self.lock:  # pictures are decoded here too: those of one request at a time
            if "video" in dialogue:
                return self._watch(dialogue)
            return self.pipeline(_read_pictures(dialogue))

    def _watch(self, dialogue: dict[str, Any]) -> dict[str, Any]:
        """With a video: it lies in a temporary folder while it is read."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "video")
            with open(path, "wb") as file:
                file.write(_decode(dialogue["video"], "inputs.video", MAX_VIDEO_BYTES, "video"))
            try:
                result = self.pipeline(_read_pictures({**dialogue, "video": path}))
            except ValueError as error:
                raise BadRequestError(" ".join(str(error).replace(path, "inputs.video").split())) from None
        for entity in result["entities"]:
            entity["crop"] = _encode(entity["crop"])
        return result

    def _colour(self, text: str) -> list[dict[str, Any]]:
        sentences, starts = _read_lines(text)
        groups = []
        for number, cluster in enumerate(self._resolve({"sentences": sentences})["clusters"], start=1):
            for mention in cluster["mentions"]:
                start = starts[mention["sentence"]] + mention["start"]
                end = starts[mention["sentence"]] + mention["end"]
                score = round(float(mention["score"]), 4)
                group = {"entity_group": f"C{number}", "word": text[start:end], "start": start, "end": end}
                groups.append({**group, "score": score})
        return sorted(groups, key=lambda group: (group["start"], -group["end"]))


def _read_request(data: Any) -> str | Mapping:
    """The string or the dialogue in a request."""
    inputs = data
    if isinstance(data, Mapping) and "inputs" in data:
        inputs = data["inputs"]
        _check_keys(data, REQUEST_KEYS, "the request")
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, Mapping) or parameters.keys() - {"aggregation_strategy"}:  # the widget's own
            raise BadRequestError('found "parameters": this model takes none; send {"inputs": ...} alone')
    if not isinstance(inputs, str | Mapping):
        raise BadRequestError(
            f'found inputs of type {_type(inputs)}, expected a string or {{"sentences": ["…", "…"], ...}}: '
            "one dialogue a request"
        )
    return inputs


def _read_lines(text: str) -> tuple[list[str], list[int]]:
    """The utterances of a string, one a line, blank ones left out, and where each starts."""
    _check_text(text, "inputs", MAX_CHARACTERS)
    sentences, starts, position = [], [], 0
    for line in text.split("\n"):
        content = line.strip()
        if content:
            sentences.append(content)
            starts.append(position + line.index(content))
        position += len(line) + 1
    if not sentences:
        raise BadRequestError("inputs is empty: send a dialogue, one utterance a line")
    return sentences, starts


def _read_dialogue(inputs: Mapping) -> dict[str, Any]:
    """A dialogue for the pipeline: keys and sizes checked, pictures still as they came."""
    _check_keys(inputs, KEYS, "inputs")
    sentences = inputs.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise BadRequestError(f'inputs.sentences: found {_type(sentences)}, expected a list of utterances, ["…", "…"]')
    units = [unit for sentence in sentences for unit in (sentence if isinstance(sentence, list) else [sentence])]
    texts = [unit for unit in units if isinstance(unit, str)]  # the pipeline refuses the others
    _check_text("".join(texts), "inputs.sentences", MAX_CHARACTERS)
    if isinstance(inputs.get("title"), str):
        _check_text(inputs["title"], "inputs.title", MAX_TITLE)
    speakers = inputs.get("speakers")
    if isinstance(speakers, list):
        _check_text("".join(name for name in speakers if isinstance(name, str)), "inputs.speakers", MAX_CHARACTERS)
    for key in ("regions", "frames", "boxes"):
        value = inputs.get(key)
        if value is not None and not isinstance(value, list):
            raise BadRequestError(f"inputs.{key}: found {_type(value)}, expected a list")
        if value is not None and (count := sum(1 for _ in _listed(value, f"inputs.{key}"))) > MAX_PICTURES:
            raise BadRequestError(f"inputs.{key}: found {count}, at most {MAX_PICTURES} are read")
    return {key: value for key, value in inputs.items() if value is not None}


def _read_pictures(dialogue: dict[str, Any]) -> dict[str, Any]:
    """A dialogue with its base64 strings decoded to RGB images."""
    decoded, pixels = dict(dialogue), 0
    for key in ("regions", "frames"):
        images: list[Any] = []
        for where, number, picture in _listed(dialogue.get(key, ()), f"inputs.{key}"):
            image = _open_picture(picture, where)
            pixels += image.width * image.height
            if pixels > MAX_PIXELS:
                raise BadRequestError(
                    f"{where}: {image.width} x {image.height} brings the request above {MAX_PIXELS:,} pixels; "
                    "scale the pictures down, heads need some 224 x 224"
                )
            try:
                image = image.convert("RGB")
            except (OSError, SyntaxError, ValueError) as error:
                raise BadRequestError(f"{where}: the picture is damaged ({error})") from None
            if number == len(images):
                images.append([])
            images[number].append(image)
        if images:
            decoded[key] = [group[0] if len(group) == 1 else group for group in images]
    return decoded


def _listed(pictures: Sequence[Any], where: str) -> Iterator[tuple[str, int, Any]]:
    """(place, number, picture) of each; a region may be a list of pictures of one person."""
    for number, picture in enumerate(pictures):
        if isinstance(picture, list) and picture and where == "inputs.regions":
            yield from ((f"{where}[{number}][{index}]", number, entry) for index, entry in enumerate(picture))
        else:
            yield f"{where}[{number}]", number, picture


def _open_picture(picture: Any, where: str) -> Image.Image:
    """The picture in a base64 string, its header read but not its pixels."""
    content = _decode(picture, where, MAX_PICTURE_BYTES, "picture")
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        raise BadRequestError(f"{where}: no picture that can be read; expected one of {', '.join(FORMATS)}") from None


def _decode(text: Any, where: str, limit: int, kind: str) -> bytes:
    """The bytes of a file in a base64 string or data URL."""
    if not isinstance(text, str):
        raise BadRequestError(f"{where}: found {_type(text)}, expected the {kind}'s file as a base64 string")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif "://" in text[:32]:
        raise BadRequestError(f"{where}: found an address; addresses are not fetched, send the file as a base64 string")
    if len(text) > limit * 4 // 3 + 4:
        raise BadRequestError(f"{where}: the file is larger than {limit:,} bytes; scale the {kind} down")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequestError(f"{where}: not base64; send the bytes of the {kind}'s file, base64-encoded") from None


def _encode(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _check_text(text: str, where: str, limit: int) -> None:
    if len(text) > limit:
        raise BadRequestError(f"{where}: found {len(text):,} characters, at most {limit:,} are read; send it in parts")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError(f"{where}: character {error.start} is half of a surrogate pair, not text") from None


def _check_keys(data: Mapping, known: tuple[str, ...], where: str) -> None:
    unknown = [str(key) for key in data if key not in known]
    if unknown:
        raise BadRequestError(f"{where} has the unknown key {unknown[0][:50]!r}; known: {', '.join(known)}")


def _type(value: Any) -> str:
    names = {type(None): "nothing", list: "a list", dict: "an object", str: "a string", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")
