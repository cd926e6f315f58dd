"""What things cost as they grow, measured and drawn: docs/curves.png.

    TIKTALKCOREF_SHARED=... python benchmarks/bench_curves.py [--threads 1] [--output benchmarks/results/curves.json]
    python benchmarks/bench_curves.py --draw benchmarks/results/curves.json    # draws again what was measured

Four curves: prediction by batch size and length of dialogue, peak memory by length of one dialogue, building the
dataset by number of records, and, from engines.json where `bench_engines.py` has written it, rows a second by actors.
The text model is untrained, on the small backbone; its mentions are few. Wall time on a machine at rest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_dataset import build, timed, write_corpus
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from record import record
from transformers import AutoTokenizer
from transformers.utils import logging

from tiktalkcoref.files.progress import track
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

FOLDER = Path(__file__).parent
PICTURE = FOLDER.parent / "docs" / "curves.png"
BATCHES, LENGTHS, ROUNDS = (1, 2, 4, 8, 16, 32, 64), (20, 40, 80), 3
CHARACTERS = (500, 1000, 2000, 5000, 10_000, 20_000)
RECORDS = (1_000, 5_000, 20_000, 100_000)
TEXT = "那个老师还记得她的学生吗他们周末可以一起去看自己的比赛"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=FOLDER / "results" / "curves.json")
    parser.add_argument("--draw", type=Path, help="draw this file of results, measure nothing")
    arguments = parser.parse_args()
    if not arguments.draw:
        shared = os.environ.get("TIKTALKCOREF_SHARED")
        if not shared:
            print("bench_curves: skipped, needs TIKTALKCOREF_SHARED (a small backbone)")
            return
        logging.set_verbosity_error()
        torch.set_num_threads(arguments.threads)
        figures = {
            "dialogues_a_second": throughput(Path(shared) / "backbones" / "me5-small-zh-char"),
            "megabytes_by_characters": memory(Path(shared)),
            "seconds_by_records": building(),
        }
        record(arguments.output, f"Costs by size, {arguments.threads} thread", figures)
    draw(json.loads((arguments.draw or arguments.output).read_text(encoding="utf-8"))["figures"], PICTURE)


def throughput(backbone: Path) -> dict[int, list[tuple[int, float]]]:
    """Dialogues a second by batch size, for each length in characters; from text to clusters."""
    model = TikTalkCorefModel.from_encoders(backbone).eval()
    processor = TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))
    found: dict[int, list[tuple[int, float]]] = {length: [] for length in LENGTHS}
    for length, size in track([(a, b) for a in LENGTHS for b in BATCHES], "prediction"):
        half = (TEXT * length)[: length // 2]
        dialogues = [{"sentences": [half, half]}] * max(size, 32)
        seconds = [predict(model, processor, dialogues, size) for _ in range(ROUNDS + 1)][1:]
        found[length].append((size, len(dialogues) / median(seconds)))
    return found


def predict(model: Any, processor: Any, dialogues: Sequence[dict], size: int) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        for low in range(0, len(dialogues), size):
            model.predict(processor(dialogues[low : low + size]))
    return time.perf_counter() - started


def memory(shared: Path) -> list[tuple[int, int]]:
    """Peak megabytes of the prediction of one dialogue, each in a process of its own."""
    script = [sys.executable, str(FOLDER / "bench_model.py"), "--shared", str(shared), "--long"]
    found = []
    for count in track(CHARACTERS, "memory"):
        done = subprocess.run([*script, str(count)], capture_output=True, text=True, check=True)
        found.append((count, int(done.stdout.split()[-1])))
    return found


def building() -> list[tuple[int, float]]:
    """Seconds to build config `all`."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in track(RECORDS, "building"):
            annotations, cache = write_corpus(Path(folder, str(count)), count), Path(folder, "cache")
            build(annotations, cache)  # warms up
            found.append((count, timed(lambda a=annotations, c=cache: build(a, c), cache)["wall"]))
    return found


def draw(figures: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(11, 6.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)  # no display, no global state
    axes = figure.subplots(2, 2).flat
    for length, points in figures["dialogues_a_second"].items():
        axes[0].plot(*zip(*points, strict=True), marker="o", label=f"{length} characters")
    axes[0].set(title="prediction", xlabel="dialogues in a batch", ylabel="dialogues a second", xscale="log", ylim=0)
    axes[0].set_xticks(BATCHES, map(str, BATCHES))
    axes[0].legend(frameon=False)
    axes[1].plot(*zip(*figures["megabytes_by_characters"], strict=True), marker="o")
    axes[1].set(title="prediction of one dialogue", xlabel="characters", ylabel="peak memory, MB", ylim=0)
    axes[2].plot(*zip(*figures["seconds_by_records"], strict=True), marker="o")
    axes[2].set(title="building the dataset", xlabel="records", ylabel="seconds", xscale="log", yscale="log")
    engines = FOLDER / "results" / "engines.json"
    if engines.exists():
        found = json.loads(engines.read_text(encoding="utf-8"))["figures"]["rows"]
        rates = {name: one["steady_rows_per_second"] for name, one in found[max(found, key=int)]["engines"].items()}
        axes[3].bar([textwrap.fill(name, 10) for name in rates], list(rates.values()), width=0.5)
    axes[3].set(title="batch engines, a tiny model", ylabel="rows a second")
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
