"""The Ray engine: the bytes of the local one, also where a worker is killed in mid-run."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from test_inference import contents, dialogue, settings, write_lines

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.inference.job import predict_files
from tiktalkcoref.inference.ray_engine import RayEngine
from tiktalkcoref.inference.sources import FileSource

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """400 dialogues and 4 rows that are none."""
    lines = [dialogue(number) if number % 100 else None for number in range(404)]
    return write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", lines)


@pytest.fixture(scope="module")
def undisturbed(rows, tiny_model_folder, tmp_path_factory) -> dict[str, bytes]:
    """What the local engine writes."""
    folder = tmp_path_factory.mktemp("local") / "out"
    assert predict_files(FileSource([rows]), folder, settings(tiny_model_folder)) == {"rows": 404, "errors": 5}
    return contents(folder)


def workers() -> list[int]:
    """The processes of the actors below this one."""
    found, parents = [], {os.getpid()}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            title = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) in parents:
            parents.add(int(process.name))
            if b"MapWorker" in title:
                found.append(int(process.name))
    return found


def test_a_killed_worker_costs_no_row_and_doubles_none(rows, undisturbed, tiny_model_folder, tmp_path):
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            if len(contents(tmp_path / "out")) > 2 and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.05)

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    job = FileSource([rows]), tmp_path / "out", settings(tiny_model_folder)
    assert predict_files(*job, RayEngine(actors=2)) == {"rows": 404, "errors": 5}
    thread.join(timeout=10)
    assert killed
    assert contents(tmp_path / "out") == undisturbed


def test_a_stopped_run_goes_on_and_a_missing_model_is_told(rows, undisturbed, tiny_model_folder, tmp_path):
    job = FileSource([rows]), tmp_path / "out", settings(tiny_model_folder)
    predict_files(*job)
    for number in (1, 7, 20):
        (tmp_path / "out" / f"part-{number:06d}.jsonl").unlink()
    predict_files(*job, RayEngine(actors=1))
    assert contents(tmp_path / "out") == undisturbed
    with pytest.raises(UserError, match="holds no model"):
        predict_files(FileSource([rows]), tmp_path / "none", settings(tmp_path), RayEngine(actors=1))
