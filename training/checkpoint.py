"""Checkpoints: everything a run needs to go on as if it had never stopped, in safetensors and JSON (no pickles).

A checkpoint is a folder `checkpoints/step-00000120`, written whole or not at all:

    weights.safetensors     the model's parameters and buffers
    average.safetensors     the moving average of the parameters, where the recipe asks for one
    optimizer.safetensors   the optimiser's tensors, `<parameter number>.<name>`
    random.safetensors      the random states of every process
    state.json              position in the data, best score so far, hyperparameters of the optimiser's groups
"""

import contextlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model

from tiktalkcoref.files.atomic import ANYTHING, atomic_folder
from tiktalkcoref.files.errors import UserError

FORMAT = 2
_NAME = re.compile(r"step-(\d{8})")


class CheckpointError(UserError):
    """A checkpoint that does not fit the run that wants to go on from it."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is not whole: cut short, or changed by something else."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0  # optimiser steps done
    epoch: int = 0  # epochs done
    step_in_epoch: int = 0  # optimiser steps done of the next epoch
    best_score: float | None = None  # of the model that is kept: the best so far, or the last
    best_epoch: int = 0  # counted from 1
    best_scores: dict[str, float] = field(default_factory=dict)
    evaluations_without_gain: int = 0
    seconds: float = 0.0  # of training, over all sittings
    peak_memory_bytes: int = 0


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    random_states: list[dict[str, torch.Tensor]],
    average: list[torch.Tensor] | None = None,
    scaler: dict[str, Any] | None = None,
    fingerprint: str = "",
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep`. `random_states`: one of each process."""
    path = folder / f"step-{progress.step:08d}"
    with atomic_folder(path, owned=ANYTHING) as temporary:
        save_model(model, str(temporary / "weights.safetensors"))
        if average is not None:
            tensors = {str(number): tensor for number, tensor in enumerate(average)}
            save_file(tensors, temporary / "average.safetensors")
        tensors, groups = _flatten_optimizer(optimizer)
        save_file(tensors, temporary / "optimizer.safetensors")
        tensors = {
            f"{rank}.{name}": tensor for rank, state in enumerate(random_states) for name, tensor in state.items()
        }
        save_file(tensors, temporary / "random.safetensors")
        state = {"format": FORMAT, "processes": len(random_states), "progress": asdict(progress)}
        state |= {"fingerprint": fingerprint, "scaler": scaler, "optimizer_groups": groups}
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / "state.json").is_file())


def check_checkpoint(path: Path, model: torch.nn.Module, processes: int, fingerprint: str = "") -> None:
    """Whether model, number of processes and training data (its `fingerprint`) are those that wrote the checkpoint.

    Raises:
        CheckpointError: names what differs, for an architecture the first tensor that does.
        DamagedCheckpointError: files that cannot be read.
    """
    state = _read_state(path)
    if state["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"{path} was written by a run over other training dialogues: go on with the same dataset, or start a "
            "new run in another --output"
        )
    if state["processes"] != processes:
        raise CheckpointError(
            f"{path} was written by {state['processes']} process(es), this run has {processes}: their shares of the "
            f"data differ; go on with --num_processes {state['processes']}, or start a new run in another --output"
        )
    with _whole(path), safe_open(path / "weights.safetensors", framework="pt") as file:
        saved = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    state_dict = model.state_dict()
    present = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    differing = [name for name, shape in saved.items() if present.get(name) != shape]
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{path} holds another architecture: {name} is {saved[name]} there and {present.get(name, 'absent')} in "
            f"this recipe's model ({len(differing)} of {len(saved)} tensors differ); go on with the recipe that "
            "the run was started with (recipe.yaml beside the checkpoints), or start a new run in another --output"
        )
    own = {tensor.data_ptr() for name, tensor in state_dict.items() if name in saved}  # one of two names is saved
    absent = [n for n, tensor in state_dict.items() if n not in saved and tensor.data_ptr() not in own]
    if absent:
        raise CheckpointError(
            f"{path} holds another architecture: it has no {absent[0]} ({len(absent)} tensors of this recipe's "
            "model are not in it); go on with the recipe that the run was started with, or start a new run in "
            "another --output"
        )


def load_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: list[torch.Tensor] | None = None,
) -> tuple[Progress, list[dict[str, torch.Tensor]], dict[str, Any] | None]:
    """Put the tensors back (in place); return the progress, the random states of all processes, the scaler's state.

    Raises:
        DamagedCheckpointError: files that cannot be read; the tensors may be of this checkpoint in part.
    """
    state = _read_state(path)
    device = next(model.parameters()).device
    with _whole(path):
        load_model(model, str(path / "weights.safetensors"), device=str(device))
        if average is not None:
            tensors = load_file(path / "average.safetensors")
            for number, tensor in enumerate(average):
                tensor.copy_(tensors[str(number)])
        _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"), state["optimizer_groups"])
        states: list[dict[str, torch.Tensor]] = [{} for _ in range(state["processes"])]
        for name, tensor in load_file(path / "random.safetensors").items():
            rank, _, key = name.partition(".")
            states[int(rank)][key] = tensor
        return Progress(**state["progress"]), states, state["scaler"]


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it counts no more but nothing of it is lost."""
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    return path.rename(aside)


def get_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of Python's, NumPy's and torch's generators in this process, the device's too, as tensors."""
    version, numbers, gauss = random.getstate()
    legacy: Any = np.random.get_state()
    _, keys, position, has_gauss, cached = legacy
    states = {
        "python": torch.tensor([version, *numbers], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states["device"] = getattr(torch, device.type).get_rng_state()
    return states


def set_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put back what `get_random_state` returned."""
    version, *numbers = states["python"].tolist()
    gauss = states["python_gauss"].tolist()
    random.setstate((version, tuple(numbers), gauss[0] if gauss else None))
    *keys, position, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, states["numpy_gauss"].item()))
    torch.set_rng_state(states["torch"])
    if "device" in states and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(states["device"])


def _read_state(path: Path) -> dict[str, Any]:
    with _whole(path):
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {state['format']!r}; this version reads format {FORMAT}")
        fields = ("fingerprint", "processes", "progress", "scaler", "optimizer_groups")
        return state | {name: state[name] for name in fields}


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading files that we wrote ourselves: they are damaged."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise DamagedCheckpointError(f"{path} is damaged ({type(error).__name__}: {error})") from error


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    state = optimizer.state_dict()
    tensors = {
        f"{number}.{name}": value.contiguous()
        for number, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    return tensors, state["param_groups"]


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
