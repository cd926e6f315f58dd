"""The two engines of `predict` beside one another: rows a second, peak memory by size, and what a second actor brings.

    python benchmarks/bench_engines.py [--rows 10000 100000] [--model FOLDER] [--output FILE]

Dialogues are generated from a seed. Without --model a tiny model with random weights answers, so that what is timed is
mostly the engines' own work: reading, batching, writing, and what Ray adds. Each run is a process of its own with one
thread a model, and says its peak memory itself (VmHWM); that of Ray is the driver's, actors not counted. Every engine
must write the same bytes. The second actor is judged by what the machine gives to two processes at all: two local
engines, each with its own half of the rows, at the same time.

Speeds are of the whole run, and steady: from the first shard that is done to the last, without start and loading.
What grew with the rows was what oneDNN prepares and keeps for each shape of a batch, up to 1,024 of them; `predict`
lets it keep 64 (ONEDNN_PRIMITIVE_CACHE_CAPACITY).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SEED = 0
CHARACTERS = "那个戴帽子的女生是她妹妹吗他说今天来看你我姐妈哥演唱会真好听谁知道呢"
MEMORY_GOAL, ACTORS_GOAL = 0.15, 1.6
ENGINES = ("local", "ray, 1 actor", "ray, 2 actors")


def main() -> None:
    """Print the table, and with --output write it as JSON; exit with 1 where two engines differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--model", help="a folder or a name on the Hub; by default a tiny one with random weights")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--run", nargs=4, metavar=("ENGINE", "MODEL", "ROWS", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        engine, model, rows, output = arguments.run
        print(json.dumps(run(engine, model, Path(rows), Path(output))))
        return
    with tempfile.TemporaryDirectory(prefix="bench_engines_") as name:
        folder = Path(name)
        model = arguments.model or str(write_model(folder / "model"))
        figures: dict[str, Any] = {"model": "given" if arguments.model else "tiny, random weights"}
        figures |= {"ray": version("ray"), "rows": {}}
        for count in sorted(arguments.rows):
            figures["rows"][str(count)] = compare(folder / str(count), count, model)
            print(f"{count:,} rows: done", file=sys.stderr, flush=True)
    figures |= judge(figures["rows"])
    show(figures)
    if arguments.output:
        from record import record

        record(arguments.output, __doc__.splitlines()[0], figures, [SEED])
    if not all(found["equal"] for found in figures["rows"].values()):
        sys.exit("the engines' rows differ")


def compare(folder: Path, count: int, model: str) -> dict[str, Any]:
    """All engines on the same rows, one after another; then two local ones at once."""
    rows = write_rows(folder / "rows.jsonl", range(count))
    found = {engine: start(engine, model, rows, folder / engine)() for engine in ENGINES}
    bytes_of = [{path.name: path.read_bytes() for path in (folder / engine).glob("part-*")} for engine in ENGINES]
    halves = [range(count // 2), range(count // 2, count)]
    paths = [write_rows(folder / f"half{number}.jsonl", half) for number, half in enumerate(halves)]
    waiting = [start("local", model, path, path.with_suffix("")) for path in paths]
    both = [wait() for wait in waiting]
    found["two local processes"] = {
        "rows": count,
        "seconds": max(one["seconds"] for one in both),
        "rows_per_second": count / max(one["seconds"] for one in both),
        "steady_rows_per_second": sum(one["steady_rows_per_second"] for one in both),
        "peak_mib": max(one["peak_mib"] for one in both),
        "load_before": both[0]["load_before"],
    }
    return {"engines": found, "equal": all(one == bytes_of[0] for one in bytes_of)}


def start(engine: str, model: str, rows: Path, output: Path) -> Any:
    """Start a run in a process of its own; what is given back waits for its figures."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--run", engine, model, str(rows), str(output)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def wait() -> dict[str, Any]:
        printed, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{engine}: exit code {process.returncode}")
        return json.loads(printed.splitlines()[-1])

    return wait


def run(engine: str, model: str, rows: Path, output: Path) -> dict[str, Any]:
    """One engine over all rows, in this process."""
    from tiktalkcoref.inference.job import Settings, predict_files, run_local
    from tiktalkcoref.inference.ray_engine import RayEngine
    from tiktalkcoref.inference.sources import FileSource

    chosen = run_local if engine == "local" else RayEngine(actors=int(engine.split()[1]))
    load = os.getloadavg()[0]
    times: list[tuple[float, int]] = []

    def timed(job: Any) -> Iterator[Any]:
        for done in chosen(job):
            times.append((time.monotonic(), done.rows))
            yield done

    begun = time.monotonic()
    summary = predict_files(FileSource([rows]), output, Settings(model, "fp32", format="jsonl"), timed)
    seconds = time.monotonic() - begun
    (first, rows_before), (last, _) = times[0], times[-1]
    steady = (summary["rows"] - rows_before) / (last - first) if last > first else summary["rows"] / seconds
    return {
        "rows": summary["rows"],
        "seconds": seconds,
        "rows_per_second": summary["rows"] / seconds,
        "steady_rows_per_second": steady,
        "peak_mib": peak_mib(),
        "load_before": load,
    }


def peak_mib() -> float:
    """Of this process; unlike `ru_maxrss` it does not begin with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def judge(found: dict[str, Any]) -> dict[str, Any]:
    """Ratios: of peak memory between the smallest and the largest number of rows, and of speeds at the largest."""
    smallest, largest = (found[key]["engines"] for key in (min(found, key=int), max(found, key=int)))
    steady = {name: one["steady_rows_per_second"] for name, one in largest.items()}
    return {
        "peak_memory_ratio": {name: largest[name]["peak_mib"] / smallest[name]["peak_mib"] for name in ENGINES},
        "two_actors_to_one": steady["ray, 2 actors"] / steady["ray, 1 actor"],
        "one_actor_to_local": steady["ray, 1 actor"] / steady["local"],
        "two_local_processes_to_one": steady["two local processes"] / steady["local"],
    }


def show(figures: dict[str, Any]) -> None:
    """The table, and the ratios with what they should be."""
    table = Table(title="engines of predict")
    for column in ("rows", "engine", "rows/s", "steady rows/s", "peak MiB", "load before"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for count, found in figures["rows"].items():
        for name, one in found["engines"].items():
            numbers = (one["rows_per_second"], one["steady_rows_per_second"], one["peak_mib"])
            table.add_row(
                f"{int(count):,}", name, *(f"{number:.0f}" for number in numbers), f"{one['load_before']:.1f}"
            )
    Console(width=100).print(table)
    for count, found in figures["rows"].items():
        print(
            f"{int(count):,} rows: the engines' files are {'equal, byte for byte' if found['equal'] else 'NOT equal'}"
        )
    for name, ratio in figures["peak_memory_ratio"].items():
        print(f"peak memory, most rows to fewest, {name}: {ratio:.3f} (goal: at most {1 + MEMORY_GOAL:.2f})")
    print(f"two actors to one: {figures['two_actors_to_one']:.2f} (goal: at least {ACTORS_GOAL})")
    print(f"two local processes to one, what this machine gives: {figures['two_local_processes_to_one']:.2f}")
    print(f"one actor to the local engine: {figures['one_actor_to_local']:.2f}")


def write_rows(path: Path, numbers: Iterable[int]) -> Path:
    """A dialogue a number, of one to six utterances; the same number gives the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in numbers:
            draw = random.Random(f"{SEED}-{number}")
            lengths = [draw.randint(2, 40) for _ in range(draw.randint(1, 6))]
            sentences = ["".join(draw.choices(CHARACTERS, k=length)) for length in lengths]
            file.write(json.dumps({"doc_key": str(number), "sentences": sentences}, ensure_ascii=False) + "\n")
    return path


def write_model(folder: Path) -> Path:
    """Two layers of 32, random; its thresholds let it find mentions."""
    import torch
    from transformers import BertConfig, BertTokenizer

    from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
    from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
    from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(CHARACTERS)]
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, do_lower_case=False)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = BertConfig(vocab_size=len(tokens), max_position_embeddings=512, **sizes)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad")}
    heads = {"projection_dim": 16, "mention_hidden_size": 16, "pair_hidden_size": 16, "mention_threshold": 0.05}
    torch.manual_seed(SEED)
    model = TikTalkCorefModel(TikTalkCorefConfig(text_config=text, **ids, **heads)).eval()
    model.save_pretrained(folder)
    TikTalkCorefProcessor.from_config(model.config, tokenizer).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
