"""The folder of a run: what it holds, and who writes into it."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tiktalkcoref.evaluation.output import OutputError, check_writable

from .launch import is_first_process
from .recipe import Recipe, flatten, load_recipe

RECIPE, SUMMARY, LOG, LOCK = "recipe.yaml", "summary.json", "log.jsonl", ".lock"
# What a resumed run may do differently: where things lie (their content is checked), and what changes no weight.
FREE_ON_RESUME = (
    "name",
    "description",
    "dataset",
    "initial.",
    "final_evaluations",
    "loop.patience",
    "loop.keep_checkpoints",
    "loop.checkpoint_every",
    "loop.evaluation_batch_size",
    "loop.workers",
    "loop.log_every",
    "loop.trackers",
)


def holds_run(output: Path) -> bool:
    """Whether a run was begun there."""
    return any((output / name).exists() for name in (RECIPE, "checkpoints", "model"))


def check_output(output: Path, recipe: Recipe, resume: bool) -> None:
    """Whether the folder holds no run or, when resuming, one of this recipe. Raises OutputError."""
    if not resume and holds_run(output):
        raise OutputError(
            f"{output} already holds a run: go on with it by --resume, choose another --output, or remove the folder"
        )
    if resume and not holds_run(output):
        raise OutputError(
            f"{output} holds no run to go on with: name the folder of one by --output, or leave out --resume to start "
            "a new one there"
        )
    if not (output / RECIPE).is_file():
        return
    before, now = flatten(load_recipe(output / RECIPE)), flatten(recipe)
    binding = [name for name in now if before.get(name) != now[name] and not name.startswith(FREE_ON_RESUME)]
    if binding:
        differing = "; ".join(f"{name} ({before.get(name)!r} then, {now[name]!r} now)" for name in binding)
        raise OutputError(
            f"{output} holds a run of another recipe: {differing}. Resume with `tiktalkcoref train "
            f"{output / RECIPE}`, or choose another --output"
        )


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the folder and hold it alone (the first of several processes for all of them); ends with the process.

    Raises:
        OutputError: another run holds it (says which), or it cannot be written.
    """
    if not is_first_process():
        yield
        return
    check_writable(output)
    path = output / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"{output} is being written by another run ({_read(path)}): wait for it, or choose another --output"
        ) from None
    try:
        path.write_text(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%F %T')}", "utf-8")
        yield
    finally:
        lock.release()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "just started"
    except OSError:  # Windows lets nobody read a locked file
        return "its number cannot be read"
