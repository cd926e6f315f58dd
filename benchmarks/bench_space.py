"""From page open to result in a browser: an example with pictures, and ten seconds of 720p.

    python benchmarks/bench_space.py --model FOLDER [--shared FOLDER] [--rounds N] [--output FILE]

Needs Debian's `chromium`; the video needs the photographs and weights of the shared folder. Warm: the first round,
which loads the networks and fills the caches, is not counted. Processor time is the server's.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright
from record import show
from rich.table import Table

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model of the recipe `sample`")
    parser.add_argument("--shared", type=Path, default=os.environ.get("TIKTALKCOREF_SHARED"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="such as benchmarks/results/space.json")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None or arguments.model is None:
        print("bench_space: skipped, needs Debian's chromium and --model")
        return
    with tempfile.TemporaryDirectory() as folder:
        tasks: dict[str, Callable[[Any, str], None]] = {"an example with pictures": open_example}
        environment = {**os.environ}
        if arguments.shared:
            environment["TIKTALKCOREF_TRACKING_WEIGHTS"] = str(Path(arguments.shared) / "weights")
            clip = make_clip(Path(arguments.shared) / "faces", Path(folder) / "clip.mp4")
            tasks["10 s of 720p"] = lambda page, address: upload(page, address, clip)
        server, address = serve(arguments.model, Path(folder), environment)
        try:
            table = measure(tasks, server, address, chromium, arguments.rounds)
        finally:
            server.terminate()
            server.wait()
    show("From page open to result in a browser, warm", [table], arguments.output)


def measure(
    tasks: dict[str, Callable[[Any, str], None]], server: subprocess.Popen, address: str, chromium: str, rounds: int
) -> Table:
    """Seconds of each task, in a page of its own."""
    table = Table("", "median s", "each round, s", "server CPU s, median")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(locale="en-US")
        for name, task in tasks.items():
            walls, processor = [], []
            for _ in range(rounds + 1):
                page = context.new_page()
                page.set_default_timeout(120_000)
                wall, cpu = time.perf_counter(), cpu_seconds(server.pid)
                task(page, address)
                walls.append(time.perf_counter() - wall)
                processor.append(cpu_seconds(server.pid) - cpu)
                page.close()
            table.add_row(
                name, f"{median(walls[1:]):.2f}", " ".join(f"{wall:.2f}" for wall in walls[1:]),
                f"{median(processor[1:]):.2f}",
            )  # fmt: skip
        browser.close()
    return table


def open_example(page: Any, address: str) -> None:
    page.goto(f"{address}/?example=two-people")
    page.wait_for_selector("#result .ttc-footer a")


def upload(page: Any, address: str, clip: Path) -> None:
    page.goto(address)
    page.fill("#chat .ttc-text >> nth=0", "那个男生笑起来真好看")
    page.click("#tab-video-button")
    page.set_input_files("#video input[type=file]", str(clip))
    page.wait_for_function("() => document.querySelector('#video').innerText.includes('clip')")
    page.click("#run")
    page.wait_for_selector("#result .ttc-timeline")


def serve(model: Path, folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, str]:
    """The app in a process of its own, and its address."""
    command = [sys.executable, "-u", "-m", "tiktalkcoref.cli", "app", "--model", str(model.resolve())]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    while process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text()):
            return process, found[0]
        time.sleep(0.2)
    sys.exit((folder / "log").read_text())


def cpu_seconds(process: int) -> float:
    """Processor time of a process, all its threads."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def make_clip(faces: Path, path: Path) -> Path:
    """The tests' scene of two persons, cut to ten seconds."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tracking_scenes import cast_of, two_persons
    from tracking_videos import render, write_video

    shots = [replace(shot, seconds=10 / 3) for shot in two_persons(cast_of(faces))]
    return write_video(path, render(shots)[0])


if __name__ == "__main__":
    main()
