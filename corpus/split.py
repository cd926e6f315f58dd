"""Upstream's own layout: twenty jsonl files, as upstream's split tool writes them from its annotation file."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.progress import track

from .files import CorpusFiles
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
    counts = dict.fromkeys(FILES, 0)
    with atomic_folder(output_dir, owned=FILES) as folder, contextlib.ExitStack() as stack:
        for config in RECORD_CONFIGS:
            (folder / config).mkdir()
        outputs = {
            name: stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n")) for name in FILES
        }
        # The reader checks everything; the raw object has what upstream copies as it is.
        pairs = zip(read_corpus(files), _raw_objects(files.annotations), strict=True)
        for record, raw in track(pairs, "splitting"):
            parts = {"textual": _textual(record, raw), "visual": _visual(record, raw)}
            split_name = UPSTREAM_SPLITS[record["split"]]
            for modality, value in parts.items():
                line = json.dumps(value, ensure_ascii=False) + "\n"
                for name in (
                    f"all.{modality}.jsonl",
                    f"all/{split_name}.{modality}.jsonl",
                    f"{record['video_type']}/{split_name}.{modality}.jsonl",
                ):
                    outputs[name].write(line)
                    counts[name] += 1
    return counts


def _textual(record: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    keys = ("doc_key", "genre", "sentences", "clusters", "clusters_str", "speaker_ids", "sentence_map", "subtoken_map")
    textual = {key: record[key] if raw.get(key) is None else raw[key] for key in (*keys, "entity_labels")}
    return textual


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
