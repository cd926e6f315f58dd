"""How much of what torch prepares for each shape of a batch it keeps."""

import os


def bound_kernel_caches() -> None:
    """Let torch keep few of the kernels that it compiles for every shape on a CPU: the lengths of batches are ever new,
    and a thousand kernels (its default) fill 200 MB in fp32, gigabytes in bf16. To be called before torch computes."""
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "64")
