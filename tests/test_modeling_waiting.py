"""How often the model waits for its device: as often for many dialogues as for two."""

import contextlib

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("cpu", "item", "nonzero", "tolist", "unique", "__bool__", "__float__", "__int__", "__index__")


class Waiting(TorchDispatchMode):
    """Counts what would read a tensor of the device: a number, the places of what is true, a choice by a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name in ("_local_scalar_dense", "masked_select", "nonzero", "bincount"):
            self.names.append(name)
        return function(*args, **(kwargs or {}))


def counted(read, name: str, names: list[str]):
    return lambda *args, **kwargs: names.append(name) or read(*args, **kwargs)


@contextlib.contextmanager
def count_waits():
    """The list of what was asked; `tolist` and its like do not pass torch's dispatcher on the CPU."""
    with pytest.MonkeyPatch.context() as patch, Waiting() as waiting:
        for name in READS:
            patch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name), name, waiting.names))
        yield waiting.names


def make_dialogues(count: int) -> list[dict]:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    labels = {"clusters": [[[2, 3], [4, 4]], [[0, 0]]], "regions": [picture, 255 - picture], "links": [1, -1]}
    return [{"sentences": ["我爱小明", "他好看吗"], **labels} for _ in range(count)]


@pytest.mark.parametrize("negatives", [True, False])
def test_waits_do_not_grow_with_the_batch(build_tiny, negatives):
    model, processor = build_tiny(
        vision=True, mention_threshold=0.05, max_mentions_per_character=1.0, clustering_negatives=negatives
    )
    model.predict(processor(make_dialogues(1)))  # what is asked once
    asked = {}
    for count in (2, 9):
        batch = processor(make_dialogues(count), labels=True)
        with count_waits() as training:
            model.train()(**batch).loss.backward()
        with count_waits() as predicting:
            found = model.predict(batch)
        assert all(result["clusters"] and result["region_scores"][0] for result in found)
        asked[count] = training, predicting
    for few, many in zip(asked[2], asked[9], strict=True):
        assert 0 < len(few) < 60
        assert few == many


def test_waits_are_seen():
    """The counter counts."""
    tensor = torch.tensor([1, 0, 3])
    with count_waits() as asked:
        assert tensor.tolist() == [1, 0, 3]
        assert tensor[0].item() == 1
        assert len(tensor[tensor > 0]) == 2
        assert bool(tensor[0] == 1)
    assert {"tolist", "item", "__bool__", "index"} <= set(asked)
