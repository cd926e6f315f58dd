"""The figures of `text-small` on the published annotations: three seeds a row, and a cross-validation.

    python benchmarks/results_text.py --dataset FOLDER --text-encoder FOLDER [--output runs] [--only all celeb ...]

Trains what is not trained yet (a killed call goes on where it stopped; calls with different `--only` may share an
output), then scores every run that is there: means over the seeds with 95% intervals, in `results.json` and as a table.
An interval is of the mean over seeds, from 1,000 resamples of the dialogues, the same for every seed. The last epoch of
each run is kept; no test dialogue chooses anything.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import record
from rich.console import Console
from rich.table import Table

from tiktalkcoref.evaluate_metric import Scores
from tiktalkcoref.evaluate_metric.resampling import bootstrap
from tiktalkcoref.evaluation.baselines import score_baselines
from tiktalkcoref.evaluation.dialogues import SPLITS, Dialogue, load_dialogues
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import Prediction, predict_dialogues, score_predictions
from tiktalkcoref.training.recipe import load_recipe
from tiktalkcoref.training.run_folder import RECIPE, holds_run
from tiktalkcoref.training.train import train

ROWS = {
    "all": [],  # learns from train and validation
    "train": ["train_split=train"],
    "celeb": ["train_config=celeb", "loop.epochs=24"],  # a third of the dialogues: more epochs
    "title": ["model.use_title=true"],
}
FOLDS = 5
KEYS = ("conll_f1", "muc_f1", "b_cubed_f1", "ceaf_e_f1", "mention_f1")
RESAMPLES, LEVEL = 1000, 0.95


@dataclass
class Estimate:
    """A score: its mean over runs, the interval of this mean, each run's value, and how many dialogues it is of."""

    mean: float
    low: float
    high: float
    values: list[float]
    dialogues: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="a prepared folder, upstream's files, or a Hub id")
    parser.add_argument("--text-encoder", required=True, help="folder or Hub name of the backbone")
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="*", default=[*ROWS, "fold"], choices=[*ROWS, "fold"], help="what to train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    for name, overrides in jobs(arguments.only, arguments.seeds).items():
        given = [
            f"dataset={json.dumps(arguments.dataset)}",
            f"initial.text_encoder={json.dumps(arguments.text_encoder)}",
        ]
        run = arguments.output / name
        train(load_recipe("text-small", [*given, *overrides]), run, resume=holds_run(run))
    results = measure(arguments.dataset, arguments.output, arguments.seeds)
    record(arguments.output / "results.json", "Text coreference on the published annotations", results, arguments.seeds)
    show(results)


def jobs(rows: Sequence[str], seeds: Sequence[int]) -> dict[str, list[str]]:
    """The overrides of each run, by the name of its folder."""
    found = {f"{row}-{seed}": [f"seed={seed}", *ROWS[row]] for row in rows if row in ROWS for seed in seeds}
    if "fold" in rows:
        found |= {f"fold-{fold}": [f"seed={seeds[0]}", f"fold={fold}/{FOLDS}"] for fold in range(1, FOLDS + 1)}
    return found


def measure(dataset: str, output: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Scores of every row whose runs are all finished: by split, then by key, an `Estimate`."""
    splits = {split: load_dialogues(dataset, "all", split) for split in ("validation", "test")}
    celebrities = {d["doc_key"] for split in SPLITS for d in load_dialogues(dataset, "celeb", split)}
    results: dict[str, Any] = {}
    for row in ROWS:
        runs = [output / f"{row}-{seed}" for seed in seeds]
        if all((run / "summary.json").is_file() for run in runs):
            results[row] = measure_row(runs, splits, celebrities) | {"training": cost(runs)}
    folds = [output / f"fold-{fold}" for fold in range(1, FOLDS + 1)]
    if all((run / "summary.json").is_file() for run in folds):
        results["fold"] = measure_folds(folds, dataset, celebrities) | {"training": cost(folds)}
    return results


def measure_row(runs: Sequence[Path], splits: dict[str, list[Dialogue]], celebrities: set[str]) -> dict[str, Any]:
    """Every run on the same dialogues; baselines beside the test splits."""
    scored: dict[str, list[Scores]] = {}
    baselines: dict[str, list[dict[str, dict[str, float]]]] = {}
    for run in runs:
        model, processor = load_model(run)
        for split, dialogues in splits.items():
            if split == "validation" and load_recipe(run / RECIPE).train_split != "train":
                continue  # it was learned
            predictions = predict_dialogues(model, processor, dialogues, in_full=True)
            for place, kept in parts(split, dialogues, celebrities).items():
                chosen, found = [dialogues[n] for n in kept], [predictions[n] for n in kept]
                scored.setdefault(place, []).append(score_predictions(found, chosen))
                baselines.setdefault(place, []).append(score_baselines(chosen, found))
    return {
        "scores": {place: estimate(scores) for place, scores in scored.items()},
        "baselines": {
            place: {name: {key: statistics.mean(one[name][key] for one in found) for key in KEYS} for name in found[0]}
            for place, found in baselines.items()
        },
    }


def measure_folds(runs: Sequence[Path], dataset: str, celebrities: set[str]) -> dict[str, Any]:
    """Each run on the part that it did not see; scores over all dialogues together, and `values` by fold."""
    pooled: list[tuple[Dialogue, Prediction]] = []
    by_fold: dict[str, list[float]] = {}
    for number, run in enumerate(runs, start=1):
        model, processor = load_model(run)
        dialogues = load_dialogues(dataset, "all", "test", f"{number}/{FOLDS}")
        predictions = predict_dialogues(model, processor, dialogues, in_full=True)
        pooled += zip(dialogues, predictions, strict=True)
        for place, kept in parts("folds", dialogues, celebrities).items():
            scores = score_predictions([predictions[n] for n in kept], [dialogues[n] for n in kept])
            by_fold.setdefault(place, []).append(scores["conll_f1"])
    scored, baselines = {}, {}
    for place, kept in parts("folds", [dialogue for dialogue, _ in pooled], celebrities).items():
        chosen, found = [pooled[n][0] for n in kept], [pooled[n][1] for n in kept]
        scored[place] = estimate([score_predictions(found, chosen)])
        scored[place]["conll_f1"].values = by_fold[place]
        baselines[place] = score_baselines(chosen, found)
    return {"scores": scored, "baselines": baselines}


def parts(split: str, dialogues: Sequence[Dialogue], celebrities: set[str]) -> dict[str, list[int]]:
    """The dialogues of `all/SPLIT` and `celeb/SPLIT`, by number."""
    everyone = list(range(len(dialogues)))
    return {
        f"all/{split}": everyone,
        f"celeb/{split}": [n for n in everyone if dialogues[n]["doc_key"] in celebrities],
    }


def estimate(scores: Sequence[Scores]) -> dict[str, Estimate]:
    """Means over systems scored on the same dialogues; every system sees the same resamples."""
    drawn = []
    for one in scores:
        part = one.statistics[0]
        drawn.append(part.scores(bootstrap(part.counts, RESAMPLES, seed=0)))
    tail = 100 * (1 - LEVEL) / 2
    found = {}
    for key in KEYS:
        low, high = np.percentile(np.mean([values[key] for values in drawn], axis=0), [tail, 100 - tail])
        values = [one[key] for one in scores]
        count = len(scores[0].statistics[0].counts)
        found[key] = Estimate(statistics.mean(values), float(low), float(high), values, count)
    return found


def cost(runs: Sequence[Path]) -> dict[str, Any]:
    """What the runs took: of the longest and the largest, and on what."""
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs]
    return {
        "dialogues": summaries[0]["dialogues"],
        "parameters": summaries[0]["parameters"],
        "wall_seconds": max(summary["wall_seconds"] for summary in summaries),
        "peak_memory_bytes": max(summary["peak_memory_bytes"] for summary in summaries),
        "device": summaries[0]["device"],
        "versions": summaries[0]["versions"],
    }


def show(results: dict[str, Any]) -> None:
    console = Console(width=130)
    table = Table("row", "split", "n", *(key.removesuffix("_f1") for key in KEYS), "CoNLL of each run")
    for row, result in results.items():
        for place, scores in result["scores"].items():
            cells = [f"{100 * s.mean:.1f}" for s in scores.values()]
            conll = scores["conll_f1"]
            cells[0] += f" [{100 * conll.low:.1f}, {100 * conll.high:.1f}]"
            table.add_row(
                row, place, str(conll.dialogues), *cells, " ".join(f"{100 * value:.1f}" for value in conll.values)
            )
    console.print(table)
    beside = [results[row]["baselines"] for row in ("all", "fold") if row in results]
    for place, rows in (item for found in beside for item in found.items()):
        baselines = Table(f"baselines, {place}", *(key.removesuffix("_f1") for key in KEYS))
        for name, values in rows.items():
            baselines.add_row(name, *(f"{100 * values[key]:.1f}" for key in KEYS))
        console.print(baselines)
    for row, result in results.items():
        training = result["training"]
        console.print(
            f"{row}: {training['dialogues']} training dialogues, {training['parameters'] / 1e6:.1f} M parameters, "
            f"at most {training['wall_seconds'] / 60:.1f} min and {training['peak_memory_bytes'] / 2**30:.1f} GiB "
            f"a run, {training['device']}"
        )


if __name__ == "__main__":
    main()
