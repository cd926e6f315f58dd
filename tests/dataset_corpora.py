"""Invented corpora in upstream's format, sound and faulty, for the tests of whatever reads them."""

import json
from pathlib import Path

from tiktalkcoref.corpus.files import CorpusFiles

ANNOTATIONS = "all_textual_and_visual_annotations.jsonl"
TYPES = ("celeb", "no_celeb")


def make_record(key: str = "101") -> dict:
    """An invented dialogue with a nested mention, a chain over both utterances and two boxes."""
    sentences = [list("小陈的妹妹唱得真好"), list("她哥也会唱")]
    box = {
        "cur_frame": 7,
        "cur_frame_path": f"/home/them/frames/{key}/{key}_7_1.jpg",
        "bbox": [10, 20, 30, 44],
        "box_labels": "C1",
        "celebrity": "陈小",
        "region_image_path": f"/home/them/faces_all/{key}_7_1_C1.jpg",
    }
    other = {**box, "cur_frame": 9, "box_labels": "C2", "celebrity": "none", "bbox": [0, 0, 5, 6]}
    other["region_image_path"] = f"/home/them/faces_all/{key}_9_1_C2.jpg"
    other["cur_frame_path"] = f"/home/them/frames/{key}/{key}_9_1.jpg"
    return {
        "doc_key": key,
        "genre": "wb",
        "sentences": sentences,
        "clusters": [[[0, 1], [9, 10]], [[0, 4], [9, 9]], [[10, 10]]],
        "clusters_str": [["小陈", "她哥"], ["小陈的妹妹", "她"], ["哥"]],
        "speaker_ids": [["A"] * 9, ["B"] * 5],
        "sentence_map": [[0] * 9, [1] * 5],
        "subtoken_map": [list(range(9)), list(range(9, 14))],
        "entity_labels": ["C1", "C2", "none"],
        "visual_annotations": [box, other],
    }


def make_records(n: int = 6) -> list[dict]:
    return [make_record(str(101 + i)) for i in range(n)]


def make_splits(records: list[dict]) -> list[dict]:
    """Alternating video types, the splits in turn."""
    return [
        {"video_id": record["doc_key"], "video_type": TYPES[i % 2], "split": ("train", "val", "test")[i // 2 % 3]}
        for i, record in enumerate(records)
    ]


def write_lines(path: Path, values: list) -> Path:
    """One JSON value a line; texts are written as they are."""
    lines = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_corpus(folder: Path, records: list | None = None, splits: list | None = None) -> CorpusFiles:
    """A corpus under upstream's names; `records` may hold texts, for lines that are no JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    records = make_records() if records is None else records
    sound = [record for record in records if isinstance(record, dict) and isinstance(record.get("doc_key"), str)]
    splits = make_splits(sound) if splits is None else splits
    return CorpusFiles(
        annotations=write_lines(folder / ANNOTATIONS, records),
        splits=write_lines(folder / "split.jsonl", splits),
        titles=write_lines(
            folder / "video_titles.jsonl",
            [{"video_id": record["doc_key"], "title": f"题目{record['doc_key']}"} for record in sound],
        ),
    )


def edited(**changes) -> dict:
    """`make_record` with a change at each path: `visual_annotations__0__bbox=[...]`; None takes a key away."""
    record = make_record()
    for path, value in changes.items():
        *parents, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        target = record
        for step in parents:
            target = target[step]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return record


# What can be wrong with a record: name -> (record, field, message).

ERRORS = {
    "offsets out of range": (
        edited(clusters__2__0=[10, 14]),
        "clusters[2][0]",
        "offsets [10, 14] out of range: the dialogue has tokens 0 to 13",
    ),
    "negative offset": (edited(clusters__0__0=[-1, 1]), "clusters[0][0]", "offsets [-1, 1] out of range"),
    "reversed offsets": (edited(clusters__0__1=[10, 9]), "clusters[0][1]", "reversed offsets [10, 9]"),
    "no mention": (edited(clusters__2__0=[10]), "clusters[2][0]", "found [10], expected [start, end]"),
    "empty cluster": (edited(clusters__2=[]), "clusters[2]", "found [], expected a list of at least one mention"),
    "mention in two clusters": (
        edited(clusters__2__0=[9, 9]),
        "clusters[2][0]",
        "mention [9, 9] is in two clusters, 1 and 2",
    ),
    "speakers of another length": (
        edited(speaker_ids__1=["B"] * 4),
        "speaker_ids",
        "lengths [9, 4] differ from those of sentences, [9, 5]: the arrays must be parallel",
    ),
    "sentence map of another length": (edited(sentence_map__0=[0]), "sentence_map", "lengths [1, 5] differ"),
    "subtoken map of another length": (edited(subtoken_map=[[0]]), "subtoken_map", "lengths [1] differ"),
    "subtoken map of texts": (edited(subtoken_map__0=["0"] * 9), "subtoken_map", "expected lists of whole numbers"),
    "no speakers": (edited(speaker_ids=None), "speaker_ids", "missing, expected lists of texts"),
    "no sentences": (edited(sentences=None), "sentences", "missing, expected lists of tokens"),
    "no tokens": (edited(sentences=[[], []]), "sentences", "found [[], []], expected lists of tokens"),
    "no clusters": (edited(clusters=None), "clusters", "missing, expected a list of clusters"),
    "labels and clusters of different counts": (
        edited(entity_labels=["C1", "C2"]),
        "entity_labels",
        "2 labels for 3 clusters, expected one a cluster",
    ),
    "no labels": (edited(entity_labels=None), "entity_labels", "missing, expected a list of texts"),
    "empty box": (
        edited(visual_annotations__1__bbox=[30, 20, 30, 44]),
        "visual_annotations[1].bbox",
        "[30, 20, 30, 44] is empty, expected x1 < x2 and y1 < y2",
    ),
    "negative box": (
        edited(visual_annotations__0__bbox=[-1, 20, 30, 44]),
        "visual_annotations[0].bbox",
        "[-1, 20, 30, 44] has a negative coordinate",
    ),
    "box of three numbers": (edited(visual_annotations__0__bbox=[1, 2, 3]), "visual_annotations[0].bbox", "[1, 2, 3]"),
    "box too far out": (
        edited(visual_annotations__0__bbox=[1, 2, 3, 2**31]),
        "visual_annotations[0].bbox",
        "out of range",
    ),
    "no frame number": (
        edited(visual_annotations__0__cur_frame="7"),
        "visual_annotations[0].cur_frame",
        "found '7', expected a frame number",
    ),
    "cluster label with no box": (
        edited(entity_labels__2="C3"),
        "entity_labels[2]",
        "no box bears the label 'C3' of cluster 2",
    ),
    "path that leaves the folder": (
        edited(visual_annotations__0__region_image_path="/home/them/../../etc/x.jpg"),
        "visual_annotations[0].region_image_path",
        "refused '/home/them/../../etc/x.jpg': `..` leaves the folder of pictures",
    ),
    "path that leaves a Windows folder": (
        edited(visual_annotations__0__cur_frame_path="C:\\them\\..\\x.jpg"),
        "visual_annotations[0].cur_frame_path",
        "`..` leaves the folder of pictures",
    ),
    "path without a file name": (
        edited(visual_annotations__0__region_image_path="/home/them/"),
        "visual_annotations[0].region_image_path",
        "it names no file",
    ),
}

WARNINGS = {
    "box label that no cluster bears": (
        edited(visual_annotations__1__box_labels="C9", entity_labels__1="none"),
        "visual_annotations[1].box_labels",
        "no cluster bears the label 'C9' of this box",
    ),
    "texts that disagree with the spans": (
        edited(clusters_str__0__0="小张"),
        "clusters_str",
        "disagrees with the spans, which say [['小陈', '她哥'], ['小陈的妹妹', '她'], ['哥']]: the spans are taken",
    ),
    "mention listed twice": (
        edited(clusters__2=[[10, 10], [10, 10]], clusters_str__2=["哥", "哥"]),
        "clusters[2][1]",
        "mention [10, 10] is listed twice in the cluster",
    ),
}
