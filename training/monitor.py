"""What a run tells while it runs: a progress bar, a log that a machine can read, and accelerate's trackers."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tiktalkcoref.evaluate_metric.labels import LABELS
from tiktalkcoref.files.atomic import atomic_file

from .checkpoint import Progress

LOSSES = ("loss", "loss_start", "loss_end", "loss_clustering", "loss_linking")
SHOWN = {key: LABELS[key] for key in ("conll_f1", "mention_f1", "linking_recall_at_1")}


class Monitor:
    """Collects losses without waiting for the device, and reports them every `every` steps.

    In a terminal a bar shows losses, last scores and the time left; elsewhere a line is printed at each evaluation. The
    log holds one JSON object a line: `{"event": "step" | "evaluation" | ..., "step": n, "epoch": n, ...}`.
    """

    def __init__(
        self, accelerator: Accelerator, log: Path, steps: int, done: Progress, every: int, quiet: bool
    ) -> None:
        self.accelerator, self.log, self.every = accelerator, log, every
        self.console = Console(stderr=True)
        self.quiet = quiet or not accelerator.is_main_process
        self.sums: dict[str, torch.Tensor] = {}
        self.counted = 0
        self.since = time.perf_counter()
        self.dialogues = 0
        self.progress = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", style="cyan"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=self.quiet or not self.console.is_terminal,
        )
        self.task = self.progress.add_task("training", total=steps, completed=done.step, status="")
        self.losses_shown, self.scores_shown = "", ""
        if accelerator.is_main_process:
            forget_after(log, done.step, done.epoch)

    def __enter__(self) -> "Monitor":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def add(self, outputs: Any, weight: float) -> None:
        """Add a micro-batch's losses, `weight` its share of the whole step. Nothing is copied to the host."""
        for name in LOSSES:
            value = getattr(outputs, name, None)
            if value is not None:
                value = value.detach() * weight
                self.sums[name] = self.sums[name] + value if name in self.sums else value

    def step(self, step: int, epoch: int, dialogues: int, rate: float, norm: Any) -> None:
        """One optimiser step is done; every `every` of them the losses are written."""
        self.counted += 1
        self.dialogues += dialogues
        if step % self.every == 0:
            losses = self._mean_losses()
            seconds = time.perf_counter() - self.since
            speed = self.dialogues / seconds
            values = losses | {
                "rate": rate,
                "gradient_norm": float(norm) if norm is not None else None,
                "dialogues_per_second": speed,
            }
            self.write("step", step, epoch, values)
            self.losses_shown = " ".join(f"{_short(name)} {value:.3f}" for name, value in losses.items())
            self.sums, self.counted, self.dialogues, self.since = {}, 0, 0, time.perf_counter()
        self.progress.update(self.task, completed=step, status=f"{self.losses_shown} {self.scores_shown}".strip())

    def _mean_losses(self) -> dict[str, float]:
        """Means over the steps since the last report, summed over the processes' shares."""
        zero = torch.zeros((), device=self.accelerator.device)
        totals = torch.stack([self.sums.get(name, zero).float() for name in LOSSES])
        means = (self.accelerator.reduce(totals) / self.counted).tolist()
        return {name: mean for name, mean in zip(LOSSES, means, strict=True) if name in self.sums}

    def evaluated(self, step: int, epoch: int, scores: dict[str, Any], is_best: bool) -> None:
        values = {name: value for name, value in scores.items() if isinstance(value, int | float)}
        self.write("evaluation", step, epoch, values | {"best": is_best})
        shown = " · ".join(
            f"{label} {scores[name]:.3f}" for name, label in SHOWN.items() if scores.get(name) is not None
        )
        self.scores_shown = f"| epoch {epoch}: {shown}"
        self.since = time.perf_counter()
        if not self.quiet and not self.console.is_terminal:
            self.say(f"epoch {epoch}, step {step}: {self.losses_shown} | {shown}{' *' if is_best else ''}")

    def say(self, text: str) -> None:
        if not self.quiet:
            self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write(self, event: str, step: int, epoch: int, values: dict[str, Any]) -> None:
        """One line of the log, and the same to the trackers."""
        if self.accelerator.is_main_process:
            line = {"event": event, "step": step, "epoch": epoch} | values
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        numbers = {f"{event}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        self.accelerator.log(numbers, step=step)


def forget_after(log: Path, step: int, epoch: int) -> None:
    """Remove what a killed run logged after the place that it goes on from (and a line that it did not finish)."""
    if not log.is_file():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        is_done = entry["epoch"] <= epoch if entry["event"] == "evaluation" else entry["event"] == "step"
        if is_done and entry["step"] <= step:
            kept.append(line + "\n")
    with atomic_file(log) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def _short(name: str) -> str:
    return name.removeprefix("loss_")
