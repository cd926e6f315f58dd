"""The Ray engine: the bytes of the local one, whatever is killed and whatever the rows hold."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from inference_corrupting import spoil, write_pictures
from inference_poison import PoisonSource
from PIL import Image
from test_inference import contents, dialogue, settings, write_lines

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.inference.job import Job, predict_files
from tiktalkcoref.inference.ray_engine import RayEngine
from tiktalkcoref.inference.sources import FileSource

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


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


def test_a_cluster_of_two_nodes(rows, undisturbed, tiny_model_folder, tmp_path, monkeypatch):
    """On one machine. Actors that would leave Ray Data no CPU are refused: it would wait for ever."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        cluster.wait_for_nodes()
        job = FileSource([rows]), tmp_path / "out", settings(tiny_model_folder)
        with pytest.raises(UserError, match=r"has 4 CPUs; 3 actors need 5 .*fewer --actors"):
            predict_files(*job, RayEngine(cluster.address, actors=3))
        predict_files(*job, RayEngine(cluster.address, actors=2))
    finally:
        cluster.shutdown()
    assert contents(tmp_path / "out") == undisturbed


def test_no_cluster_at_the_address(rows, tiny_model_folder, tmp_path):
    job = FileSource([rows]), tmp_path / "out", settings(tiny_model_folder)
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        predict_files(*job, RayEngine("127.0.0.1:9"))


def test_a_row_that_kills_its_worker_is_one_error_row(tiny_model_folder, tmp_path, monkeypatch):
    """With the bytes that the local engine comes to, in its third start."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    lines = [dialogue(number) | ({"doc_key": "poison"} if number == 27 else {}) for number in range(60)]
    rows = write_lines(tmp_path / "rows.jsonl", lines)
    job = PoisonSource([rows]), tmp_path / "ray", settings(tiny_model_folder)
    assert predict_files(*job, RayEngine(actors=2)) == {"rows": 60, "errors": 1}
    job = PoisonSource([rows]), tmp_path / "local", settings(tiny_model_folder)
    started = Job(*job)
    path = started.path(started.shards[1])
    path.with_name(f".{path.name}.tries").write_bytes(b"..")
    assert predict_files(*job) == {"rows": 60, "errors": 1}
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert b"row 27 killed the process that read it" in contents(tmp_path / "ray")["part-000001.jsonl"]


def test_a_killed_driver_goes_on_when_it_is_started_again(rows, undisturbed, tiny_model_folder, tmp_path):
    command = [sys.executable, "-c", DRIVER, rows, tmp_path / "out", tiny_model_folder]
    driver = subprocess.Popen(command)
    while len(contents(tmp_path / "out")) < 4:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert len(contents(tmp_path / "out")) < 21
    assert contents(tmp_path / "out").items() <= undisturbed.items()
    subprocess.run(command, check=True)
    assert contents(tmp_path / "out") == undisturbed


DRIVER = """
import sys
from pathlib import Path
from tiktalkcoref.inference.job import Settings, predict_files
from tiktalkcoref.inference.ray_engine import RayEngine
from tiktalkcoref.inference.sources import FileSource
rows, folder, model = map(Path, sys.argv[1:])
settings = Settings(str(model), "fp32", format="jsonl", shard_rows=20)
predict_files(FileSource([rows]), folder, settings, RayEngine(actors=2))
"""


def test_one_row_in_a_hundred_is_spoilt(tiny_model_folder, tmp_path):
    """3,000 rows with pictures: all others come out with what they hold alone, in both engines. Seed 0."""
    write_pictures(tmp_path)
    good = [dialogue(number) | {"regions": ["good.png"] * (number % 3)} for number in range(3000)]
    lines, expected = spoil(good, 0.01, seed=0)
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    job = FileSource([tmp_path / "rows.jsonl"])
    model = settings(tiny_model_folder, shard_rows=250)
    assert predict_files(job, tmp_path / "local", model) == {"rows": 3000, "errors": 30}
    found = [json.loads(line) for part in contents(tmp_path / "local").values() for line in part.splitlines()]
    assert [row["row"] for row in found] == list(range(3000))
    for row, given in zip(found, good, strict=True):
        if row["row"] in expected:
            assert expected[row["row"]] in row["error"]
            assert "clusters" not in row
        else:
            assert row["error"] is None
            assert row["sentences"] == given["sentences"]
            assert row["clusters"] is not None
    assert predict_files(job, tmp_path / "ray", model, RayEngine(actors=2)) == {"rows": 3000, "errors": 30}
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_rows_with_videos(shared, tiny_model_folder, tmp_path):
    """A real clip and the real networks: the same rows and crops from both engines."""
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    pytest.importorskip("scenedetect")
    shutil.copy(shared / "faces" / "carphone_pristine.mp4", tmp_path / "clip.mp4")
    (tmp_path / "broken.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:3000])
    videos = ["clip.mp4", None, "broken.mp4", "clip.mp4", "none.mp4"]
    lines = [dialogue(number) | {"video": video} for number, video in enumerate(videos)]
    job = FileSource([write_lines(tmp_path / "rows.jsonl", lines)])
    model = settings(tiny_model_folder, shard_rows=2, weights=str(shared / "weights"))
    assert predict_files(job, tmp_path / "local", model) == {"rows": 5, "errors": 2}
    assert predict_files(job, tmp_path / "ray", model, RayEngine(actors=1)) == {"rows": 5, "errors": 2}
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    found = [json.loads(line) for part in contents(tmp_path / "ray").values() for line in part.splitlines()]
    assert [len(row.get("entities", ())) for row in found] == [1, 0, 0, 1, 0]
    assert found[0]["entities"][0]["tracks"] == found[3]["entities"][0]["tracks"]
    assert [name in (row["error"] or "") for row, name in zip(found[2::2], ("broken.mp4", "none.mp4"), strict=True)]
    for row in (found[0], found[3]):
        crop = row["entities"][0]["crop"]
        assert Image.open(tmp_path / "ray" / crop).width > 20
        assert (tmp_path / "ray" / crop).read_bytes() == (tmp_path / "local" / crop).read_bytes()
