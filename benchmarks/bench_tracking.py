"""How fast videos are searched, which stage takes how long, and whether memory grows with the length.

    python benchmarks/bench_tracking.py [--shared FOLDER] [--video FILE] [--memory] [--fps N] [--output FILE]

Without --video, 22 s of 720p are made of the photographs in the shared folder: up to three persons, cuts, a crossing,
an occlusion. --memory tracks 1 and 10 minutes of them, each in a process of its own, and takes some minutes. Wall time
depends on who else is at work; the processor time of the whole process is beside it.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from record import show
from rich.table import Table

from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker

SCENES = ("two_persons", "crossing", "occlusion", "same_place")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=os.environ.get("TIKTALKCOREF_SHARED"))
    parser.add_argument("--video", type=Path, help="measure this video instead")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of 1 and 10 minutes too")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--peak", action="store_true", help="print the peak memory of --video in MiB, and exit")
    parser.add_argument("--output", type=Path, help="such as benchmarks/results/tracking.json")
    arguments = parser.parse_args()
    if arguments.shared is None:
        print("bench_tracking: skipped, needs TIKTALKCOREF_SHARED (photographs and weights)")
        return
    weights = Path(arguments.shared) / "weights"
    if arguments.peak:
        VideoTracker(Settings(fps=arguments.fps), weights)(arguments.video)
        print(peak_mib())
        return
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or make_video(Path(arguments.shared) / "faces", Path(folder) / "scenes.mp4")
        tables = [speed_table(video, weights, arguments.fps)]
        if arguments.memory:
            tables.append(memory_table(video, Path(folder), Path(arguments.shared), arguments.fps))
        show(f"Persons in a video, {arguments.fps:g} frames a second sampled", tables, arguments.output)


def speed_table(video: Path, weights: Path, fps: float) -> Table:
    """Video seconds a second, and the share of each stage, at full size and fast."""
    table = Table(
        "", "persons", "video s / wall s", "video s / CPU s", "stages, share of their time", title=f"{video.name}"
    )
    for name, settings in (("full", Settings(fps=fps)), ("fast", Settings(fps=fps).fast())):
        tracker = VideoTracker(settings, weights)
        wall, cpu = time.perf_counter(), time.process_time()
        found = tracker(video)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        total = sum(tracker.seconds.values())
        shares = " · ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in tracker.seconds.items())
        table.add_row(
            name, str(len(found.entities)), f"{found.seconds / wall:.2f}", f"{found.seconds / cpu:.2f}", shares
        )
    return table


def memory_table(video: Path, folder: Path, shared: Path, fps: float) -> Table:
    """Peak memory of one and of ten minutes of the video, repeated."""
    table = Table("length", "peak MiB", title="memory")
    for minutes in (1, 10):
        path = loop(video, folder / f"{minutes}.mp4", 60 * minutes)
        command = [sys.executable, __file__, "--peak", "--video", str(path), "--shared", str(shared), "--fps", str(fps)]
        table.add_row(
            f"{minutes} min", subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
    return table


def peak_mib() -> int:
    """The peak of this process; what `getrusage` says begins with the size of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text()).group(1)) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def loop(video: Path, path: Path, seconds: float) -> Path:
    """Repeat a video's packets, without decoding them, until it is so long."""
    with av.open(str(path), "w") as output:
        target, shift = None, 0
        while True:
            with av.open(str(video)) as source:
                stream = source.streams.video[0]
                target = target or output.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                    output.mux(packet)
                shift += stream.duration
                if shift * stream.time_base >= seconds:
                    return path


def make_video(faces: Path, path: Path) -> Path:
    """The tests' scenes, one after another."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tracking_scenes import SCENES as SCENE_MAKERS
    from tracking_scenes import cast_of
    from tracking_videos import render, write_video

    cast = cast_of(faces)
    shots = [shot for name in SCENES for shot in SCENE_MAKERS[name](cast)]
    return write_video(path, render(shots)[0], preset="veryfast", crf=23)


if __name__ == "__main__":
    main()
