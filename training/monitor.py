"""What a run tells while it runs: a progress bar, a log that a machine can read, and accelerate's trackers."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tiktalkcoref.evaluation.headline import headline
from tiktalkcoref.files.atomic import atomic_file

from .checkpoint import Progress

LOSSES = ("loss", "loss_start", "loss_end", "loss_clustering", "loss_linking")


class JsonLog(GeneralTracker):
    """accelerate's tracker of `log.jsonl`: one object a line, `{"event": "step" | "evaluation" | ..., "step", ...}`."""

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        return self.path

    @on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, event: str = "", **about: Any) -> None:
        """Append a line; the names' `event/` is left out. `about`: what is no measurement, such as the epoch."""
        plain = {name.removeprefix(f"{event}/"): value for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "step": step} | about | plain) + "\n")

    @on_main_process
    def rewind(self, step: int, epoch: int) -> None:
        """Remove what a killed run logged after the place that it goes on from (and a line that it did not finish)."""
        kept = []
        for line in self.path.read_text(encoding="utf-8").split("\n") if self.path.is_file() else ():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                is_done = entry["epoch"] <= epoch if entry["event"] == "evaluation" else entry["event"] == "step"
                if is_done and entry["step"] <= step:
                    kept.append(line + "\n")
        with atomic_file(self.path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


class Monitor:
    """Collects losses without waiting for the device, and reports them every `every` steps.

    In a terminal a bar shows losses, last scores and the time left; elsewhere a line is printed at each evaluation.
    """

    def __init__(self, accelerator: Accelerator, steps: int, done: Progress, every: int, quiet: bool) -> None:
        self.accelerator, self.every = accelerator, every
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

    def step(self, step: int, epoch: int, dialogues: int, rate: float, norm: torch.Tensor) -> None:
        """One optimiser step is done; every `every` of them the losses are written."""
        self.counted += 1
        self.dialogues += dialogues
        if step % self.every == 0:
            losses = self._mean_losses()
            seconds = time.perf_counter() - self.since
            speed = self.dialogues / seconds
            values = losses | {"learning_rate": rate, "gradient_norm": float(norm), "dialogues_per_second": speed}
            self.write("step", step, epoch, values)
            self.losses_shown = " ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in losses.items())
            self.sums, self.counted, self.dialogues, self.since = {}, 0, 0, time.perf_counter()
        self.progress.update(self.task, completed=step, status=f"{self.losses_shown} {self.scores_shown}".strip())

    def _mean_losses(self) -> dict[str, float]:
        """Means over the steps since the last report, summed over the processes' shares."""
        zero = torch.zeros((), device=self.accelerator.device)
        totals = torch.stack([self.sums.get(name, zero).float() for name in LOSSES])
        means = (self.accelerator.reduce(totals) / self.counted).tolist()
        return {name: mean for name, mean in zip(LOSSES, means, strict=True) if name in self.sums}

    def evaluated(
        self, step: int, epoch: int, scores: dict[str, float], selection: float | None, is_kept: bool
    ) -> None:
        """The validation split was scored, if it is not trained on; `selection` is what the best model is chosen by."""
        chosen_by = {} if selection is None else {"selection": selection}
        self.write("evaluation", step, epoch, scores | chosen_by | {"best": is_kept})
        shown = headline(scores) or "the newest model is kept"
        self.scores_shown = f"| epoch {epoch}: {shown}"
        self.since = time.perf_counter()
        if not self.quiet and not self.console.is_terminal:
            self.say(f"epoch {epoch}, step {step}: {self.losses_shown} | {shown}{' *' if is_kept else ''}")

    def say(self, text: str) -> None:
        if not self.quiet:
            self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write(self, event: str, step: int, epoch: int, values: dict[str, float], **about: Any) -> None:
        """The same to the log and to the trackers; `about` (words) to the log alone."""
        named = {f"{event}/{name}": value for name, value in values.items()}
        kwargs = {JsonLog.name: {"event": event, "epoch": epoch, **about}}
        self.accelerator.log(named, step=step, log_kwargs=kwargs)
