"""Chinese-CLIP's tsv and jsonl: which text belongs to which picture."""

import base64
import contextlib
import io
import json
from pathlib import Path
from typing import IO, Any

from .formats import ExportError, Record
from .names import NO_LABELS
from .records import mention_text, tokens_of

# Files of the Chinese-CLIP format call the validation split so.
CLIP_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
CLIP_FILES = [
    f"{split}_{name}" for split in CLIP_SPLITS.values() for name in ("imgs.tsv", "texts.jsonl", "regions.jsonl")
]


class ChineseClipWriter:
    """Writes records, split by split, as Chinese-CLIP reads them; a context manager.

    `<split>_imgs.tsv` has a line for each head region (number, tab, base64 of the picture file): those of no cluster
    too, as distractors. `<split>_texts.jsonl` has a line for each cluster that has a region: `text_id`, `text`,
    `image_ids`, and for those who want to go back `doc_key` and `cluster` (its number). `<split>_regions.jsonl` says
    which region each picture is. A region without a picture of its own is cut out of its frame, or left out.
    `counts` holds the lines written to each file.
    """

    def __init__(self, folder: Path) -> None:
        self.counts = dict.fromkeys(CLIP_FILES, 0)
        self._images = self._texts = 0
        self._stack = contextlib.ExitStack()
        self._files: dict[str, IO[str]] = {}
        for name in CLIP_FILES:
            file = open(folder / name, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 (the stack closes it)
            self._files[name] = self._stack.enter_context(file)

    def __enter__(self) -> "ChineseClipWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, record: Record) -> None:
        """Write the regions of a record that have a picture, and the clusters that have such a region.

        Raises:
            ExportError: a picture that is none, a box that is not within its frame.
        """
        prefix = CLIP_SPLITS[record["split"]]
        pictures: dict[str, list[int]] = {}  # label -> numbers of its pictures
        for box_number, box in enumerate(record["visual_annotations"]):
            picture = region_bytes(box, f"{record['doc_key']}, visual_annotations[{box_number}]")
            if picture is None:
                continue
            label = box["box_labels"]
            pictures.setdefault(label, []).append(self._images)
            self._line(f"{prefix}_imgs.tsv", f"{self._images}\t{base64.b64encode(picture).decode('ascii')}\n")
            region = {"image_id": self._images, "doc_key": record["doc_key"], "box": box_number, "label": label}
            self._line(f"{prefix}_regions.jsonl", _json_line(region))
            self._images += 1
        for number, label in enumerate(record["entity_labels"]):
            if label in pictures and label not in NO_LABELS:
                text = {"text_id": self._texts, "text": query_text(record, number), "image_ids": pictures[label]}
                text |= {"doc_key": record["doc_key"], "cluster": number}
                self._line(f"{prefix}_texts.jsonl", _json_line(text))
                self._texts += 1

    def _line(self, name: str, line: str) -> None:
        self._files[name].write(line)
        self.counts[name] += 1


def query_text(record: Record, cluster: int) -> str:
    """What a cluster is looked for by: its different mentions in order, then the dialogue they were said in."""
    tokens = tokens_of(record)
    mentions = dict.fromkeys(mention_text(tokens, mention) for mention in sorted(record["clusters"][cluster]))
    return f"{'、'.join(mentions)}：{'，'.join(''.join(sentence) for sentence in record['sentences'])}"


def region_bytes(box: dict[str, Any], where: str) -> bytes | None:
    """The picture file of a head region: its own, else the box cut out of the frame, else None.

    A picture is a path or the `{"bytes": ..., "path": ...}` of an undecoded `Image` column.

    Raises:
        ExportError: what should be a picture is none, or the box is not within its frame; `where` is what it calls it.
    """
    from PIL import Image

    column = next((column for column in ("region", "frame") if box.get(column) is not None), None)
    if column is None:
        return None
    data = _picture_bytes(box[column])
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return data if column == "region" else _cut(picture, box["bbox"], where)
    except Image.UnidentifiedImageError as error:
        raise ExportError(f"{where}: its {column} is no picture; replace the file or leave it out") from error
    except (Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ExportError(f"{where}: its {column} is a damaged picture or too large a one ({error})") from error


def _cut(frame: Any, bbox: list[int], where: str) -> bytes:
    left, top, right, bottom = bbox
    if not (0 <= left < right <= frame.width and 0 <= top < bottom <= frame.height):
        raise ExportError(
            f"{where}: the bbox {bbox} is not within its frame of {frame.width} x {frame.height} pixels; correct it, "
            "or give the region's own picture (--regions-dir)"
        )
    buffer = io.BytesIO()
    frame.convert("RGB").crop((left, top, right, bottom)).save(buffer, format="PNG")
    return buffer.getvalue()


def _picture_bytes(picture: Any) -> bytes:
    if isinstance(picture, dict):
        if picture.get("bytes") is not None:
            return picture["bytes"]
        picture = picture["path"]
    return Path(picture).read_bytes()


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
