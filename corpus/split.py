"""Upstream's own layout: twenty jsonl files, as upstream's split tool writes them from its annotation file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiktalkcoref.files.progress import track

from .files import CorpusFiles
from .formats import json_line, write_files
from .names import RECORD_CONFIGS
from .reading import read_corpus

UPSTREAM_SPLITS = {"train": "train", "validation": "val", "test": "test"}  # our name -> upstream's
MODALITIES = ("textual", "visual")
FILES = [f"all.{modality}.jsonl" for modality in MODALITIES] + [
    f"{config}/{split}.{modality}.jsonl"
    for config in RECORD_CONFIGS
    for split in UPSTREAM_SPLITS.values()
    for modality in MODALITIES
]

# Upstream writes the path a video had on the annotators' machine. It is text in the layout, never opened.
VIDEO_FOLDER = "/data/lxy/datasets/tiktalk_1012/raw_videos/"
NO_TITLE = "Unknown Title"


def split(files: CorpusFiles, output_dir: Path | str) -> dict[str, int]:
    """Write `all.textual.jsonl`, `all/train.textual.jsonl`, ...; returns the lines a file.

    Records keep the order of the annotation file, values and keys of a box are left as they are there. Of the newest
    generation `entity_label` is written under the layout's name, `entity_labels`; a missing `subtoken_map` is filled.

    Raises:
        CorpusError: the corpus has errors.
        FileExistsError: `output_dir` holds other files than these.
    """
    return write_files(output_dir, FILES, _layout(files))


def _layout(files: CorpusFiles) -> Iterator[tuple[str, str]]:
    """Each line of the layout with the name of its file."""
    # The reader checks everything; the raw object has what upstream copies as it is.
    pairs = zip(read_corpus(files), _raw_objects(files.annotations), strict=True)
    for record, raw in track(pairs, "splitting"):
        split_name = UPSTREAM_SPLITS[record["split"]]
        for modality, value in (("textual", _textual(record, raw)), ("visual", _visual(record, raw))):
            line = json_line(value)
            for part in ("all", f"all/{split_name}", f"{record['video_type']}/{split_name}"):
                yield f"{part}.{modality}.jsonl", line


def _textual(record: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    keys = ("doc_key", "genre", "sentences", "clusters", "clusters_str", "speaker_ids", "sentence_map", "subtoken_map")
    return {key: record[key] if raw.get(key) is None else raw[key] for key in (*keys, "entity_labels")}


def _visual(record: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "doc_key": record["doc_key"],
        "video_title": record["video_title"] or NO_TITLE,
        "video_path": f"{VIDEO_FOLDER}{record['doc_key']}.mp4",
        "visual_annotations": raw["visual_annotations"],
    }


def _raw_objects(annotations: Path) -> Iterator[dict[str, Any]]:
    """The lines as they are; the reader has checked them."""
    with open(annotations, "rb") as file:
        for raw in file:
            if not raw.isspace():
                yield json.loads(raw.decode("utf-8-sig"))
