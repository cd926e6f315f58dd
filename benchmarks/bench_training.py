"""What a training step costs over the bare encoder: collation, heads, losses, clipping, AdamW and the moving average.

    TIKTALKCOREF_SHARED=... python benchmarks/bench_training.py [--steps 24] [--set field=value] [--output FILE]

One run, the real loop on the published dialogues by the recipe text-small; after each step the bare encoder goes
forward and backward over the same batch, in the same precision. Two ratios: the median over the steps, and that of the
sums, which is what an epoch costs (a step of short dialogues pays as much for the optimiser as one of long ones). On
the CPU in processor seconds, which other work on the machine disturbs less than the clock. A second table says where
the difference goes.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from bench_pipeline import stopwatch
from record import show
from rich.table import Table

from tiktalkcoref.training.batches import plan_epoch
from tiktalkcoref.training.loop import fit_steps
from tiktalkcoref.training.monitor import Monitor
from tiktalkcoref.training.preparation import Run, prepare
from tiktalkcoref.training.recipe import load_recipe

WANTED = 1.10
WARM_UP = 2  # steps that allocate
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    shared = os.environ.get("TIKTALKCOREF_SHARED")
    if not shared:
        print("skipped: TIKTALKCOREF_SHARED names no folder with upstream's files and a backbone")
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(shared), Path(folder), arguments.steps, arguments.overrides)
    report(*measured, arguments.output)


def measure(
    shared: Path, folder: Path, steps: int, overrides: list[str]
) -> tuple[list[float], list[float], dict[str, float]]:
    """Seconds of each training step, of the encoder's forward and backward, and of the step's parts, summed."""
    corpus = folder / "corpus"
    corpus.mkdir()
    shutil.copy(shared / "upstream" / "annotations.8d346bf.jsonl", corpus / "all_textual_and_visual_annotations.jsonl")
    for name in ("split.jsonl", "video_titles.jsonl"):
        shutil.copy(shared / "upstream" / name, corpus / name)
    backbone = shared / "backbones" / "me5-small-zh-char"
    recipe = load_recipe("text-small", [f"dataset={corpus}", f"initial.text_encoder={backbone}", *overrides])
    output = folder / "run"
    output.mkdir()
    run = prepare(recipe, output, resume=False)
    wrapped, optimizer = run.accelerator.prepare(run.model, run.optimizer)
    lengths = [sum(map(len, dialogue["sentences"])) for dialogue in run.train]
    plan = plan_epoch(lengths, batch_size=recipe.loop.batch_size, seed=recipe.seed)[: steps + WARM_UP]
    monitor = Monitor(run.accelerator, run.steps, run.progress, recipe.loop.log_every, quiet=True)
    whole, encoder, parts = [], [], watch_parts(run)
    for number, step in enumerate(plan):
        if number == WARM_UP:
            parts.clear()
        started = CLOCK()
        fit_steps(run, monitor, wrapped, optimizer, [step])
        whole.append(CLOCK() - started)
        held = dict(parts)  # the bare encoder is not a part
        batch = run.processor([run.train[index] for index in step.batches[0]], labels=True)
        encoder.append(_encoder_seconds(run, batch.to(run.accelerator.device)))
        parts |= held
    return whole[WARM_UP:], encoder[WARM_UP:], parts


def watch_parts(run: Run) -> dict[str, float]:
    """Seconds of the parts of a step, which add up while it runs."""
    parts: dict[str, float] = defaultdict(float)

    methods = [
        ("forward", run.model, "forward"),
        ("forward of the encoder", run.model.text_encoder, "forward"),
        ("backward", run.accelerator, "backward"),
        ("clipping", run.accelerator, "clip_grad_norm_"),
        ("AdamW", run.optimizer, "step"),
    ]
    if run.average is not None:
        methods.append(("moving average", run.average, "update_parameters"))
    for name, owner, method in methods:
        watched = stopwatch(getattr(owner, method), parts, name, torch.cuda.is_available(), CLOCK)
        setattr(owner, method, watched)
    return parts


def _encoder_seconds(run: Run, batch: dict) -> float:
    """In the precision of the recipe, as the whole step."""
    started = CLOCK()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with run.accelerator.autocast():
        total = run.model.text_encoder(**inputs).last_hidden_state.float().sum()
    total.backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = CLOCK() - started
    run.model.zero_grad(set_to_none=True)
    return seconds


def report(whole: list[float], encoder: list[float], parts: dict[str, float], output: Path | None) -> None:
    title = f"{len(whole)} training steps, {torch.get_num_threads()} threads"
    table = Table("", "ms (median)", "ms (mean)", title=title)
    for name, seconds in (("training step", whole), ("bare encoder", encoder)):
        table.add_row(name, f"{1000 * statistics.median(seconds):.0f}", f"{1000 * statistics.mean(seconds):.0f}")
    ratio = statistics.median(step / bare for step, bare in zip(whole, encoder, strict=True))
    table.add_row(f"step / bare encoder (wanted: {WANTED:.2f})", f"{ratio:.2f}", f"{sum(whole) / sum(encoder):.2f}")
    shares = Table("part of a step", "ms (mean)", "of the bare encoder")
    for name, seconds in {
        **parts,
        "the rest (collation, schedule, log)": sum(whole) - (sum(parts.values()) - parts["forward of the encoder"]),
    }.items():
        shares.add_row(name, f"{1000 * seconds / len(whole):.0f}", f"{seconds / sum(encoder):.1%}")
    show("What a training step costs beside the bare encoder, text-small", [table, shares], output)
    sys.exit(ratio > WANTED)


if __name__ == "__main__":
    main()
