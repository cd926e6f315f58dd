"""What the heads cost: a training step and a prediction beside the bare encoder, and the memory of long dialogues.

    python benchmarks/bench_model.py [--shared FOLDER] [--batches N] [--output FILE]

Real dialogues, text only, the small backbone, batch 32. Times are CPU seconds of one thread, model and bare encoder by
turns on the same batches, so that a busy machine disturbs the ratio little. The bare encoder's step is a forward pass
and the backward pass from the sum of its states.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import show
from rich.table import Table
from transformers import AutoModel, AutoTokenizer

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

BATCH = 32
ANNOTATIONS = "annotations.8d346bf.jsonl"
ENCODER_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LENGTHS = (5_000, 10_000, 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=os.environ.get("TIKTALKCOREF_SHARED"))
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--output", type=Path)
    parser.add_argument(
        "--long", type=int, help="print the peak memory of one dialogue of so many characters, and exit"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.shared is None:
        print("bench_model: skipped, needs TIKTALKCOREF_SHARED (the published corpus and a small backbone)")
        return
    backbone = arguments.shared / "backbones" / "me5-small-zh-char"
    if arguments.long:
        print(peak_memory(backbone, arguments.long))
        return
    dialogues = read_dialogues(arguments.shared / "upstream")
    tables = [speed_table(backbone, dialogues, arguments.batches), memory_table(arguments.shared)]
    show("What the heads cost beside the bare encoder; memory of long dialogues", tables, arguments.output, [0])


def read_dialogues(folder: Path) -> list[dict]:
    return [
        {"sentences": row["sentences"], "speakers": [ids[0] for ids in row["speaker_ids"]], "clusters": row["clusters"]}
        for row in read_corpus(find_files(folder, annotations=folder / ANNOTATIONS))
    ]


def speed_table(backbone: Path, dialogues: list[dict], batches: int) -> Table:
    torch.manual_seed(0)
    model = TikTalkCorefModel.from_encoders(backbone)
    bare = AutoModel.from_pretrained(backbone, dtype=torch.float32, add_pooling_layer=False)
    processor = TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))
    read = [processor(dialogues[low : low + BATCH], labels=True) for low in range(0, batches * BATCH, BATCH)]
    warm_up(model, read[:2])

    def encode(batch: dict) -> torch.Tensor:
        return bare(**{name: batch[name] for name in ENCODER_INPUTS}).last_hidden_state

    def step_bare(batch: dict) -> None:
        encode(batch).sum().backward()
        bare.zero_grad()

    def step_model(batch: dict) -> None:
        model(**batch).loss.backward()
        model.zero_grad()

    table = Table(
        "", "bare encoder, s", "model, s", "ratio", title=f"batch {BATCH}, {batches} batches, CPU seconds a batch"
    )
    model.train()
    bare.train()
    add_row(table, "training step (forward + backward)", step_bare, step_model, read)
    model.eval()
    bare.eval()
    with torch.no_grad():
        add_row(table, "prediction (batch given)", encode, model.predict, read)
    return table


def warm_up(model: TikTalkCorefModel, batches: list[dict]) -> None:
    """A few steps of the heads, so that predictions hold mentions as a trained model's do."""
    optimizer = torch.optim.AdamW(model.parameter_groups()["heads"], lr=3e-3)
    for _ in range(6):
        for batch in batches:
            model(**batch).loss.backward()
            optimizer.step()
            model.zero_grad()


def add_row(table: Table, name: str, bare: Callable, model: Callable, batches: list[dict]) -> None:
    times = {bare: 0.0, model: 0.0}
    for run in times:
        run(batches[0])
    for batch in batches:
        for run in times:
            start = time.process_time()
            run(batch)
            times[run] += time.process_time() - start
    one, other = (times[run] / len(batches) for run in (bare, model))
    table.add_row(name, f"{one:.3f}", f"{other:.3f}", f"{other / one:.3f}")


def memory_table(shared: Path) -> Table:
    table = Table("characters", "peak, MB", title="prediction of one dialogue, each in a process of its own")
    for count in LENGTHS:
        command = [sys.executable, __file__, "--shared", str(shared), "--long", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        table.add_row(f"{count:,}", f"{int(done.stdout.split()[-1]):,}")
    return table


def peak_memory(backbone: Path, count: int) -> int:
    """Megabytes at the highest, for a dialogue of utterances of 25 characters with a mention every four characters."""
    model = TikTalkCorefModel.from_encoders(backbone)
    processor = TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))
    text = "那个老师还记得她的学生吗他们周末可以一起去看自己的比赛" * 2
    batch = processor({"sentences": [text[number % 20 :][:25] for number in range(count // 25)]})
    model.predict(batch, mentions=[[(start, start + 1) for start in range(0, count - 1, 4)]])
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent process too
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


if __name__ == "__main__":
    main()
