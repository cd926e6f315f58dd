"""The command `tiktalkcoref evaluate`: predictions, scores with intervals, baselines, and a report to look at."""

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, Group
from rich.table import Table
from transformers.utils import logging as transformers_logging

from tiktalkcoref.evaluate_metric import Scores
from tiktalkcoref.evaluate_metric.report import tables
from tiktalkcoref.files.atomic import atomic_file, atomic_folder
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

from . import registry  # noqa: F401 (importing it is its use)
from .baselines import score_baselines
from .dialogues import Dialogue, frames_of, load_rows, to_dialogue
from .pools import linking_settings, with_intervals
from .predictions import Prediction, predict_dialogues, score_predictions
from .report import Shown, render_report

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.jsonl", "report.html"
OWNED = [SCORES, PREDICTIONS, REPORT]  # a folder that holds anything else is not replaced
FORMAT = 1


@dataclass(frozen=True)
class Resampling:
    """How the intervals are made: percentile bootstrap over dialogues."""

    n_resamples: int = 1000
    confidence_level: float = 0.95
    seed: int = 0


def evaluate(
    model: str | Path,
    dataset: str,
    output: Path | str,
    *,
    config: str = "all",
    split: str = "test",
    fold: str | None = None,
    batch_size: int = 32,
    resampling: Resampling | None = None,
    with_pictures: bool = True,
) -> dict[str, Any]:
    """Evaluate a model on one split and write `scores.json`, `predictions.jsonl` and `report.html` into `output`.

    Args:
        model: folder or Hub id; `model/` of a training run.
        dataset: as for training (see `load_dialogues`).
        fold: evaluate on this fold of a cross-validation, like `2/5`.
        with_pictures: False reads the text alone.

    Returns:
        The content of `scores.json`.

    Raises:
        ValueError: a model or dataset that cannot be had.
    """
    resampling = resampling or Resampling()
    transformers_logging.disable_progress_bar()
    rows = list(load_rows(dataset, config, split, fold))
    dialogues = [to_dialogue(row) for row in rows]
    network, processor = load_model(model)
    if not with_pictures or network.config.vision_config is None:
        dialogues = [
            {k: v for k, v in d.items() if k not in ("regions", "links", "region_identities")} for d in dialogues
        ]
    started = time.perf_counter()
    predictions = predict_dialogues(network, processor, dialogues, batch_size=batch_size, description="predicting")
    seconds = time.perf_counter() - started
    options = vars(resampling)
    scores = score_predictions(predictions, dialogues, **options)
    result = {
        "format": FORMAT,
        "dataset": dataset,
        "config": config,
        "split": split,
        "fold": fold,
        "dialogues": len(dialogues),
        **{key: options[key] for key in ("confidence_level", "n_resamples", "seed")},
        "scores": _with_sizes(scores, dialogues),
        "linking_settings": linking_settings(
            network, processor, dialogues, predictions, batch_size=batch_size, **options
        ),
        "baselines": score_baselines(network, processor, dialogues, predictions, batch_size=batch_size),
        "model": {"path": str(model), "parameters": sum(p.numel() for p in network.parameters())},
        "training": _training_summary(model),
        "environment": _environment(network, seconds),
    }
    shown = [
        Shown(dialogue, prediction, frames_of(row) if with_pictures else ())
        for dialogue, prediction, row in zip(dialogues, predictions, rows, strict=True)
    ]
    with atomic_folder(Path(output), owned=OWNED) as folder:
        _write_json(folder / SCORES, result)
        _write_predictions(folder / PREDICTIONS, dialogues, predictions)
        (folder / REPORT).write_text(render_report(result, shown), encoding="utf-8")
    return result


def main(
    model: str, dataset: str, output: Path, *, config: str, split: str, console: Console | None = None, **options: Any
) -> dict[str, Any]:
    """The command: evaluate, print the tables, say where the rest is."""
    console = console or Console(soft_wrap=True, highlight=False)
    result = evaluate(model, dataset, output, config=config, split=split, **options)
    console.print(f"{result['dialogues']} dialogues, {dataset} {config}/{split}; {_interval_note(result)}")
    console.print(summary_tables(result))
    console.print(f"report: {Path(output) / REPORT}")
    return result


def summary_tables(result: dict[str, Any]) -> Group:
    """The scores, the linking settings and the baselines as terminal tables."""
    flat: dict[str, float] = {}
    for key, entry in result["scores"].items():
        flat[key] = entry["value"]
        flat |= {f"{key}_{bound}": entry[bound] for bound in ("low", "high") if bound in entry}
    parts = [tables(flat)]
    if result["linking_settings"]:
        settings = Table(
            "", "n", "pool", "R@1", "chance", "R@3", "chance", title="Links by setting (%)", title_justify="left"
        )
        for setting in result["linking_settings"]:
            cells = [f"{100 * setting['scores'][key]['value']:.1f}" for key in SETTING_KEYS]
            settings.add_row(setting["name"], str(setting["n"]), f"{setting['mean_pool']:.2f}", *cells)
        parts.append(settings)
    baselines = Table("", "CoNLL F1", "R@1", title="Baselines (%)", title_justify="left")
    for name, row in result["baselines"].items():
        baselines.add_row(name, *(_percent(row.get(key)) for key in ("conll_f1", "linking_recall_at_1")))
    return Group(*parts, baselines)


SETTING_KEYS = (
    "linking_recall_at_1",
    "linking_chance_at_1",
    "linking_recall_at_3",
    "linking_chance_at_3",
)


def load_model(model: str | Path) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    """Model and processor from a folder or the Hub, on the accelerator if there is one.

    Raises:
        ValueError: no such folder, or one without a model of this architecture.
    """
    folder = Path(model)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"  # the folder of a whole run
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"{model} holds no model: expected config.json and weights, as `tiktalkcoref train` writes them"
        )
    place = str(folder) if folder.is_dir() else str(model)
    try:
        network = TikTalkCorefModel.from_pretrained(place)
        processor = TikTalkCorefProcessor.from_pretrained(place)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"no model {str(model)!r}: neither a folder here nor to be had from the Hub ({reason})"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device).eval(), processor


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


def _environment(network: TikTalkCorefModel, seconds: float) -> dict[str, Any]:
    packages = ("tiktalkcoref", "torch", "transformers", "datasets", "timm")
    return {
        "device": torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "prediction_seconds": round(seconds, 3),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _write_predictions(path: Path, dialogues: Sequence[Dialogue], predictions: Sequence[Prediction]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for dialogue, prediction in zip(dialogues, predictions, strict=True):
            row = {"doc_key": dialogue["doc_key"], "sentences": dialogue["sentences"]} | prediction
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _interval_note(result: dict[str, Any]) -> str:
    if not result["n_resamples"]:
        return "no intervals"
    return f"{100 * result['confidence_level']:g}% intervals from {result['n_resamples']} resamples of the dialogues"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
