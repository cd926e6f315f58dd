"""Where numbers are computed, and in which type: on the model's device in its own type, but for two things.

Logits are fp32 everywhere (`in_full_precision`: autocast would round them), and float64, which not every device has
(Apple's MPS has none), is NumPy's alone (`exact`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor


def best_device() -> torch.device:
    """The accelerator of this machine (CUDA, MPS, ...), or the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True) if hasattr(torch, "accelerator") else None
    return found or torch.device("cuda" if torch.cuda.is_available() else "cpu")


def exact(tensor: Tensor) -> np.ndarray:
    """The values as float64, without gradient."""
    return tensor.detach().float().cpu().numpy().astype(np.float64)


def in_full_precision(tensor: Tensor) -> AbstractContextManager:
    """A context in which nothing on the tensor's device is cast to a shorter type."""
    kind = tensor.device.type
    casts = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if casts else nullcontext()
