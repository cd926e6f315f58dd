"""The command `tiktalkcoref evaluate`: predictions, scores with intervals, baselines, and a report to look at."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from transformers.utils import logging as transformers_logging

from tiktalkcoref.evaluate_metric import Scores
from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.errors import UserError

from .baselines import score_baselines
from .challenge import evaluate_challenge
from .dialogues import Dialogue, frames_of, load_rows, to_dialogue, without_pictures
from .ensemble import load_ensemble
from .environment import device_name, versions
from .models import load_model
from .output import check_replaceable
from .pools import ANNOTATED, TRACKED, linking_settings, with_intervals
from .predictions import IN_FULL, check_batch_size, predict_dialogues, score_predictions
from .report import Shown, render_report
from .tables import interval_note, summary_tables
from .tracked import track_candidates, tracker_recall

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.jsonl", "report.html"
OWNED = (SCORES, PREDICTIONS, REPORT)  # a folder that holds anything else is not replaced
FORMAT = 1
Candidates = Literal["annotated", "tracked"]


@dataclass(frozen=True)
class Resampling:
    """How the intervals are made: percentile bootstrap over dialogues."""

    n_resamples: int = 1000
    confidence_level: float = 0.95
    seed: int = 0


def evaluate(
    model: str | Path | Sequence[str | Path],
    dataset: str,
    output: Path | str,
    *,
    config: str = "all",
    split: str = "test",
    fold: str | None = None,
    batch_size: int = 32,
    resampling: Resampling | None = None,
    with_pictures: bool = True,
    candidates: Candidates = "annotated",
    weights: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a model on one split and write `scores.json`, `predictions.jsonl` and `report.html` into `output`.

    Args:
        model: folder or Hub id; `model/` of a training run. Several are an ensemble: their probabilities' mean.
        dataset: as for training (see `load_dialogues`).
        output: a new or empty folder, or one of an earlier evaluation, which is replaced.
        fold: evaluate on this fold of a cross-validation, like `2/5`.
        with_pictures: False reads the text alone.
        candidates: what clusters are linked to: the annotated regions, or the persons that `tracking` finds in the
            dialogue's video (or in its frames, where there is no video).
        weights: folder with the weights of the tracker's networks; None: the Hub's.

    Returns:
        The content of `scores.json`.

    Raises:
        ValueError: a model or dataset that cannot be had, an output with files of somebody else (told first), nothing
            to track or nothing that sees where tracked candidates are asked for.
    """
    check_replaceable(Path(output), OWNED, SCORES, ("format", "scores", "linking_settings", "baselines"))
    check_batch_size(batch_size)
    transformers_logging.disable_progress_bar()
    rows = list(load_rows(dataset, config, split, fold))
    if isinstance(model, str | Path):
        (network, processor), name, summary = load_model(model), str(model), _training_summary(model)
    else:
        (network, processor), name, summary = load_ensemble(model), f"ensemble of {', '.join(map(str, model))}", None
    options = asdict(resampling or Resampling())
    sees = with_pictures and network.config.vision_config is not None
    entities: Sequence[Sequence[dict[str, Any]]] = [()] * len(rows)
    about: dict[str, Any] = {"kind": ANNOTATED}
    if candidates == "tracked":
        if not sees:
            raise UserError("candidates are to be tracked, but pictures are not looked at: leave out one of the two")
        found = track_candidates(rows, weights)
        dialogues, entities = [item.dialogue for item in found], [item.entities for item in found]
        about = {"kind": TRACKED, **tracker_recall(found, **options)}
    else:
        dialogues = [to_dialogue(row) for row in rows]
        if not sees:
            dialogues = without_pictures(dialogues)
    started = time.perf_counter()
    predictions = predict_dialogues(
        network, processor, dialogues, batch_size=batch_size, in_full=True, description="predicting"
    )
    seconds = time.perf_counter() - started
    result = {
        "format": FORMAT,
        "dataset": dataset,
        "config": config,
        "split": split,
        "fold": fold,
        "dialogues": len(dialogues),
        **options,
        "candidates": about if sees else None,
        "scores": _with_sizes(score_predictions(predictions, dialogues, **options), dialogues),
        "linking_settings": linking_settings(dialogues, predictions, about["kind"], **options),
        "baselines": score_baselines(dialogues, predictions),
        "challenge": evaluate_challenge(network, processor, batch_size),
        "model": {"path": name, "parameters": sum(p.numel() for p in network.parameters())},
        "training": summary,
        "environment": {
            "device": device_name(network.device),
            "threads": torch.get_num_threads(),
            "prediction_seconds": round(seconds, 3),
            **versions(),
        },
    }
    shown = [
        Shown(dialogue, prediction, frames_of(row) if with_pictures else (), persons)
        for dialogue, prediction, row, persons in zip(dialogues, predictions, rows, entities, strict=True)
    ]
    with atomic_folder(Path(output), owned=OWNED) as folder:
        (folder / SCORES).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _write_predictions(folder / PREDICTIONS, shown, with_entities=candidates == "tracked")
        (folder / REPORT).write_text(render_report(result, shown), encoding="utf-8")
    return result


def main(
    model: str | Sequence[str],
    dataset: str,
    output: Path,
    *,
    config: str,
    split: str,
    console: Console | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The command: evaluate, print the tables, say where the rest is."""
    console = console or Console(soft_wrap=True, highlight=False)
    result = evaluate(model, dataset, output, config=config, split=split, **options)
    console.print(f"{result['dialogues']} dialogues, {dataset} {config}/{split}; {interval_note(result)}")
    if not isinstance(model, str):
        console.print(result["model"]["path"])
    console.print(summary_tables(result))
    console.print(f"report: {Path(output) / REPORT}")
    return result


def _with_sizes(scores: Scores, dialogues: Sequence[Dialogue]) -> dict[str, dict[str, float]]:
    """Each score with its interval and n: dialogues for coreference, queries for links."""
    sized = with_intervals(scores)
    for key, entry in sized.items():
        entry["n"] = len(dialogues)
        if key.startswith("linking_"):
            group = next((g for g in ("visual_", "name_", "noun_", "pronoun_") if key.startswith(f"linking_{g}")), "")
            entry["n"] = scores.get(f"linking_{group}n", len(dialogues))
    return sized


def _training_summary(model: str | Path) -> dict[str, Any] | None:
    """`summary.json` of the run that the model came from, if it stands beside it."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "summary.json").is_file():
            return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return None


def _write_predictions(path: Path, shown: Sequence[Shown], with_entities: bool) -> None:
    with path.open("w", encoding="utf-8") as file:
        for item in shown:
            row = {key: item.dialogue[key] for key in ("doc_key", "sentences")}
            row |= {key: value for key, value in item.prediction.items() if key not in IN_FULL}
            if with_entities:
                row["entities"] = [{key: e[key] for key in e if key != "crop"} for e in item.entities]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
