"""Upstream's own layout: twenty jsonl files, as upstream's split tool writes them from its annotation file."""

import json
from collections.abc import Iterator
from pathlib import Path

from tiktalkcoref.files.progress import track

from .files import CorpusFiles
from .formats import json_line, write_files
from .lines import read_lines
from .names import RECORD_CONFIGS
from .reading import read_corpus

UPSTREAM_SPLITS = {"train": "train", "validation": "val", "test": "test"}  # our name -> upstream's
PARTS = ("all", *(f"{config}/{split}" for config in RECORD_CONFIGS for split in UPSTREAM_SPLITS.values()))
FILES = [f"{part}.{modality}.jsonl" for part in PARTS for modality in ("textual", "visual")]
TEXTUAL_KEYS = (
    *("doc_key", "genre", "sentences", "clusters", "clusters_str", "speaker_ids", "sentence_map", "subtoken_map"),
    "entity_labels",
)

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
    raw_objects = (json.loads(line) for _, _, line in read_lines(files.annotations))
    for record, raw in track(zip(read_corpus(files), raw_objects, strict=True), "splitting"):
        visual = {
            "doc_key": record["doc_key"],
            "video_title": record["video_title"] or NO_TITLE,
            "video_path": f"{VIDEO_FOLDER}{record['doc_key']}.mp4",
            "visual_annotations": raw["visual_annotations"],
        }
        textual = {key: record[key] if raw.get(key) is None else raw[key] for key in TEXTUAL_KEYS}
        split_name = UPSTREAM_SPLITS[record["split"]]
        for modality, value in (("textual", textual), ("visual", visual)):
            line = json_line(value)
            for part in ("all", f"all/{split_name}", f"{record['video_type']}/{split_name}"):
                yield f"{part}.{modality}.jsonl", line
