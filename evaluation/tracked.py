"""Tracked entities as candidates: the persons that `tracking` finds in a dialogue's video, or in its own frames.

An annotated person is a label of the annotated boxes. Persons and entities of a dialogue are matched one to one, by
their overlap in the annotated frames where it is at least `MIN_IOU`. So an entity that mixes two persons stands for one
of them, and of a person in two pieces the piece that overlaps more is right.
"""

import functools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from tiktalkcoref.corpus.records import boxes_of_clusters
from tiktalkcoref.evaluate_metric.resampling import bootstrap
from tiktalkcoref.files.progress import track
from tiktalkcoref.tracking.detections import overlaps
from tiktalkcoref.tracking.entities import Entity, VideoEntities, candidates
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker

from .dialogues import DatasetError, Dialogue, celebrity, frames_of, text_dialogue

MIN_IOU = 0.5
Row = dict[str, Any]
Place = tuple[int, str, Sequence[float]]  # of an annotated box: number of the picture, label, [x1, y1, x2, y2] in px


@dataclass
class TrackedDialogue:
    """A dialogue whose regions are tracked entities.

    Attributes:
        dialogue: as of `to_dialogue`; a region is several pictures of an entity, a link to a person whom no entity
            stands for is a number behind the last region: it can only be missed.
        entities: what `tracking.candidates` says of each region.
        persons, reached: how many annotated persons there are, and how many of them an entity stands for.
        tracked: whether there was a video, or the frame of every box.
    """

    dialogue: Dialogue
    entities: list[dict[str, Any]] = field(default_factory=list)
    persons: int = 0
    reached: int = 0
    tracked: bool = False


def track_candidates(rows: Iterable[Row], weights: Path | None = None) -> list[TrackedDialogue]:
    """Track the persons of each row with annotated boxes, in its video where that file is there, else in its frames.

    Args:
        weights: folder with the weights of the tracker's networks; None: the Hub's.

    Raises:
        DatasetError: no row has a video or frames.
        VideoError: a video that cannot be read.
        WeightsError, MissingExtraError: what the tracker needs is not there.
    """
    tracker = VideoTracker(Settings(), weights)
    of_video = functools.cache(tracker)  # several dialogues may be about one video
    found = []
    for row in track(list(rows), "tracking"):
        boxes = row.get("visual_annotations") or []
        if boxes and row.get("video_path") and Path(row["video_path"]).is_file():
            places = [(int(box["cur_frame"]), box["box_labels"], box["bbox"]) for box in boxes]
            found.append(_with_entities(row, of_video(row["video_path"]), places))
            continue
        frames = frames_of(row)
        if boxes and sum(len(framed) for _, framed in frames) == len(boxes):
            with tempfile.TemporaryDirectory() as folder:
                for number, (picture, _) in enumerate(frames):
                    picture.convert("RGB").save(Path(folder) / f"{number}.png")
                places = [
                    (number, boxes[index]["box_labels"], box)
                    for number, (_, framed) in enumerate(frames)
                    for index, box in framed
                ]
                found.append(_with_entities(row, tracker(folder), places))
        else:
            found.append(TrackedDialogue(text_dialogue(row), persons=len({box["box_labels"] for box in boxes})))
    if not any(item.tracked for item in found):
        raise DatasetError(
            "no dialogue has annotated boxes with a video or frames to track: prepare the dataset with --videos-dir or "
            "--frames-dir, or take the annotated regions for candidates"
        )
    return found


def tracker_recall(found: Sequence[TrackedDialogue], n_resamples: int, confidence_level: float, seed: int) -> Row:
    """The share of annotated persons for whom an entity stands, which no recall of links can exceed, with its n."""
    counts = np.array([[item.reached, item.persons] for item in found if item.tracked], dtype=float)
    reached, persons = counts.sum(axis=0)
    recall: dict[str, float] = {"value": float(reached / max(persons, 1)), "n": int(persons)}
    if n_resamples:
        drawn = bootstrap(counts, n_resamples, seed)
        tail = (1 - confidence_level) / 2
        low, high = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [tail, 1 - tail])
        recall |= {"low": float(low), "high": float(high)}
    return {
        "tracker_recall": recall,
        "min_iou": MIN_IOU,
        "tracked_dialogues": len(counts),
        "untracked_dialogues": sum(bool(item.persons) and not item.tracked for item in found),
        "entities": sum(len(item.entities) for item in found),
        "settings": asdict(Settings()),
    }


def box_at(entity: Entity, frame: int, step: float) -> list[list[float]]:
    """Where an entity is in a picture, by each track that is there: between two pictures that were searched the box
    moves evenly; `step` is how many pictures lie between two that are searched."""
    boxes = []
    for seen in entity.tracks:
        if seen.frames[0] - step / 2 < frame < seen.frames[-1] + step / 2:
            boxes.append([float(np.interp(frame, seen.frames, side)) for side in zip(*seen.boxes, strict=True)])
    return boxes


def match_persons(found: VideoEntities, places: Sequence[Place]) -> dict[str, int]:
    """The entity that stands for each annotated person whom one reaches, by label."""
    labels = list(dict.fromkeys(label for _, label, _ in places))
    overlap = np.zeros((len(labels), len(found.entities)))
    step = _step(found)
    for frame, label, box in places:
        for number, entity in enumerate(found.entities):
            seen = box_at(entity, frame, step)
            best = float(overlaps(np.array([box], float), np.array(seen)).max()) if seen else 0.0
            overlap[labels.index(label), number] += best if best >= MIN_IOU else 0.0
    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    return {labels[person]: int(entity) for person, entity in pairs if overlap[person, entity]}


def _step(found: VideoEntities) -> float:
    """How many pictures of the source lie between two that were searched."""
    tracks = [seen for entity in found.entities for seen in entity.tracks]
    frame, time = max(((seen.frames[-1], seen.times[-1]) for seen in tracks), default=(0, 0.0))
    return frame / time / found.settings.fps if time else 1.0


def _with_entities(row: Row, found: VideoEntities, places: Sequence[Place]) -> TrackedDialogue:
    pictures, entities = candidates(found)
    entity_of = match_persons(found, places)
    names: dict[str, str | None] = {}
    for box in row["visual_annotations"]:
        names[box["box_labels"]] = names.get(box["box_labels"]) or celebrity(box)
    missed = [label for label in names if label not in entity_of]
    number_of = entity_of | {label: len(entities) + place for place, label in enumerate(missed)}
    identities: list[str | None] = [None] * (len(entities) + len(missed))
    for label, number in number_of.items():
        identities[number] = names[label]
    first_boxes = [numbers[0] if numbers else None for numbers in boxes_of_clusters(row)]
    links = [-1 if box is None else number_of[row["visual_annotations"][box]["box_labels"]] for box in first_boxes]
    pictured = {"regions": pictures, "links": links, "region_identities": identities}
    return TrackedDialogue(text_dialogue(row) | pictured, entities, len(names), len(entity_of), tracked=True)
