"""Speed and memory of the builder, on a generated corpus of upstream's size and on one a hundred times as large.

    python benchmarks/bench_dataset.py [ANNOTATIONS] [--output FILE]

The yardstick of speed is the least that anyone could do: `json.loads` on each line and `Dataset.from_list` of the
same records (which checks nothing, joins nothing and writes nothing). Both run in one process, by turns, on a real
annotation file (whose splits and titles stand beside it) where one is named. The large
corpus is also built with the garbage collector left running: what pausing it for each block of records is worth.
"""

import argparse
import contextlib
import json
import logging
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

Times = dict[str, float]  # "wall" and "cpu" seconds

N_RECORDS, FACTOR, ROUNDS = 1012, 100, 15
CHARACTERS = "那个戴帽子的女生是她妹妹吗他说今天来看你我姐妈哥演唱会真好听谁知道呢，。"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, nargs="?")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    table = Table("what", "measured", "bar", title="the builder on generated corpora")
    with tempfile.TemporaryDirectory(prefix="bench_dataset_") as folder:
        small = write_corpus(Path(folder, "small"), N_RECORDS)
        large = write_corpus(Path(folder, "large"), N_RECORDS * FACTOR)
        # First, while this process is small: a child's peak memory starts from its parent's.
        seconds, megabytes = measure_large(small, large, Path(folder, "cache"))
        processes = measure_processes(large, Path(folder, "cache"))
        compare_with_yardstick(arguments.annotations or small, Path(folder, "cache"), table)
    for clock in ("wall", "cpu"):
        small_time, large_time = seconds["small"][clock], seconds["large"][clock]
        table.add_row(f"{N_RECORDS} records, {clock} seconds (median)", f"{small_time:.3f}")
        table.add_row(f"{N_RECORDS * FACTOR} records, {clock} seconds", f"{large_time:.2f}")
        table.add_row("  with the garbage collector running", f"{seconds['collected'][clock]:.2f}")
        table.add_row(f"  ratio for {FACTOR} times the records", f"{large_time / small_time:.1f}", "<= 110")
    for number, wall in processes.items():
        name = f"{N_RECORDS * FACTOR} records, num_proc={number}, wall seconds (median of 3)"
        table.add_row(name, f"{wall:.2f}")
    table.add_row("  ratio of num_proc=2 to 1", f"{processes[2] / processes[1]:.2f}", "< 1")
    peak, imported = (megabytes[name] - megabytes["idle"] for name in ("peak", "imported"))
    table.add_row("peak memory above an idle interpreter, MB", f"{peak:.0f}", "< 600")
    table.add_row("  of which imports, MB", f"{imported:.0f}")
    from record import show  # imports torch: a child's peak memory would start from that

    show("What building the dataset costs", [table], arguments.output, [0])


def compare_with_yardstick(annotations: Path, cache: Path, table: Table) -> None:
    """Build `all` and run the yardstick by turns."""
    import datasets

    def yardstick() -> None:
        with open(annotations, encoding="utf-8") as lines:
            datasets.Dataset.from_list([json.loads(line) for line in lines])

    runs = {
        "ours": lambda: build(annotations, cache),
        "collected": lambda: build_collected(annotations, cache),
        "base": yardstick,
    }
    times: dict[str, list[Times]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, run in runs.items():
            times[name].append(timed(run, cache))
            logging.disable(logging.WARNING)  # what the file has wrong, the first build has said
    for clock in ("wall", "cpu"):
        ours, collected, base = (median(times[name][1:])[clock] for name in runs)
        table.add_row(f"building `all`, {clock} milliseconds (median)", f"{1000 * ours:.0f}")
        table.add_row(f"  with the garbage collector running, {clock} milliseconds", f"{1000 * collected:.0f}")
        table.add_row(f"json.loads + Dataset.from_list, {clock} milliseconds (median)", f"{1000 * base:.0f}")
        table.add_row("  ratio", f"{ours / base:.2f}", "<= 1.3")


def measure_large(small: Path, large: Path, cache: Path) -> tuple[dict[str, Times], dict[str, float]]:
    """Seconds of each size and memory, measured in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(small), str(large), str(cache)]
    seconds, megabytes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return seconds, megabytes


def measure(small: Path, large: Path, cache: Path) -> None:
    megabytes = {"idle": peak_megabytes()}
    import tiktalkcoref.tiktalkcoref_dataset  # noqa: F401

    megabytes["imported"] = peak_megabytes()
    timed(lambda: build(small, cache), cache)  # warms up
    seconds = {"small": median([timed(lambda: build(small, cache), cache) for _ in range(ROUNDS)])}
    seconds["large"] = timed(lambda: build(large, cache), cache)
    megabytes["peak"] = peak_megabytes()
    seconds["collected"] = timed(lambda: build_collected(large, cache), cache)
    print(json.dumps([seconds, megabytes]))


def measure_processes(annotations: Path, cache: Path) -> dict[int, float]:
    """Wall seconds of a build with one process and with two, in interpreters of their own, imports left out."""
    command = [sys.executable, __file__, "--processes", str(annotations), str(cache)]
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for number, seconds in times.items():  # by turns
            result = subprocess.run([*command, str(number)], check=True, capture_output=True, text=True)
            seconds.append(float(result.stdout))
    return {number: statistics.median(seconds) for number, seconds in times.items()}


def build_collected(annotations: Path, cache: Path) -> None:
    """As `build`, without the pause of the garbage collector."""
    from unittest.mock import patch

    with patch("tiktalkcoref.tiktalkcoref_dataset.collector_paused", contextlib.nullcontext):
        build(annotations, cache)


def build(annotations: Path, cache: Path, num_proc: int | None = None) -> None:
    import datasets

    from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

    datasets.disable_progress_bars()
    files = {"data_dir": str(annotations.parent), "annotations": str(annotations)}
    builder = TikTalkCoref(config_name="all", cache_dir=str(cache), **files)
    builder.download_and_prepare(num_proc=num_proc)
    builder.as_dataset()


def timed(function: Callable[[], None], cache: Path) -> Times:
    """Wall and processor seconds of a call, the cache emptied first; on a busy machine only the second means much."""
    shutil.rmtree(cache, ignore_errors=True)
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def median(times: list[Times]) -> Times:
    return {clock: statistics.median(entry[clock] for entry in times) for clock in ("wall", "cpu")}


def peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def write_corpus(folder: Path, n: int) -> Path:
    """Invented records of upstream's form and of upstream's mean size; returns the annotation file."""
    folder.mkdir()
    generator = random.Random(0)
    names = ("all_textual_and_visual_annotations.jsonl", "split.jsonl", "video_titles.jsonl")
    with contextlib.ExitStack() as stack:
        annotations, splits, titles = (
            stack.enter_context(open(folder / name, "w", encoding="utf-8")) for name in names
        )
        for i in range(n):
            doc_key = str(6_900_000_000_000_000_000 + i)
            split = generator.choices(["train", "val", "test"], weights=[8, 1, 1])[0]
            kind = generator.choice(["celeb", "no_celeb"])
            write_line(annotations, invent_record(doc_key, generator))
            write_line(splits, {"video_id": doc_key, "video_type": kind, "split": split})
            write_line(titles, {"video_id": doc_key, "title": "".join(generator.choices(CHARACTERS, k=30))})
    return folder / names[0]


def invent_record(doc_key: str, generator: random.Random) -> dict:
    sentences = [generator.choices(CHARACTERS, k=generator.randint(4, 26)) for _ in range(2)]
    tokens = sentences[0] + sentences[1]
    starts = sorted(generator.sample(range(len(tokens) - 2), 2))
    clusters = [[[starts[0], starts[0] + 1]], [[starts[1], starts[1]]]]
    labels = ["C1", "none"] if generator.random() < 0.8 else ["none", "none"]
    n = len(sentences[0])
    root = "/data/pictures"
    boxes = [
        {
            "cur_frame": 1,
            "cur_frame_path": f"{root}/frames/{doc_key}/{doc_key}_1_1.jpg",
            "bbox": [206, 291, 364, 495],
            "box_labels": "C1",
            "if_celebrity": "",
            "region_image_path": f"{root}/faces_all/{doc_key}_1_1_C1.jpg",
        }
    ]
    return {
        "doc_key": doc_key,
        "genre": "wb",
        "sentences": sentences,
        "clusters": clusters,
        "clusters_str": [["".join(tokens[start : end + 1]) for start, end in cluster] for cluster in clusters],
        "speaker_ids": [["A"] * len(sentences[0]), ["B"] * len(sentences[1])],
        "sentence_map": [[0] * len(sentences[0]), [1] * len(sentences[1])],
        "subtoken_map": [list(range(n)), list(range(n, len(tokens)))],
        "entity_label": labels,
        "visual_annotations": boxes if "C1" in labels else [],
    }


def write_line(file, value: dict) -> None:
    file.write(json.dumps(value, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*map(Path, sys.argv[2:]))
    elif sys.argv[1:2] == ["--processes"]:
        import tiktalkcoref.tiktalkcoref_dataset  # noqa: F401

        annotations, cache = map(Path, sys.argv[2:4])
        print(timed(lambda: build(annotations, cache, int(sys.argv[4])), cache)["wall"])
    else:
        main()
