"""What a measurement was made on."""

import importlib.metadata
import platform
import resource
import sys

import torch

PACKAGES = ("tiktalkcoref", "torch", "transformers", "accelerate", "datasets", "timm")


def peak_memory(device: torch.device) -> int:
    """Of a CUDA device, else of this process, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    """Such as `NVIDIA H100 80GB HBM3` or `cpu (x86_64, 2 threads)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Of Python and of the packages that a score may depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
