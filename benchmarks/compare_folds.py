"""Two recipes compared over the folds of a cross-validation: every dialogue once, by the model that did not see it.

    python benchmarks/compare_folds.py --a OLD/fold-{fold} --b NEW/fold-{fold} --dataset FOLDER [--seeds 1 2 3]

`{fold}` and `{seed}` in `--a` and `--b` stand for the numbers; each place is a run of `tiktalkcoref train` with that
`fold`, or several, separated by commas, that are an ensemble. Predicts what is not predicted yet
(`fold_predictions.jsonl` beside the first run's model), pools the folds, and prints the mean CoNLL F1 of each recipe
over its seeds, and the difference with a 95% interval (paired bootstrap over dialogues) and the p-value of approximate
randomisation over dialogues. A dialogue is drawn, or changes sides, with the outputs of all seeds together.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import record
from rich.console import Console
from rich.table import Table

from tiktalkcoref.evaluate_metric import Scores
from tiktalkcoref.evaluate_metric.resampling import bootstrap, permute
from tiktalkcoref.evaluation.dialogues import Dialogue, load_dialogues
from tiktalkcoref.evaluation.ensemble import load_ensemble
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import predict_dialogues, score_predictions
from tiktalkcoref.files.atomic import atomic_file

FOLDS = 5
KEYS = ("conll_f1", "muc_f1", "b_cubed_f1", "ceaf_e_f1", "mention_f1")
PREDICTIONS = "fold_predictions.jsonl"
RESAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--a", required=True, help="runs of the recipe to beat, such as runs/old-{seed}-{fold}")
    parser.add_argument("--b", required=True, help="runs of the other recipe")
    parser.add_argument("--dataset", required=True, help="a prepared folder, upstream's files, or a Hub id")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, FOLDS + 1)), help="those that both ran")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="seeds of b")
    parser.add_argument("--seeds-a", type=int, nargs="+", help="seeds of a, if others")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    parts = {fold: load_dialogues(arguments.dataset, "all", "test", f"{fold}/{FOLDS}") for fold in arguments.folds}
    seeds = {"a": arguments.seeds_a or arguments.seeds, "b": arguments.seeds}
    scores = {name: [pooled(getattr(arguments, name), seed, parts) for seed in seeds[name]] for name in ("a", "b")}
    sizes = {"dialogues": sum(map(len, parts.values())), "folds": arguments.folds, "seeds": seeds}
    result = {**sizes, **compare(scores["a"], scores["b"])}
    if arguments.output:
        record(arguments.output, "Two recipes compared over folds", result, arguments.seeds)
    show(result)


def pooled(place: str, seed: int, parts: dict[int, list[Dialogue]]) -> Scores:
    """The scores over all folds together of the runs at a place."""
    found: list[dict[str, Any]] = []
    for fold, dialogues in parts.items():
        found += predictions(place.format(seed=seed, fold=fold).split(","), dialogues)
    return score_predictions(found, [dialogue for part in parts.values() for dialogue in part])


def predictions(runs: list[str], dialogues: list[Dialogue]) -> list[dict[str, Any]]:
    """What a run's model, or an ensemble of several runs', finds in its test dialogues, kept in a file."""
    file = Path(runs[0], "ensemble_" * (len(runs) > 1) + PREDICTIONS)
    if not file.is_file():
        model, processor = load_model(runs[0]) if len(runs) == 1 else load_ensemble(runs)
        rows = predict_dialogues(model, processor, dialogues, description=" ".join(runs))
        with atomic_file(file) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for dialogue, row in zip(dialogues, rows, strict=True):
                kept = {key: row[key] for key in ("clusters", "mention_scores", "gold_region_scores")}
                lines.write(json.dumps({"doc_key": dialogue["doc_key"], **kept}) + "\n")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if [row["doc_key"] for row in rows] != [dialogue["doc_key"] for dialogue in dialogues]:
        raise ValueError(f"{file} is of other dialogues than the fold's {len(dialogues)}: remove it")
    return rows


def compare(a: Sequence[Scores], b: Sequence[Scores]) -> dict[str, Any]:
    """Means over seeds of the two recipes, b - a, its interval and p-value: by key."""
    counts = [[one.statistics[0].counts for one in side] for side in (a, b)]
    values = a[0].statistics[0].scores
    drawn = [_mean([values(bootstrap(one, RESAMPLES, 0)) for one in side]) for side in counts]
    result: dict[str, Any] = {}
    swapped = _swap(counts, values)
    for key in KEYS:
        means = [float(np.mean([one[key] for one in side])) for side in (a, b)]
        difference = means[1] - means[0]
        low, high = np.percentile(drawn[1][key] - drawn[0][key], [2.5, 97.5])
        extreme = int((np.abs(swapped[key]) >= abs(difference) - 1e-12).sum())
        result[key] = {
            **{name: _estimate(side, part, key) for name, side, part in zip("ab", (a, b), drawn, strict=True)},
            **{"difference": difference, "low": float(low), "high": float(high)},
            "p_value": (1 + extreme) / (1 + RESAMPLES),
        }
    return result


def _swap(counts: list[list[np.ndarray]], values: Any) -> dict[str, np.ndarray]:
    """b - a where each dialogue's outputs, of all seeds together, change sides with probability 1/2."""
    if len(counts[0]) != len(counts[1]):  # unequal numbers of seeds: each side's counts are averaged first
        counts = [[np.mean(side, axis=0)] for side in counts]
    totals = [list(permute(one, other, RESAMPLES, 0)) for one, other in zip(*counts, strict=True)]
    sides = [_mean([values(total[side]) for total in totals]) for side in (0, 1)]
    return {key: sides[1][key] - sides[0][key] for key in KEYS}


def _mean(values: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.mean([one[key] for one in values], axis=0) for key in KEYS}


def _estimate(side: Sequence[Scores], drawn: dict[str, np.ndarray], key: str) -> dict[str, Any]:
    low, high = np.percentile(drawn[key], [2.5, 97.5])
    values = [one[key] for one in side]
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high), "values": values}


def show(result: dict[str, Any]) -> None:
    table = Table("", "a", "b", "b - a", "p", title=f"{result['dialogues']} dialogues, folds {result['folds']}")
    for key in KEYS:
        row = result[key]
        sides = [
            f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]" for one in (row["a"], row["b"])
        ]
        change = f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        table.add_row(key.removesuffix("_f1"), *sides, change, f"{row['p_value']:.4f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
