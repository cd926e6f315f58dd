"""The report: one HTML file with scores, baselines, the confusion of links, and every dialogue, the worst first."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, ImageDraw

from tiktalkcoref.corpus.records import brackets
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluate_metric.labels import LABELS
from tiktalkcoref.tracking.entities import span_text

from .dialogues import Dialogue, text_of
from .predictions import Prediction, links_of
from .tables import tracker_note

TEMPLATE = Path(__file__).parent / "report.html"
PALETTE = (
    "#c0392b", "#1f6fb2", "#2e7d32", "#8e44ad", "#b9770e", "#00838f",
    "#ad1457", "#5d4037", "#3949ab", "#558b2f", "#6a1b9a", "#d84315",
)  # fmt: skip
MAX_SHOWN = 200  # dialogues with their text and pictures; the file stays small enough to mail
FRAME_WIDTH, REGION_SIZE = 320, 72  # pixels of the thumbnails
HEADLINES = {key: name for key, name in LABELS.items() if not key.startswith(("ceaf_m", "blanc", "multimodal"))}
# of the table of baselines; recall beside what chance gives
COLUMNS = {
    "conll_f1": "CoNLL F1",
    "muc_f1": "MUC",
    "b_cubed_f1": "B³",
    "ceaf_e_f1": "CEAF-e",
    "mention_f1": "mentions",
    "linking_recall_at_1": "R@1",
    "linking_chance_at_1": "chance",
    "linking_mean_pool": "pool",
}
OUTCOMES = ("right region", "wrong region", "missed: none chosen", "right: none", "region chosen for none")


@dataclass(frozen=True)
class Shown:
    """A dialogue and what the model made of it."""

    dialogue: Dialogue
    prediction: Prediction
    frames: Sequence[tuple[Image.Image, Sequence[tuple[int, Sequence[int]]]]] = ()  # with region numbers and boxes
    entities: Sequence[dict[str, Any]] = ()  # of tracked regions, as `tracking.candidates` describes them


def render_report(result: dict[str, Any], shown: Sequence[Shown]) -> str:
    """The report as one self-contained HTML page: no script, nothing loaded from elsewhere.

    Args:
        result: the content of `scores.json`.
        shown: all dialogues of the split.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["tracker"] = tracker_note
    environment.filters["cell"] = lambda value, key: (
        f"{value:.2f}" if key == "linking_mean_pool" else f"{100 * value:.1f}"
    )
    cases = sorted(map(_case, shown), key=lambda case: (case["conll_f1"] + case["linked"], case["doc_key"]))
    confusion = Counter(link["outcome"] for case in cases for link in case["links"])
    scores = result["scores"]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        result=result,
        headlines=[
            (name, scores[key], scores[key.replace("recall", "chance")]["value"] if "recall" in key else None)
            for key, name in HEADLINES.items()
            if key in scores
        ],
        pool=scores.get("linking_mean_pool", {}).get("value"),
        columns={key: name for key, name in COLUMNS.items() if key in scores},
        confusion=[(outcome, confusion[outcome]) for outcome in OUTCOMES] if confusion else [],
        cases=[case | {"pictures": _pictures(case["item"])} for case in cases[:MAX_SHOWN]],
        left_out=max(0, len(cases) - MAX_SHOWN),
    )


def _case(item: Shown) -> dict[str, Any]:
    """A dialogue with its own scores, both clusterings as marked text, and where it has pictures what was linked."""
    dialogue, prediction = item.dialogue, item.prediction
    own = score([{"clusters": prediction["clusters"]}], [{"clusters": dialogue["clusters"]}])
    regions = len(dialogue.get("regions", ()))
    links = []
    if "links" in dialogue:
        decided = zip(dialogue["clusters"], dialogue["links"], prediction["gold_regions"], strict=True)
        links = [
            {"text": text_of(dialogue, cluster[0]), **_outcome(gold, found, regions)}
            for cluster, gold, found in decided
        ]
    right = sum(link["outcome"].startswith("right") for link in links)
    reachable = [link if link < regions else -1 for link in links_of(dialogue)]
    return {
        "item": item,
        "doc_key": dialogue["doc_key"],
        "title": dialogue.get("title") or "",
        "conll_f1": own["conll_f1"],
        "linked": right / len(links) if links else 1.0,
        "sides": [
            ("gold", _mark(dialogue, dialogue["clusters"], reachable)),
            ("found", _mark(dialogue, prediction["clusters"], prediction["regions"])),
        ],
        "links": links,
    }


def _outcome(gold: int, found: int, regions: int) -> dict[str, str]:
    """What became of a gold cluster's link, and in detail which region was chosen and which was right."""
    chosen = [str(found + 1)] if found >= 0 else []
    if gold < 0:
        outcome = OUTCOMES[4] if chosen else OUTCOMES[3]
    elif not chosen:
        outcome = OUTCOMES[2]
    else:
        outcome = OUTCOMES[0] if found == gold else OUTCOMES[1]
    if gold >= regions:
        chosen.append("the person was not tracked")
    elif outcome == OUTCOMES[1]:
        chosen.append(f"should be {gold + 1}")
    return {"outcome": outcome, "detail": ", ".join(chosen)}


def _mark(
    dialogue: Dialogue, clusters: Sequence[Sequence[Sequence[int]]], regions: Sequence[int]
) -> list[dict[str, Any]]:
    """One line an utterance: pieces {"open": clusters that open, "text", "close": clusters that close}."""
    marks = zip(*brackets(clusters, sum(len(sentence) for sentence in dialogue["sentences"])), strict=True)
    lines = []
    speakers = dialogue.get("speakers") or [""] * len(dialogue["sentences"])
    for speaker, sentence in zip(speakers, dialogue["sentences"], strict=False):
        pieces = []
        for character in sentence:
            opening, closing = next(marks)
            opened = [
                {"colour": PALETTE[mention.cluster % len(PALETTE)], "label": _label(mention.cluster, regions)}
                for mention in opening
            ]
            pieces.append({"open": opened, "text": character, "close": len(closing)})
        lines.append({"speaker": speaker, "pieces": pieces})
    return lines


def _label(number: int, regions: Sequence[int]) -> str:
    region = regions[number] if number < len(regions) else -1
    return f"{number + 1}" + (f"→{region + 1}" if region >= 0 else "")


def _pictures(item: Shown) -> list[dict[str, str]]:
    """The frames with their boxes, then the regions, as data URIs; below a tracked entity stands when it is seen."""
    frames = [
        {"source": _thumbnail(_with_boxes(picture, boxes), FRAME_WIDTH), "caption": "frame"}
        for picture, boxes in item.frames
    ]
    regions = [(region, "") for region in item.dialogue.get("regions", ())]
    if item.entities:
        regions = [(entity["crop"], f" · {span_text(entity)}") for entity in item.entities]
    return frames + [
        {"source": _thumbnail(region, REGION_SIZE), "caption": f"{number}{times}"}
        for number, (region, times) in enumerate(regions, 1)
    ]


def _with_boxes(picture: Image.Image, boxes: Sequence[tuple[int, Sequence[int]]]) -> Image.Image:
    """A frame with its numbered boxes drawn, each in the colour of its region's number."""
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    width = max(2, picture.width // 160)
    for number, box in boxes:
        colour = PALETTE[number % len(PALETTE)]
        draw.rectangle(list(box), outline=colour, width=width)
        draw.text(
            (box[0] + 2 * width, box[1] + width), str(number + 1), fill=colour, font_size=max(14, picture.width // 20)
        )
    return picture


def _thumbnail(picture: Image.Image, width: int) -> str:
    picture = picture.convert("RGB")
    height = max(1, round(picture.height * width / picture.width))
    data = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
