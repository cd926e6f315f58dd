"""What a measurement writes down, the same for every table: `benchmarks/results/NAME.json`."""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tiktalkcoref.files.atomic import atomic_file

PACKAGES = ("tiktalkcoref", "torch", "transformers", "accelerate", "datasets", "timm", "numpy")


def record(path: Path, what: str, figures: Any, seeds: Sequence[int] = ()) -> None:
    """Write `figures` with what anybody needs to measure them again: command, commit, machine, versions, seeds, date.

    A commit ends in `+` where files of the checkout differed from it. Folders in the command are cut to their names.
    """
    about = {
        "what": what,
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_short, sys.argv[1:])]),
        "commit": _commit(),
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seeds": list(seeds),
    }
    with atomic_file(path) as temporary:
        text = json.dumps(about | {"figures": figures}, indent=1, ensure_ascii=False, default=vars)
        temporary.write_text(text + "\n", encoding="utf-8")


def show(what: str, tables: Sequence[Table], output: Path | None, seeds: Sequence[int] = ()) -> None:
    """Print tables and, where an output is named, record their titles, columns and rows as they are printed."""
    for table in tables:
        Console(width=130).print(table)
    if output:
        record(output, what, [_cells(table) for table in tables], seeds)


def machine() -> str:
    """Such as `Intel(R) Xeon(R) Processor, 2 cores`."""

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        cores = sum(line.startswith("processor") for line in lines)
    except (OSError, StopIteration):
        processor, cores = platform.machine(), 0
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}{f', {cores} cores' if cores else ''}{gpu}"


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
    ).stdout.strip()
    return f"{commit}+" if changed else commit


def _short(argument: str) -> str:
    return Path(argument).name if Path(argument).is_absolute() else argument


def _cells(table: Table) -> dict[str, Any]:
    return {
        "title": str(table.title or ""),
        "columns": [str(column.header) for column in table.columns],
        "rows": [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)],
    }
