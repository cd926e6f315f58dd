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
    cases = sorted(
        (_case(item) for item in shown), key=lambda case: (case["conll_f1"] + case["linked"], case["doc_key"])
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        result=result,
        headlines=[
            (name, result["scores"][key], _chance(result, key))
            for key, name in HEADLINES.items()
            if key in result["scores"]
        ],
        pool=result["scores"].get("linking_mean_pool", {}).get("value"),
        columns={key: name for key, name in COLUMNS.items() if key in result["scores"]},
        confusion=_confusion(shown),
        cases=[case | {"pictures": _pictures(case["item"])} for case in cases[:MAX_SHOWN]],
        left_out=max(0, len(cases) - MAX_SHOWN),
    )


def _case(item: Shown) -> dict[str, Any]:
    """A dialogue with its own scores, and both clusterings as marked text."""
    dialogue, prediction = item.dialogue, item.prediction
    own = score([{"clusters": prediction["clusters"]}], [{"clusters": dialogue["clusters"]}])
    links, regions = links_of(dialogue), dialogue.get("regions", ())
    shown_links = [link if link < len(regions) else -1 for link in links]
    outcomes = [_outcome(*pair) for pair in zip(links, prediction["gold_regions"], strict=True)]
    right = sum(outcome.startswith("right") for outcome in outcomes)
    return {
        "item": item,
        "doc_key": dialogue["doc_key"],
        "title": dialogue.get("title") or "",
        "conll_f1": own["conll_f1"],
        "linked": right / len(outcomes) if "links" in dialogue and outcomes else 1.0,
        "sides": [
            ("gold", _mark(dialogue, dialogue["clusters"], shown_links)),
            ("found", _mark(dialogue, prediction["clusters"], prediction["regions"])),
        ],
        "links": [
            {"text": text_of(dialogue, cluster[0]), "outcome": outcome, "detail": _detail(gold, found, len(regions))}
            for cluster, gold, found, outcome in zip(
                dialogue["clusters"], links, prediction["gold_regions"], outcomes, strict=True
            )
        ]
        if "links" in dialogue
        else [],
    }


def _detail(gold: int, found: int, regions: int) -> str:
    """Which region was chosen, and which was right where that is another."""
    chosen = [str(found + 1)] if found >= 0 else []
    if gold >= regions:
        return ", ".join([*chosen, "the person was not tracked"])
    return ", ".join([*chosen, f"should be {gold + 1}"] if chosen and 0 <= gold != found else chosen)


def _outcome(gold: int, found: int) -> str:
    if gold < 0:
        return OUTCOMES[3] if found < 0 else OUTCOMES[4]
    if found < 0:
        return OUTCOMES[2]
    return OUTCOMES[0] if found == gold else OUTCOMES[1]


def _confusion(shown: Sequence[Shown]) -> list[tuple[str, int]]:
    """How often each outcome of the decision about a gold cluster came, over dialogues with pictures."""
    counts = Counter(
        _outcome(gold, found)
        for item in shown
        if "links" in item.dialogue
        for gold, found in zip(links_of(item.dialogue), item.prediction["gold_regions"], strict=True)
    )
    return [(outcome, counts[outcome]) for outcome in OUTCOMES] if counts else []


def _chance(result: dict[str, Any], key: str) -> float | None:
    entry = result["scores"].get(key.replace("recall", "chance")) if "recall" in key else None
    return entry["value"] if entry else None


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
