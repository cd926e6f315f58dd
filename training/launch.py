"""How a run was started, told from the environment alone: before torch is imported, and before the first second."""

import os

from tiktalkcoref.files.errors import UserError

LAUNCHERS = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class LaunchError(UserError):
    """A way of starting several processes that does not work here."""


def is_first_process() -> bool:
    """Whether this is the process that writes."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def check_launch() -> None:
    """Raises LaunchError where the processes would not train one model together."""
    for variable, name in LAUNCHERS.items():
        if _is_true(variable):
            raise LaunchError(
                f"started with {name}, which splits the weights over processes: checkpoints here are of whole weights, "
                "and the model fits one device. Start it with plain data parallelism (DDP): `accelerate launch "
                "--multi_gpu -m tiktalkcoref.training.train RECIPE`"
            )
    # `accelerate launch --cpu --num_processes 2` starts one process, without a word, where there is no MPI
    if _is_true("ACCELERATE_USE_CPU") and "MASTER_ADDR" in os.environ and not any(name in os.environ for name in SIZES):
        raise LaunchError(
            "accelerate was asked for several processes on the CPU and has started one, since it needs MPI for that. "
            "Without MPI: ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tiktalkcoref.training.train RECIPE"
        )


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("true", "1", "yes")
