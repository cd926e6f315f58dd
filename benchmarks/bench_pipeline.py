"""What the whole pipeline costs beside the bare text encoder: dialogues a second on the same batches, in one run.

    TIKTALKCOREF_SHARED=... python benchmarks/bench_pipeline.py [--model FOLDER] [--dialogues 512] [--output FILE]

The pipeline validates, tokenises, encodes, finds mentions, clusters them and formats the result, text only, on the
published corpus; the bare encoder reads the batches that the pipeline made, tokenised already. The two take turns batch
by batch, so that a busy machine slows both; the ratio is the median over the rounds. Without --model the heads are
random and their biases are set so that they find about as many mentions as the corpus has: an untrained model that
finds none would do no decoding at all.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import show
from rich.table import Table
from transformers import AutoTokenizer
from transformers.utils import logging

from tiktalkcoref.modeling.mentions_tiktalkcoref import band_mask
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

BATCH_SIZE = 32
GOAL = 0.7


def main() -> None:
    """Print the table; exit with 1 where the pipeline is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a saved model; by default the small backbone with random heads")
    parser.add_argument("--dialogues", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    shared = os.environ.get("TIKTALKCOREF_SHARED")
    if not shared:
        print("bench_pipeline: skipped, needs TIKTALKCOREF_SHARED (the published corpus and a small backbone)")
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    dialogues, n_gold = read_corpus(Path(shared) / "upstream" / "annotations.db84797.jsonl", arguments.dialogues)
    model, processor = load(arguments.model, Path(shared) / "backbones" / "me5-small-zh-char")
    resolver = TikTalkCorefPipeline(model=model, processor=processor, device=arguments.device, batch_size=BATCH_SIZE)
    groups, batches = record_batches(resolver, dialogues)
    if arguments.model is None:
        calibrate(model, batches, n_gold)
    n_found = sum(len(cluster["mentions"]) for result in resolver(dialogues) for cluster in result["clusters"])

    seconds: dict[str, list[float]] = {"pipeline": [], "bare encoder": []}
    for _ in range(arguments.rounds):
        spent = [
            (timed(lambda: encode(model, batch)), timed(lambda: resolver(group)))  # noqa: B023 (called at once)
            for group, batch in zip(groups, batches, strict=True)
        ]
        for name, values in zip(("bare encoder", "pipeline"), zip(*spent, strict=True), strict=True):
            seconds[name].append(sum(values))
    ratio = statistics.median(
        encoder / pipeline for pipeline, encoder in zip(seconds["pipeline"], seconds["bare encoder"], strict=True)
    )
    tables = report(len(dialogues), seconds, profile(resolver, dialogues))
    tables[0].add_row(f"pipeline / bare encoder (goal: at least {GOAL})", f"{ratio:.3f}")
    tables[0].add_row(f"mentions found (gold: {n_gold})", str(n_found))
    show("What the pipeline costs beside the bare encoder, text only", tables, arguments.output, [0])
    if ratio < GOAL:
        sys.exit(1)


def read_corpus(path: Path, count: int) -> tuple[list[dict[str, Any]], int]:
    """The first `count` dialogues, text alone, and the number of their gold mentions."""
    records = [json.loads(line) for line in path.open(encoding="utf-8")][:count]
    dialogues = [
        {"sentences": record["sentences"], "speakers": [speakers[0] for speakers in record["speaker_ids"]]}
        for record in records
    ]
    return dialogues, sum(len(cluster) for record in records for cluster in record["clusters"])


def load(folder: Path | None, backbone: Path) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    """A saved model, or one of the backbone with fresh heads; and its processor."""
    if folder is not None:
        return TikTalkCorefModel.from_pretrained(folder), TikTalkCorefProcessor.from_pretrained(folder)
    model = TikTalkCorefModel.from_encoders(backbone).eval()
    return model, TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))


def record_batches(resolver: TikTalkCorefPipeline, dialogues: list[dict]) -> tuple[list[list[dict]], list[dict]]:
    """The dialogues as the pipeline groups them into batches, and these batches, on its device."""
    groups, batches = [], []
    preprocess, predict = resolver.preprocess, resolver.model.predict
    resolver.preprocess = lambda named: groups.append([dialogue for _, dialogue in named]) or preprocess(named)
    resolver.model.predict = lambda batch, **given: batches.append(batch) or predict(batch, **given)
    resolver(dialogues)
    del resolver.preprocess, resolver.model.predict
    return groups, batches


@torch.inference_mode()
def calibrate(model: TikTalkCorefModel, batches: list[dict[str, Any]], n_mentions: int) -> None:
    """Set the biases of the mention head so that `n_mentions` starts pass its threshold, each with one end."""
    starts, ends = [], []
    for batch in batches:
        output = model(**batch)
        mask = band_mask(batch["character_utterance"], model.config.max_mention_length)
        starts.append(output.start_logits[mask[..., 0]])
        ends.append(output.end_logits.masked_fill(~mask, -torch.inf)[mask[..., 0]])
    start_logits, end_logits = torch.cat(starts), torch.cat(ends)
    threshold = torch.logit(torch.tensor(model.config.mention_threshold).sqrt())  # of each, for their product
    start_cut = start_logits.topk(n_mentions + 1).values[-1]
    end_cut = end_logits[start_logits > start_cut].flatten().topk(n_mentions + 1).values[-1]
    model.mention_head.start_score.bias += threshold - start_cut
    model.mention_head.start_bias.bias += threshold - end_cut


@torch.inference_mode()
def encode(model: TikTalkCorefModel, batch: dict[str, Any]) -> None:
    """The bare encoder, as a user of transformers would call it."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    model.text_encoder(**inputs).last_hidden_state[0, 0, 0].item()  # waits for the device


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def profile(resolver: TikTalkCorefPipeline, dialogues: list[dict]) -> dict[str, float]:
    """Seconds of one run by stage."""
    model = resolver.model
    stages = {
        "tokenise (processor)": (resolver.processor, "_encode"),
        "collate": (resolver, "preprocess"),  # less what is inside
        "encode": (model.text_encoder, "forward"),
        "mention head": (model.mention_head, "forward"),
        "select mentions": (model, "_select"),
        "cluster": (model, "_cluster"),
        "mention scores": (model, "_mention_scores"),
        "format": (resolver, "postprocess"),
    }
    spent: dict[str, float] = defaultdict(float)
    for name, (owner, method) in stages.items():
        setattr(owner, method, stopwatch(getattr(owner, method), spent, name, resolver.device.type == "cuda"))
    total = timed(lambda: resolver(dialogues))
    for owner, method in stages.values():
        delattr(owner, method)
    spent["collate"] -= spent["tokenise (processor)"]
    spent["rest"] = total - sum(spent.values())
    return {name: spent[name] for name in (*stages, "rest")}


def stopwatch(
    function: Callable, spent: dict[str, float], name: str, on_cuda: bool, clock: Callable = time.perf_counter
) -> Callable:
    """The function, its time added to `spent`."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        result = function(*args, **kwargs)
        if on_cuda:
            torch.cuda.synchronize()
        spent[name] += clock() - start
        return result

    return watched


def report(count: int, seconds: dict[str, list[float]], spent: dict[str, float]) -> list[Table]:
    """The two speeds, and the pipeline by stage."""
    table = Table(title=f"{count} dialogues, batch {BATCH_SIZE}, {torch.get_num_threads()} threads")
    for column in ("", "dialogues/s", "median s", "fastest s", "slowest s"):
        table.add_column(column, justify="right" if column else "left")
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{count / median:.1f}", f"{median:.3f}", f"{min(values):.3f}", f"{max(values):.3f}")
    shares = Table(title="one run of the pipeline, by stage")
    for column in ("", "ms a dialogue", "share"):
        shares.add_column(column, justify="right" if column else "left")
    for name, value in spent.items():
        shares.add_row(name, f"{1000 * value / count:.3f}", f"{value / sum(spent.values()):.1%}")
    return [table, shares]


if __name__ == "__main__":
    main()
