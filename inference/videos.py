"""The videos of dialogues: tracked with a bar before the model is asked, and what was found told as a page."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image

from tiktalkcoref.evaluation.dialogues import Dialogue
from tiktalkcoref.files.atomic import atomic_file, atomic_folder
from tiktalkcoref.tracking.command import video_bar
from tiktalkcoref.tracking.drawing import COLOURS
from tiktalkcoref.tracking.entities import VideoEntities, span_text, spans
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker
from tiktalkcoref.tracking.video import Video

REPORT = "report.html"
OWNED = [REPORT, "crops/*.png"]
THUMBNAIL = 192  # of a crop in the report, px


def track_dialogues(dialogues: Sequence[Dialogue], weights: Path | None = None) -> dict[Any, VideoEntities]:
    """The persons of each video that a dialogue names, each video once; the networks are loaded once.

    Raises:
        VideoError, FileNotFoundError: a video that cannot be read.
        WeightsError, MissingExtraError: what it needs is not there.
    """
    videos = dict.fromkeys(dialogue["video"] for dialogue in dialogues if dialogue.get("video") is not None)
    if not videos:
        return {}
    tracker = VideoTracker(Settings(), weights)
    found = {}
    for path in videos:
        video = Video(path, tracker.settings.max_pixels, tracker.settings.max_seconds)
        with video_bar(video, 2) as progress:
            found[path] = tracker(video, progress)
    return found


class OneVideo:
    """The persons of videos, the last one remembered: rows of one video come one after another.

    Args:
        weights: folder with the weights of the tracker's networks, loaded when they are needed; None: the Hub's.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        self._weights = weights
        self._found: dict[Any, VideoEntities] = {}

    def __call__(self, path: Any) -> VideoEntities:
        """Raises: as `track_dialogues`."""
        if path not in self._found:
            self._found = {path: self._tracker(path)}
        return self._found[path]

    @cached_property
    def _tracker(self) -> Callable[[Any], VideoEntities]:
        try:
            return VideoTracker(Settings(), self._weights)
        except (ValueError, OSError, ImportError) as error:
            return partial(_fail, error)  # for each video the same: weights are looked for once


def _fail(error: Exception, path: Any) -> VideoEntities:
    raise error


def save_crop(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with atomic_file(path) as temporary:
        picture.save(temporary)


def write_crops(
    results: Sequence[dict[str, Any]], texts: Sequence[Sequence[str]], folder: Path
) -> list[dict[str, Any]]:
    """Write the persons' crops and `report.html` into a folder; the results then name the crops by path.

    Raises:
        FileExistsError: the folder holds other files than these.
    """
    named = []
    with atomic_folder(folder, owned=OWNED, marker=REPORT) as temporary:
        (temporary / "crops").mkdir()
        for number, result in enumerate(results):
            entities = []
            for entity in result.get("entities", ()):
                file = f"crops/{number}-{entity['id']}.png"
                entity["crop"].save(temporary / file)
                entities.append({**entity, "crop": f"{folder.name}/{file}"})
            named.append({**result, "entities": entities} if "entities" in result else result)
        (temporary / REPORT).write_text(report(results, texts), encoding="utf-8")
    return named


def report(results: Sequence[Mapping[str, Any]], texts: Sequence[Sequence[str]]) -> str:
    """One HTML page, without anything to load: the dialogue, its clusters, and a row a person with who is meant."""
    parts = [_dialogue(result, sentences) for result, sentences in zip(results, texts, strict=True)]
    return PAGE.replace("{content}", "\n".join(parts))


def _dialogue(result: Mapping[str, Any], sentences: Sequence[str]) -> str:
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    entities = result.get("entities", [])
    end = max([time for entity in entities for _, time in spans(entity)], default=0.0) + 0.2
    rows = "".join(_row(entity, result["clusters"], end) for entity in entities)
    others = [cluster for cluster in result["clusters"] if cluster.get("region") is None]
    if others:
        rows += f"<tr><td></td><td>nobody to be seen</td><td>{_names(others)}</td><td></td></tr>"
    head = "<tr><th></th><th>person</th><th>who is meant</th><th>when</th></tr>"
    return f"<section><blockquote>{said}</blockquote><table>{head}{rows}</table></section>"


def _row(entity: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], end: float) -> str:
    colour = COLOURS[entity["id"] % len(COLOURS)]
    linked = [cluster for cluster in clusters if cluster.get("region") == entity["id"]]
    scale = 500 / end
    bars = "".join(
        f'<rect x="{scale * start:.1f}" y="8" width="{max(2.0, scale * (stop + 0.2 - start)):.1f}" height="18"/>'
        for start, stop in spans(entity)
    )
    return (
        f'<tr><td><img src="data:image/png;base64,{_thumbnail(entity["crop"])}" alt=""></td>'
        f"<td>person {entity['id']}</td><td>{_names(linked)}</td>"
        f'<td><svg width="500" height="34" fill="{colour}"><rect width="500" height="34" fill="#f2f2f2"/>{bars}</svg>'
        f"<small>{span_text(entity)}</small></td></tr>"
    )


def _names(clusters: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for cluster in clusters:
        names = " · ".join(dict.fromkeys(html.escape(mention["text"]) for mention in cluster["mentions"]))
        score = f" <small>{cluster['region_score']:.2f}</small>" if "region_score" in cluster else ""
        lines.append(f"<div>{names}{score}</div>")
    return "".join(lines) or "–"


def _thumbnail(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PAGE = """<!doctype html>
<html lang="zh"><meta charset="utf-8"><title>Who is meant</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; color: #222 }
blockquote { border-left: 4px solid #ddd; margin: 1rem 0; padding: 0 1rem }
blockquote p { margin: .2rem 0 }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: #888; font-weight: normal }
td, th { border-top: 1px solid #ddd; padding: .5rem; vertical-align: middle }
img { height: 96px; display: block } small { color: #666; display: block }
</style>
<h1>Who is meant</h1>
{content}
</html>
"""
