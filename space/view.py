"""From a result of the pipeline to what the page draws: plain data, no HTML; texts stay texts."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

# One row a colour: on light (strong, tint), on dark (strong, tint). Text is dark on a light tint and light on a dark
# one, and stands on `strong` in the page's own background colour: contrast at least 4.5 each (tested).
PALETTE = [
    ("#1d4ed8", "#dbeafe", "#93c5fd", "#1e3a6e"),
    ("#b91c1c", "#fee2e2", "#fca5a5", "#6b2020"),
    ("#166534", "#dcfce7", "#86efac", "#14532d"),
    ("#7e22ce", "#f3e8ff", "#d8b4fe", "#4c2080"),
    ("#9a3412", "#ffedd5", "#fdba74", "#6b3410"),
    ("#0f766e", "#ccfbf1", "#5eead4", "#134e4a"),
    ("#be185d", "#fce7f3", "#f9a8d4", "#701a45"),
    ("#854d0e", "#fef9c3", "#fde047", "#5a4209"),
    ("#334155", "#e2e8f0", "#cbd5e1", "#3b4758"),
    ("#0e7490", "#cffafe", "#67e8f9", "#164e63"),
]
CROP, FRAME = 128, 960  # longest sides of what is sent to the page, px
Node = str | dict[str, Any]


def palette_css() -> str:
    """The classes c0, c1, ... of the colours, for light and dark."""
    rules = []
    for number, (strong, tint, dark_strong, dark_tint) in enumerate(PALETTE):
        rules.append(f".ttc .c{number} {{ --strong: {strong}; --tint: {tint}; }}")
        rules.append(f".dark .ttc .c{number} {{ --strong: {dark_strong}; --tint: {dark_tint}; }}")
    return "\n".join(rules)


def make_view(
    dialogue: Mapping[str, Any],
    result: Mapping[str, Any],
    crops: Sequence[Image.Image] = (),
    entities: Sequence[Mapping[str, Any]] = (),
    seconds: float = 0.0,
) -> dict[str, Any]:
    """Everything that is drawn.

    Args:
        dialogue: as it was given to the pipeline.
        result: what the pipeline gave.
        crops: the picture of each candidate, in their order.
        entities: the visual entities of a video of `seconds`.
    Returns:
        title, lines (speaker and a tree of mentions each), clusters (name, colour, mentions, ranking of the heads),
        heads (picture, the clusters linked to it), frame and boxes or None, timeline or None, and the result itself.
    """
    clusters = [_cluster(number, cluster) for number, cluster in enumerate(result["clusters"])]
    linked = [[c["id"] for c in clusters if c["region"] == head] for head in range(len(crops))]
    return {
        "title": dialogue.get("title") or "",
        "lines": _lines(dialogue, result["clusters"]),
        "clusters": clusters,
        "pictured": not result.get("text_only", False),
        "heads": [
            {"id": head, "picture": data_url(crop, CROP), "clusters": linked[head]} for head, crop in enumerate(crops)
        ],
        "frame": _frame(dialogue) if dialogue.get("frames") else None,
        "timeline": _timeline(entities, seconds) if entities else None,
        "json": {"sentences": dialogue["sentences"], **result},
    }


def data_url(picture: Image.Image, longest: int) -> str:
    """The picture, no larger than `longest` pixels, as a JPEG in a `data:` address."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def mention_tree(text: str, spans: Sequence[tuple[int, int, int]]) -> list[Node]:
    """Text with (start, end exclusive, cluster) spans -> strings and {"cluster", "color", "children"}, nested.

    The longer span is outside. Of a span that crosses another's end, the part inside and the part after it are two
    nodes of the same cluster: nothing is lost.
    """
    pending = sorted(set(spans), key=lambda span: (span[0], -span[1], span[2]))

    def build(start: int, end: int) -> list[Node]:
        nodes: list[Node] = []
        at = start
        while pending and pending[0][0] < end:
            first, stop, cluster = pending.pop(0)
            if stop > end:
                pending.append((end, stop, cluster))
                pending.sort(key=lambda span: (span[0], -span[1], span[2]))
                stop = end
            nodes += [text[at:first]] if first > at else []
            children = build(first, stop)
            nodes.append({"cluster": cluster, "color": cluster % len(PALETTE), "children": children})
            at = stop
        return nodes + ([text[at:end]] if at < end else [])

    return build(0, len(text))


def _lines(dialogue: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    speakers = dialogue.get("speakers") or ["AB"[i % 2] for i in range(len(dialogue["sentences"]))]
    lines = []
    for number, (speaker, text) in enumerate(zip(speakers, dialogue["sentences"], strict=True)):
        spans = [
            (mention["start"], mention["end"], i)
            for i, cluster in enumerate(clusters)
            for mention in cluster["mentions"]
            if mention["sentence"] == number
        ]
        lines.append({"speaker": speaker, "nodes": mention_tree(text, spans)})
    return lines


def _cluster(number: int, cluster: Mapping[str, Any]) -> dict[str, Any]:
    mentions = [
        {"text": mention["text"], "score": round(float(mention["score"]), 3)} for mention in cluster["mentions"]
    ]
    scores = [round(float(score), 4) for score in cluster.get("region_scores", ())]
    ranking = sorted(({"head": head, "score": score} for head, score in enumerate(scores)), key=lambda r: -r["score"])
    return {
        "id": number,
        "color": number % len(PALETTE),
        "name": max((mention["text"] for mention in mentions), key=len),
        "mentions": mentions,
        "region": cluster.get("region"),
        "score": cluster.get("region_score"),
        "ranking": ranking,
        "none": max(0.0, round(1 - sum(scores), 4)) if scores else None,
    }


def _frame(dialogue: Mapping[str, Any]) -> dict[str, Any]:
    """The first frame and its boxes, in fractions of its size, numbered as the heads are."""
    frame = dialogue["frames"][0]
    width, height = frame.size
    boxes = []
    for head, box in enumerate(dialogue["boxes"]):
        if box["frame"] == 0:
            x1, y1, x2, y2 = box["bbox"]
            boxes.append({"head": head, "box": [x1 / width, y1 / height, x2 / width, y2 / height]})
    return {"picture": data_url(frame, FRAME), "width": width, "height": height, "boxes": boxes}


def _timeline(entities: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """When each visual entity is to be seen: the spans of its tracks, in seconds."""
    rows: list[dict[str, Any]] = [
        {
            "head": head,
            "spans": [[round(track["times"][0], 2), round(track["times"][-1], 2)] for track in entity["tracks"]],
        }
        for head, entity in enumerate(entities)
    ]
    end = max([seconds, *(span[1] for row in rows for span in row["spans"])])
    return {"seconds": round(end, 2), "rows": rows}
