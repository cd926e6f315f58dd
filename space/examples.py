"""The examples that the page offers, from the sample corpus: every head in them is drawn, no person is real."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.sample import write_sample

DIALOGUES = 192  # of the corpus that the examples are chosen from; its seed is the default, so test means unseen
LONG = 6  # dialogues that make up the long example


@dataclass(frozen=True)
class Example:
    """One example: what stands in the fields of the page when it is picked. `name` is its address."""

    name: str
    label: tuple[str, str]  # English, Chinese
    chat: str
    title: str
    frame: Path | None = None
    boxes: list[list[int]] = field(default_factory=list)
    links: dict[tuple[str, ...], int] = field(default_factory=dict)  # the right answer: mentions -> box


def make_examples(folder: Path) -> list[Example]:
    """Draw the examples; their frames go into `folder`.

    Two persons, a pronoun, a nested mention, somebody who is not in the picture, one without pictures, a long one.
    """
    corpus = write_sample(folder / "corpus", dialogues=DIALOGUES)
    records = [
        record
        for record in read_corpus(find_files(corpus), problems=[], frames_dir=corpus / "frames")
        if record["split"] in ("test", "validation")
    ]
    pictured = [record for record in records if record["visual_annotations"]]
    chosen: list[Example] = []
    used: set[str] = set()
    for name, label, wanted in CHOICES:
        record = next(record for record in pictured if wanted(record) and record["doc_key"] not in used)
        used.add(record["doc_key"])
        chosen.append(_example(name, label, record, folder))
    rest = [record for record in pictured if record["doc_key"] not in used][:LONG]
    without = next(record for record in records if not record["visual_annotations"])
    chosen.append(Example("text-only", ("Without pictures", "没有图片"), _chat(without), without["video_title"]))
    return [*chosen, _long(rest, folder)]


def _linked(record: dict[str, Any]) -> int:
    return sum(label != "none" for label in record["entity_labels"])


def _nested(record: dict[str, Any]) -> bool:
    spans = [tuple(span) for cluster in record["clusters"] for span in cluster]
    return any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in spans for b in spans)


def _kin(record: dict[str, Any]) -> bool:
    """Somebody's mother, brother, ...: the one in the mention of the other."""
    mentions = [mention for mentions in record["clusters_str"] for mention in mentions]
    return any(1 < len(mention) < 5 and mention[0] in "我你" and mention[-1] != "们" for mention in mentions)


def _plain(record: dict[str, Any]) -> bool:
    """No mention in another, nothing quoted."""
    return not _nested(record) and not any("“" in words for words in record["sentences"])


def _pronoun(record: dict[str, Any]) -> bool:
    return any(
        len(mentions) > 1 and set(mentions) & {"他", "她"} and label != "none"
        for mentions, label in zip(record["clusters_str"], record["entity_labels"], strict=True)
    )


CHOICES = [
    ("two-people", ("Two people", "两个人"), lambda record: _linked(record) == 2 and _plain(record)),
    ("pronoun", ("“He” and “she”", "“他”和“她”"), _pronoun),
    ("nested", ("Somebody's mother", "谁的妈妈"), lambda record: _kin(record) and _linked(record) > 0),
    (
        "absent",
        ("Not in the picture", "不在画面里"),
        lambda record: _linked(record) == 1 and len(record["clusters"]) > 1 and _plain(record),
    ),
]


def _example(name: str, label: tuple[str, str], record: dict[str, Any], folder: Path) -> Example:
    visuals = record["visual_annotations"]
    frame = folder / f"example-{name}.jpg"
    _picture(visuals[0]).save(frame, quality=90)
    boxes = [list(visual["bbox"]) for visual in visuals]
    heads = {visual["box_labels"]: number for number, visual in enumerate(visuals)}
    links = {
        tuple(mentions): heads[label]
        for mentions, label in zip(record["clusters_str"], record["entity_labels"], strict=True)
        if label in heads
    }
    return Example(name, label, _chat(record), record["video_title"], frame, boxes, links)


def _picture(visual: dict[str, Any]) -> Image.Image:
    with Image.open(visual["frame"]) as picture:
        return picture.convert("RGB")


def _chat(record: dict[str, Any]) -> str:
    return "\n".join(
        f"{ids[0]}：{''.join(words)}" for ids, words in zip(record["speaker_ids"], record["sentences"], strict=True)
    )


def _long(records: list[dict[str, Any]], folder: Path) -> Example:
    """Several dialogues one after the other, about one picture of all their frames, two beside each other."""
    pictures = [_picture(record["visual_annotations"][0]) for record in records[:2]]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * width, height))
    boxes = []
    for number, (record, picture) in enumerate(zip(records, pictures, strict=False)):
        sheet.paste(picture, (number * width, 0))
        for visual in record["visual_annotations"]:
            x1, y1, x2, y2 = visual["bbox"]
            boxes.append([x1 + number * width, y1, x2 + number * width, y2])
    frame = folder / "example-long.jpg"
    sheet.save(frame, quality=90)
    chat = "\n".join(_chat(record) for record in records)
    return Example("long", ("A long dialogue", "长对话"), chat, records[0]["video_title"], frame, boxes)
