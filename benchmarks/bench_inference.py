"""`predict` beside the bare text encoder, and what its default precision changes in the results.

    TIKTALKCOREF_SHARED=... python benchmarks/bench_inference.py --model FOLDER [--dialogues N] [--output FILE]

The published corpus, all 1,012 dialogues, text only. The bare encoder runs in fp32 on padded batches of 32 in the order
of the file, already tokenised; `predict` reads rows, plans batches by tokens, computes in fp32 and in this machine's
default, and gives rows. All take turns in each round, so that a busy machine slows all; ratios are medians over the
rounds. The results in fp32 and bf16 are compared dialogue by dialogue, and scored on each official split; where fp32 is
the default, bf16 is run once for that. Needs a trained model: a fresh one's scores all lie at its thresholds.

The first table says what each of `BUDGETS`, the tokens of a batch, gives on as many generated dialogues (the sample,
seed 0): a budget is to be chosen on these, not on the corpus. Their lengths differ from those of the corpus.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from record import show
from rich.table import Table
from transformers.utils import logging

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.names import SIX_SPLITS, SPLITS
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.inference.predictor import Predictor
from tiktalkcoref.sample import make_dialogues

BATCH_SIZE = 32
BUDGETS = (512, 1024, 2048, 4096)  # tokens of a batch
WANTED = {True: 1.7, False: 1.0}  # times the bare encoder, by whether the default is bf16
EQUAL = 0.99  # of the dialogues have the same clusters in both precisions


def main() -> None:
    """Print the tables, and with --output record them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a trained model")
    parser.add_argument("--dialogues", type=int, default=1012)
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
    rows = read_rows(Path(shared) / "upstream", arguments.dialogues)
    tables = [compare_budgets(arguments.model, arguments.dialogues, arguments.rounds)]
    tables += compare_precisions(arguments.model, rows, arguments.rounds)
    show("predict beside the bare text encoder, on the published dialogues, text only", tables, arguments.output)


def read_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first dialogues of the corpus: text, gold clusters and official split."""
    records = read_corpus(find_files(folder, annotations=folder / "annotations.db84797.jsonl"))
    return [
        {
            "sentences": record["sentences"],
            "speakers": [speakers[0] for speakers in record["speaker_ids"]],
            "clusters": record["clusters"],
            "split": f"{record['video_type']}_{record['split']}",
        }
        for _, record in zip(range(count), records, strict=False)
    ]


def compare_budgets(model: str, count: int, rounds: int) -> Table:
    """Dialogues a second of `predict` on generated dialogues, in its default precision, by the budget of a batch."""
    rows = [{"sentences": dialogue.sentences} for dialogue in make_dialogues(seed=0, dialogues=max(12, count))]
    seconds = take_turns({b: Predictor(model, batch_tokens=b) for b in BUDGETS}, rows, rounds)[0]
    table = Table("tokens a batch", "dialogues/s", title=f"{len(rows)} generated dialogues")
    for budget, spent in seconds.items():
        table.add_row(f"{budget:,}", f"{len(rows) / statistics.median(spent):.1f}")
    return table


def compare_precisions(model: str, rows: list[dict[str, Any]], rounds: int) -> list[Table]:
    """Speeds beside the bare encoder, and results by precision."""
    network, processor = load_model(model)
    batches = [processor(texts(rows[low : low + BATCH_SIZE])) for low in range(0, len(rows), BATCH_SIZE)]
    plain, default, short = (Predictor(model, precision) for precision in ("fp32", "auto", "bf16"))
    names = {True: "bf16", False: "fp32"}
    runs: dict[str, Callable[[list[dict]], Any]] = {
        "bare encoder, fp32, file order": lambda _: encode(network, batches),
        "predict, fp32": lambda given: plain(given, Path()),
        f"predict, default ({names[default.bf16]})": lambda given: default(given, Path()),
    }
    seconds, answers = take_turns(runs, texts(rows), rounds)
    bare, *_ = seconds.values()
    title = f"{len(rows)} dialogues, {torch.get_num_threads()} threads, median of {rounds} rounds"
    speed = Table("", "dialogues/s", f"times the bare encoder (wanted: {WANTED[default.bf16]})", title=title)
    for name, spent in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(bare, spent, strict=True))
        speed.add_row(name, f"{len(rows) / statistics.median(spent):.1f}", f"{ratio:.2f}")
    given = [answers["predict, fp32"], answers[list(runs)[-1]] if default.bf16 else short(texts(rows), Path())]
    return [speed, compare_results(rows, given)]


def take_turns(runs: dict[Any, Callable], rows: list[dict], rounds: int) -> tuple[dict[Any, list[float]], dict]:
    """Seconds of each run over the rows in each round, and its last answers. `Predictor`s take a folder, too."""
    seconds: dict[Any, list[float]] = {name: [] for name in runs}
    answers: dict[Any, Any] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.perf_counter()
            answers[name] = run(rows, Path()) if isinstance(run, Predictor) else run(rows)
            seconds[name].append(time.perf_counter() - begun)
    return seconds, answers


def compare_results(rows: list[dict[str, Any]], answers: Sequence[Any]) -> Table:
    """CoNLL F1 of fp32 and bf16 on each split, and on how many dialogues their clusters are equal."""
    found = [[spans(row, answer) for row, answer in zip(rows, given, strict=True)] for given in answers]
    table = Table("split", "dialogues", "fp32", "bf16", "equal clusters", title=f"CoNLL F1 (wanted: {EQUAL:.0%} equal)")
    for name in (*SPLITS, *SIX_SPLITS, "everything"):
        of_name = [n for n, row in enumerate(rows) if name in ("everything", row["split"], row["split"].split("_")[-1])]
        if not of_name:
            continue
        gold = [{"clusters": rows[n]["clusters"]} for n in of_name]
        scores = [score([{"clusters": given[n]} for n in of_name], gold)["conll_f1"] for given in found]
        equal = sum(sorted(found[0][n]) == sorted(found[1][n]) for n in of_name) / len(of_name)
        table.add_row(name, str(len(of_name)), *(f"{100 * value:.2f}" for value in scores), f"{equal:.2%}")
    return table


def texts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a user has: no labels."""
    return [{name: row[name] for name in ("sentences", "speakers")} for row in rows]


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


if __name__ == "__main__":
    main()
