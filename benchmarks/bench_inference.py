"""`predict` beside the bare text encoder, and what its default precision changes in the results.

    TIKTALKCOREF_SHARED=... python benchmarks/bench_inference.py --model FOLDER [--dialogues 512] [--rounds 3]

The published corpus, text only. The bare encoder runs in fp32 on padded batches of 32 in the order of the file, already
tokenised; `predict` reads rows, plans batches by tokens, computes in fp32 and in this machine's default, and gives
rows. All take turns in each round, so that a busy machine slows all; ratios are medians over the rounds. The results
in the two precisions are compared dialogue by dialogue, and scored. Needs a trained model: a fresh one's scores all
lie at its thresholds.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.files.atomic import atomic_file
from tiktalkcoref.inference.predictor import Predictor

BATCH_SIZE = 32
GOAL = {True: 1.7, False: 1.0}  # of the last row, by whether the default is bf16


def main() -> None:
    """Print the table, and with --output write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a trained model")
    parser.add_argument("--dialogues", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    shared = os.environ.get("TIKTALKCOREF_SHARED")
    if not shared or not arguments.model:
        print("bench_inference: skipped, needs TIKTALKCOREF_SHARED (the published corpus) and --model")
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    rows = read_rows(Path(shared) / "upstream" / "annotations.db84797.jsonl", arguments.dialogues)
    network, processor = load_model(arguments.model)
    batches = [processor(rows[low : low + BATCH_SIZE]) for low in range(0, len(rows), BATCH_SIZE)]
    plain, default = Predictor(arguments.model, "fp32"), Predictor(arguments.model, "auto")
    runs: dict[str, Callable[[], Any]] = {
        "bare encoder, fp32, file order": lambda: encode(network, batches),
        "predict, fp32": lambda: plain(rows, Path()),
        f"predict, default ({'bf16' if default.bf16 else 'fp32'})": lambda: default(rows, Path()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    answers: dict[str, Any] = {}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            begun = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - begun)
    report(rows, seconds, list(answers.values())[1:], default.bf16, arguments)


def read_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The first dialogues of the corpus, text and gold clusters."""
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for _, line in zip(range(count), file, strict=False)]
    return [
        {
            "sentences": record["sentences"],
            "speakers": [speakers[0] for speakers in record["speaker_ids"]],
            "clusters": record["clusters"],
        }
        for record in records
    ]


@torch.inference_mode()
def encode(network: Any, batches: Sequence[Any]) -> None:
    """The bare encoder, as a user of transformers would call it."""
    for batch in batches:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        network.text_encoder(**inputs).last_hidden_state[0, 0, 0].item()  # waits for the device


def spans(row: dict[str, Any], answer: dict[str, Any]) -> list[list[list[int]]]:
    """The clusters of an answer in offsets over the dialogue, end inclusive."""
    firsts = [sum(map(len, row["sentences"][:number])) for number in range(len(row["sentences"]))]
    return [
        sorted([firsts[m["sentence"]] + m["start"], firsts[m["sentence"]] + m["end"] - 1] for m in cluster["mentions"])
        for cluster in answer["clusters"]
    ]


def report(
    rows: list[dict], seconds: dict[str, list[float]], answers: list[Any], bf16: bool, arguments: argparse.Namespace
) -> None:
    """Print speeds and differences."""
    bare, *_ = seconds.values()
    table = Table(title=f"{len(rows)} dialogues, {arguments.threads} threads, median of {arguments.rounds} rounds")
    for column in ("", "dialogues/s", "times the bare encoder"):
        table.add_column(column, justify="right" if column else "left")
    results: dict[str, Any] = {"dialogues": len(rows), "threads": arguments.threads, "speed": {}}
    for name, spent in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(bare, spent, strict=True))
        results["speed"][name] = {"dialogues_per_second": len(rows) / statistics.median(spent), "ratio": ratio}
        table.add_row(name, f"{len(rows) / statistics.median(spent):.1f}", f"{ratio:.2f}")
    found = [[spans(row, answer) for row, answer in zip(rows, given, strict=True)] for given in answers]
    equal = sum(sorted(one) == sorted(other) for one, other in zip(*found, strict=True)) / len(rows)
    gold = [{"clusters": row["clusters"]} for row in rows]
    scores = [score([{"clusters": clusters} for clusters in given], gold)["conll_f1"] for given in found]
    results |= {"equal_clusters": equal, "conll_f1": scores, "goal": GOAL[bf16], "torch": torch.__version__}
    Console().print(table)
    print(f"dialogues with equal clusters in both precisions: {equal:.2%}")
    print(f"CoNLL F1: fp32 {100 * scores[0]:.2f}, default {100 * scores[1]:.2f}; goal of the ratio: {GOAL[bf16]}")
    if arguments.output:
        with atomic_file(arguments.output) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
