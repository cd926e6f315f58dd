"""Speed of the metric against scorch, of the bootstrap, and of one very large document; prints a table.

    python benchmarks/bench_metric.py [ANNOTATIONS] [--output benchmarks/results/metric.json]

ANNOTATIONS is upstream's annotation file (default: the one under $TIKTALKCOREF_SHARED, else a synthetic corpus of the
same make-up). Predictions are its clusters with mentions dropped, moved and added. Best of several rounds, one process.
"""

import argparse
import json
import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scorch.scores
from record import show
from rich.table import Table

from tiktalkcoref.evaluate_metric import score

Clusters = list[list[list[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", nargs="?", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    golds = read_golds(arguments.annotations)
    predictions = [{"clusters": perturb(gold, random.Random(i))} for i, gold in enumerate(golds)]
    references = [{"clusters": gold} for gold in golds]
    check_agreement(predictions, references)

    theirs = best(lambda: score_with_scorch(predictions, references))
    ours = best(lambda: score(predictions, references))
    resampled = best(lambda: score(predictions, references, n_resamples=1000), rounds=3)
    mentions = sum(len(cluster) for gold in golds for cluster in gold)
    table = Table("what", "seconds", "bar", title=f"{len(golds)} dialogues, {mentions} mentions", title_justify="left")
    table.add_row("scorch 0.2.0: MUC + B³ + CEAF-e, no checks", f"{theirs:.4f}", "")
    table.add_row("score(): all seven metrics, input checked", f"{ours:.4f}", f"{theirs / 3:.4f} (a third)")
    table.add_row("the same with 1,000 bootstrap resamples", f"{resampled:.4f}", "2")
    for name, moved in (("every mention anywhere", 1.0), ("30% of the mentions moved", 0.3), ("gold itself", 0.0)):
        document = large_document(moved)
        seconds = best(lambda document=document: score(*document), rounds=3)
        table.add_row(f"5,000 mentions in 1,500 clusters: {name}", f"{seconds:.4f}", "2")
    table.add_row("score() / scorch", f"{ours / theirs:.3f}", "0.333")
    show("Speed of the metric beside scorch", [table], arguments.output)


def read_golds(annotations: Path | None) -> list[Clusters]:
    """Gold clusters of every dialogue."""
    shared = os.environ.get("TIKTALKCOREF_SHARED")
    path = annotations or (Path(shared) / "upstream" / "annotations.8d346bf.jsonl" if shared else None)
    if path:
        return [json.loads(line)["clusters"] for line in path.read_text(encoding="utf-8").splitlines()]
    rng = random.Random(0)
    sizes = [[rng.choice((1, 1, 2, 3)) for _ in range(rng.choice((1, 1, 2)))] for _ in range(1012)]
    return [[[[10 * c + m, 10 * c + m] for m in range(size)] for c, size in enumerate(row)] for row in sizes]


def perturb(gold: Clusters, rng: random.Random) -> Clusters:
    """A tenth of the mentions missing, three tenths in a cluster drawn at random, in half of the dialogues one more."""
    predicted: Clusters = [[] for _ in gold]
    for i, cluster in enumerate(gold):
        for mention in cluster:
            if rng.random() > 0.1:
                predicted[i if rng.random() > 0.3 else rng.randrange(len(gold))].append(mention)
    if not any(predicted):
        predicted[0].append(gold[0][0])  # scorch fails where nothing is right
    if rng.random() < 0.5:
        predicted.append([[900, 901]])
    return [cluster for cluster in predicted if cluster]


def score_with_scorch(predictions: list[dict], references: list[dict]) -> list[tuple]:
    """Its three scores of each dialogue; it takes sets of hashable mentions."""
    results = []
    for prediction, reference in zip(predictions, references, strict=True):
        gold, predicted = (
            [{tuple(mention) for mention in cluster} for cluster in document["clusters"]]
            for document in (reference, prediction)
        )
        results.append(
            [metric(gold, predicted) for metric in (scorch.scores.muc, scorch.scores.b_cubed, scorch.scores.ceaf_e)]
        )
    return results


def check_agreement(predictions: list[dict], references: list[dict]) -> None:
    """Both give the same scores, dialogue by dialogue."""
    for i, theirs in enumerate(score_with_scorch(predictions, references)):
        ours = score([predictions[i]], [references[i]])
        for metric, values in zip(("muc", "b_cubed", "ceaf_e"), theirs, strict=True):
            expected = [ours[f"{metric}_{part}"] for part in ("recall", "precision", "f1")]
            # scorch sets MUC to 0 on both sides where one of them has singletons alone; so does 0/0
            if not np.allclose(values, expected, atol=1e-9):
                raise SystemExit(f"dialogue {i}: {metric} is {values} with scorch, {expected} here")


def large_document(moved: float) -> tuple[list[dict], list[dict]]:
    """One document of 5,000 mentions in 1,500 clusters, a share of which is elsewhere in the prediction."""
    rng = np.random.default_rng(0)
    gold = np.concatenate([np.arange(1500), rng.integers(1500, size=3500)])
    predicted = np.where(rng.random(5000) < moved, rng.permutation(gold), gold)
    sides = []
    for cluster_of in (predicted, gold):
        members: dict[int, list] = {}
        for mention, cluster in enumerate(cluster_of.tolist()):
            members.setdefault(cluster, []).append([mention, mention])
        sides.append([{"clusters": list(members.values())}])
    return sides[0], sides[1]


def best(function: Callable[[], object], rounds: int = 7) -> float:
    """Seconds of the fastest round."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # scorch divides by zero
    main()
