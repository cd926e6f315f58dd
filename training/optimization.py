"""How weights move: parameter groups taken from modules, the learning-rate schedule, the moving average."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from transformers import get_scheduler

from .recipe import Optimizer

Tensors = tuple[Tensor, ...] | list[Tensor]
ENCODERS = ("text_encoder", "vision_encoder")


def build_optimizer(model: Any, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW over `model.parameter_groups()`: a rate for the heads, one for the scalars of linking (temperature, gate,
    null option), and for each encoder one that decays downwards.

    Vectors and scalars (biases, norms, gates, temperatures) are not decayed.
    """
    rates = {
        "text_encoder": settings.text_learning_rate,
        "vision_encoder": settings.vision_learning_rate,
        "heads": settings.learning_rate,
        "scalars": settings.learning_rate if settings.scalar_learning_rate is None else settings.scalar_learning_rate,
    }
    groups: dict[tuple[str, int, bool], list[nn.Parameter]] = {}
    for room, parameters in model.parameter_groups().items():
        depths = layer_depths(model, list(parameters)) if room in ENCODERS and settings.layer_decay < 1 else {}
        for parameter in parameters:
            if parameter.requires_grad:
                groups.setdefault((room, depths.get(id(parameter), 0), parameter.ndim > 1), []).append(parameter)
    described = [
        {
            "params": parameters,
            "name": room,
            "lr": rates[room] * settings.layer_decay**below_top,
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (room, below_top, decayed), parameters in groups.items()
    ]
    device = next(model.parameters()).device
    return torch.optim.AdamW(
        described,
        betas=settings.betas,
        eps=settings.epsilon,
        fused=device.type in ("cuda", "cpu"),
    )


def layer_depths(model: nn.Module, parameters: list[nn.Parameter]) -> dict[int, int]:
    """`id(parameter)` -> how many layers it lies below the top of its encoder.

    The layers are the longest list of modules that holds only these parameters; what comes before them (embeddings)
    lies one below the lowest, what comes after them (final norm, pooler) is the top. A table that comes after them is
    of relative positions (DeBERTa's `rel_embeddings`): it acts in every layer, with what stands beside it (its norm),
    and lies where the lowest does, which it would else change faster than that learns.
    """
    own = {id(parameter) for parameter in parameters}
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and len(list(module.parameters()))
        and all(id(parameter) in own for parameter in module.parameters())
    ]
    if not stacks:
        return {}
    layers = max(stacks, key=len)
    depths: dict[int, int] = {}
    for number, layer in enumerate(layers):
        depths |= {id(parameter): len(layers) - 1 - number for parameter in layer.parameters()}
    reached = False
    beside = next((list(module.children()) for module in model.modules() if layers in module.children()), [layers])
    after = beside[beside.index(layers) + 1 :]
    if any(isinstance(module, nn.Embedding) for module in after):
        depths |= {id(parameter): len(layers) - 1 for module in after for parameter in module.parameters()}
    for parameter in parameters:
        reached = reached or id(parameter) in depths
        depths.setdefault(id(parameter), 0 if reached else len(layers))
    return depths


def build_schedule(optimizer: torch.optim.Optimizer, steps: int, settings: Optimizer) -> LambdaLR:
    """transformers' schedule: up over the warm-up, then down to 0 at `steps`. To be stepped after every update.

    It stands one step ahead of its own count, with one step more of warm-up: the first update would have a rate of 0.
    Its state is its count alone: after n updates, `schedule.last_epoch` is n + 1.
    """
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    schedule = get_scheduler(name, optimizer, round(settings.warmup * steps) + 1, steps + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        schedule.step()
    return schedule


def build_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights; shorter at the start, as Adam's bias correction is.

    With decay d, after t updates the effective decay is min(d, (1 + t) / (10 + t)). It starts from the model as it is:
    `n_averaged`, its only state beside the weights, is t + 1.
    """

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, count: Tensor | int) -> None:
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    average = AveragedModel(model, multi_avg_fn=update)
    average.n_averaged.fill_(1)  # at 0 the first update would copy
    return average


def averaged(average: AveragedModel, model: nn.Module) -> nn.Module:
    """The averaged model, with the buffers as they are now (running statistics are averages themselves)."""
    for buffer, current in zip(average.module.buffers(), model.buffers(), strict=True):
        buffer.copy_(current)
    return average.module
