"""How weights move: parameter groups taken from modules, the learning-rate schedule, the moving average."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .recipe import Optimizer

ENCODERS = ("text_encoder", "vision_encoder")


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW over `model.parameter_groups()`: a rate for the heads, one for the scalars of linking (temperature, gate,
    null option), and for each encoder one that decays downwards.

    Vectors and scalars (biases, norms, gates, temperatures) are not decayed. Every group keeps its full rate in
    `base_lr`; `set_learning_rate` scales it.
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
            "base_lr": rates[room] * settings.layer_decay**below_top,
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (room, below_top, decayed), parameters in groups.items()
    ]
    device = next(model.parameters()).device
    return torch.optim.AdamW(
        described,
        lr=settings.learning_rate,
        betas=tuple(settings.betas),
        eps=settings.epsilon,
        fused=device.type in ("cuda", "cpu"),
    )


def layer_depths(model: nn.Module, parameters: list[nn.Parameter]) -> dict[int, int]:
    """`id(parameter)` -> how many layers it lies below the top of its encoder.

    The layers are the longest list of modules that holds only these parameters; what comes before them (embeddings)
    lies one below the lowest, what comes after them (final norm, pooler) is the top.
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
    for parameter in parameters:
        reached = reached or id(parameter) in depths
        depths.setdefault(id(parameter), 0 if reached else len(layers))
    return depths


def learning_rate_factor(step: int, steps: int, settings: Optimizer) -> float:
    """The share of the full rate at a step (counted from 0): up over the warm-up, then down to 0 at `steps`."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    if settings.schedule == "linear":
        return max(0.0, 1 - done)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done))) if settings.schedule == "cosine" else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


class WeightAverage:
    """Exponential moving average of the trained parameters; shorter at the start, as Adam's bias correction is.

    With decay d, after t steps the effective decay is min(d, (1 + t) / (10 + t)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.tensors = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.tensors, [parameter.detach() for parameter in self.parameters], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the average inside the block, its own weights again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, tensor in zip(self.parameters, self.tensors, strict=True):
            own = parameter.detach().clone()
            parameter.copy_(tensor)
            tensor.copy_(own)
