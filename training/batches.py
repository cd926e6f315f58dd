"""The plan of batches of an epoch, and the batches themselves."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader

from tiktalkcoref.evaluation.dialogues import Dialogue, names_of
from tiktalkcoref.modeling.inputs_tiktalkcoref import read_regions

MAX_SCALED = 2_000_000_000  # bytes of scaled regions that are held in memory


def scale_regions(dialogues: Sequence[Dialogue], size: int) -> bool:
    """Scale every region (in place) to the square that the processor wants, once instead of in every epoch.

    Left alone, and False, where the scaled pictures would not fit into `MAX_SCALED` bytes.
    """
    count = sum(len(dialogue.get("regions", ())) for dialogue in dialogues)
    if count * size * size * 3 > MAX_SCALED:
        return False
    for name, dialogue in zip(names_of(dialogues), dialogues, strict=True):
        if dialogue.get("regions"):
            scaled = [
                [picture.resize((size, size), Image.Resampling.BICUBIC) for picture in region]
                for region in read_regions(dialogue, name)
            ]
            dialogue["regions"] = [region[0] if len(region) == 1 else region for region in scaled]
    return True


@dataclass(frozen=True)
class Step:
    """One optimiser step of one process.

    `batches` are its micro-batches; `counts` how many dialogues each is worth: 0 for one that only keeps a process in
    step with the others; `dialogues` the sum of the counts over all processes.
    """

    batches: list[list[int]]
    counts: list[int]
    dialogues: int


def plan_epoch(
    lengths: Sequence[int],
    *,
    batch_size: int,
    accumulation: int = 1,
    processes: int = 1,
    rank: int = 0,
    seed: int = 0,
    epoch: int = 0,
    length_grouped: bool = True,
    max_length: int = 0,
) -> list[Step]:
    """The steps of one epoch for one process; over all processes every dialogue comes once.

    The same for the same seed and epoch. A step takes `batch_size * accumulation * processes` dialogues, so the same
    dialogues meet in a step however they are spread over micro-batches and processes. Grouping by length sorts within
    pools of 16 steps; steps are then shuffled, and within a step longer dialogues share a micro-batch. In the last,
    smaller step every process still has as many micro-batches as the others (perhaps one that counts nothing), so that
    none waits for ever. One that would be longer than `max_length`, padding included, is read in several parts.
    """
    generator = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    size = batch_size * accumulation * processes
    if length_grouped:
        pools = [order[start : start + 16 * size] for start in range(0, len(order), 16 * size)]
        order = [index for pool in pools for index in sorted(pool, key=lambda index: -lengths[index])]
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if length_grouped:
        generator.shuffle(groups)
    steps = [_deal_out(sorted(group, key=lambda i: -lengths[i]), batch_size, processes, rank) for group in groups]
    return [_in_parts(step, lengths, max_length) for step in steps] if max_length else steps


def _deal_out(group: list[int], batch_size: int, processes: int, rank: int) -> Step:
    """The micro-batches of one process: the group is dealt out in turn, so shares differ by one dialogue at most."""
    mine = group[rank::processes]
    count = -(-len(group[::processes]) // batch_size)
    batches = [mine[number * batch_size : (number + 1) * batch_size] for number in range(count)]
    return Step([batch or group[:1] for batch in batches], [len(batch) for batch in batches], len(group))


def _in_parts(step: Step, lengths: Sequence[int], max_length: int) -> Step:
    """The step with micro-batches of at most `max_length`, or of one dialogue; as long as their first, the longest."""
    batches, counts = [], []
    for batch, count in zip(step.batches, step.counts, strict=True):
        rest = batch
        while rest:
            size = max(1, max_length // max(1, lengths[rest[0]]))
            batches.append(rest[:size])
            counts.append(min(count, len(rest[:size])))  # all of them count, or none
            rest = rest[size:]
    return Step(batches, counts, step.dialogues)


def batches_of(
    dialogues: Sequence[Dialogue],
    batches: Sequence[list[int]],
    collate: Callable[[list[Dialogue]], Any],
    workers: int = 0,
) -> Iterator[Any]:
    """Collated batches in the given order; with `workers`, prepared ahead in other processes."""
    if not workers:
        return (collate([dialogues[index] for index in batch]) for batch in batches)
    # its own generator: a loader that draws its base seed from torch's would shift every dropout mask after it
    generator = torch.Generator().manual_seed(0)
    indexed: Any = dialogues  # a list is all that the loader asks for
    return iter(
        DataLoader(indexed, batch_sampler=batches, collate_fn=collate, num_workers=workers, generator=generator)
    )


def hide_characters(input_ids: torch.Tensor, token_speaker: torch.Tensor, share: float, hidden_id: int) -> torch.Tensor:
    """Replace that share of the dialogue's tokens [N, L] by `hidden_id`; title and specials (speaker 0) stay.

    Drawn from torch's CPU generator, so that a resumed run draws what the whole one would have drawn.
    """
    chosen = (torch.rand(input_ids.shape) < share).to(input_ids.device)
    return input_ids.masked_fill(chosen & (token_speaker > 0), hidden_id)
