"""Chinese-CLIP's tsv and jsonl: which text belongs to which picture."""

import base64
import io
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from .formats import ExportError, Record, json_line
from .names import NO_LABELS
from .records import mention_text, tokens_of

# Files of the Chinese-CLIP format call the validation split so.
CLIP_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
CLIP_FILES = [
    f"{split}_{name}" for split in CLIP_SPLITS.values() for name in ("imgs.tsv", "texts.jsonl", "regions.jsonl")
]


def chinese_clip_lines(records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """The lines that Chinese-CLIP reads, each with the name of its file.

    `<split>_imgs.tsv` has a line for each head region (number, tab, base64 of the picture file): those of no cluster
    too, as distractors. `<split>_texts.jsonl` has a line for each cluster that has a region: `text_id`, `text`,
    `image_ids`, and for those who want to go back `doc_key` and `cluster` (its number). `<split>_regions.jsonl` says
    which region each picture is. A region without a picture of its own is cut out of its frame, or left out.

    Raises:
        ExportError: a picture that is none, a box that is not within its frame, or no picture at all.
    """
    image_ids, text_ids = count(), count()
    image_id = None
    for record in records:
        doc_key, prefix = record["doc_key"], CLIP_SPLITS[record["split"]]
        pictures: dict[str, list[int]] = {}  # label -> numbers of its pictures
        for box_number, box in enumerate(record["visual_annotations"]):
            picture = region_bytes(box, f"{doc_key}, visual_annotations[{box_number}]")
            if picture is None:
                continue
            image_id, label = next(image_ids), box["box_labels"]
            pictures.setdefault(label, []).append(image_id)
            yield f"{prefix}_imgs.tsv", f"{image_id}\t{base64.b64encode(picture).decode('ascii')}\n"
            region = {"image_id": image_id, "doc_key": doc_key, "box": box_number, "label": label}
            yield f"{prefix}_regions.jsonl", json_line(region)
        for number, label in enumerate(record["entity_labels"]):
            if label in pictures and label not in NO_LABELS:
                text = {"text_id": next(text_ids), "text": query_text(record, number), "image_ids": pictures[label]}
                yield f"{prefix}_texts.jsonl", json_line(text | {"doc_key": doc_key, "cluster": number})
    if image_id is None:
        raise ExportError(
            "no head region has a picture, and Chinese-CLIP needs pictures: name the folders of the authors' "
            "picture release with --regions-dir (their faces_all) or --frames-dir (their frames)"
        )


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
