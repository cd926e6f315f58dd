"""Small runs for the tests of training: a recipe of a few thousand parameters over a small sample corpus."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from tiktalkcoref.training.recipe import Recipe, load_recipe

TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TOWER = {
    "architecture": "vit_tiny_patch16_224",
    "model_args": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
    "image_size": 16,
}
HEADS = {"mention_hidden_size": 16, "pair_hidden_size": 16, "projection_dim": 16}
WITHOUT_DROPOUT = [
    "model.dropout=0",
    "initial.text_encoder.hidden_dropout_prob=0",
    "initial.text_encoder.attention_probs_dropout_prob=0",
]


class NoFloat64(TorchDispatchMode):
    """Fails at the first operation that gives a float64 tensor, as MPS does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            assert not (isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64), function
        return result


def write_recipe(folder: Path, corpus: Path, vision: bool = False, **loop) -> Path:
    """A recipe of two epochs in batches of eight."""
    content = {
        "dataset": str(corpus),
        "initial": {"text_encoder": TEXT, "vision_encoder": TOWER if vision else None},
        "model": {**HEADS, "window_size": 128, "window_stride": 64, "linking_negatives": "video"},
        "optimizer": {"text_learning_rate": 1e-3, "vision_learning_rate": 1e-3},
        "loop": {"epochs": 2, "batch_size": 8, "log_every": 1, "ema_decay": 0.9, **loop},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def tiny_recipe(folder: Path, corpus: Path, *overrides: str, vision: bool = False, **loop) -> Recipe:
    AcceleratorState._reset_state(reset_partial_state=True)  # of the run before: its precision, its trackers
    return load_recipe(write_recipe(folder, corpus, vision, **loop), overrides)


def launch(arguments: list[str], processes: int = 1, code: str | None = None, **environment: str) -> subprocess.Popen:
    """The command in a process of its own, on one thread each; `code` runs before it."""
    command = [sys.executable, "-m", "tiktalkcoref.training.train", *arguments]
    if code:
        run = f"import sys\nsys.argv = ['', 'train', *{arguments!r}]\nfrom tiktalkcoref.cli import main\nmain()"
        command = [sys.executable, "-c", f"{code}\n{run}"]
    if processes > 1:  # `accelerate launch --cpu` starts several processes through MPI alone
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command += ["-m", "tiktalkcoref.training.train", *arguments]
        environment["ACCELERATE_USE_CPU"] = "true"
    settings = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def weights(output: Path) -> dict:
    """The tensors of the newest checkpoint: model, average and optimiser."""
    newest = sorted((output / "checkpoints").glob("step-*"))[-1]
    return {
        f"{file.stem}/{name}": tensor
        for file in newest.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
