"""`predict` with a video: what is printed, what is written."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tracking_fakes import ColourEmbedder, DiscHeads, discs, standing, walking
from typer.testing import CliRunner

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("scenedetect")
from tracking_videos import write_video

from tiktalkcoref.cli import app
from tiktalkcoref.inference import videos
from tiktalkcoref.inference.videos import spans
from tiktalkcoref.tracking.tracker import VideoTracker
from tiktalkcoref.tracking.weights import WeightsError


@pytest.fixture(autouse=True)
def coloured_discs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        videos, "VideoTracker", lambda settings, weights: VideoTracker(settings, weights, DiscHeads(), ColourEmbedder())
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = discs({"red": walking(40, 280, 50), "blue": standing(160, 50)}, 50)
    pictures += discs({"blue": standing(250, 180)}, 25, grey=215)
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, crf=12)


def run(*arguments: object):
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(argument) for argument in arguments])


def test_it_says_who_is_to_be_seen_when(tiny_model_folder: Path, clip: Path) -> None:
    result = run("predict", "--model", tiny_model_folder, "--video", clip, "这个男生爱她吗", "她好看")
    assert result.exit_code == 0, result.output
    assert any(f"person {n}" in result.output or "no person" in result.output for n in (0, 1))
    assert "region" not in result.output


def test_what_is_written(tiny_model_folder: Path, clip: Path, tmp_path: Path) -> None:
    arguments = ("predict", "--model", tiny_model_folder, "--video", clip, "这个男生爱她吗", "她好看")
    result = run(*arguments, "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    written = json.loads(line)
    assert [entity["id"] for entity in written["entities"]] == [0, 1]
    for entity in written["entities"]:
        assert (tmp_path / entity["crop"]).is_file()
        assert Image.open(tmp_path / entity["crop"]).width > 30
        assert entity["tracks"][0]["times"][0] == 0
    page = (tmp_path / "out_video" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "person 0" in page
    assert "这个男生爱她吗" in page
    assert run(*arguments, "--output", tmp_path / "out.jsonl").exit_code == 0  # again, over itself


def test_a_file_of_dialogues_names_its_videos(tiny_model_folder: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    dialogue = {"sentences": ["这个男生爱她吗"], "video": "clip.mp4"}
    lines = [json.dumps(dialogue), json.dumps({"sentences": ["她好看"]}), json.dumps(dialogue)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run(
        "predict", "--model", tiny_model_folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"
    )
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ["entities" in result for result in found] == [True, False, True]
    assert found[0]["entities"][0]["crop"] != found[2]["entities"][0]["crop"]


def test_any_number_of_videos_into_a_folder(tiny_model_folder: Path, clip: Path, tmp_path: Path, monkeypatch) -> None:
    """Crops lie beside the rows that name them, bad videos have a message, a video of several rows is read once."""
    tracked: list[Path] = []
    track = VideoTracker.__call__
    monkeypatch.setattr(VideoTracker, "__call__", lambda self, video: tracked.append(Path(video)) or track(self, video))
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "text.mp4").write_text("no video")
    videos = ["clip.mp4", "text.mp4", None, "none.mp4", "clip.mp4", 5, "https://a.b/c.mp4", "clip.mp4"]
    rows = [{"sentences": ["这个男生爱她吗"], "video": video} for video in videos]
    rows.append(rows[0] | {"regions": ["a.png"]})
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = ("predict", "--model", tiny_model_folder, "--input", tmp_path / "in.jsonl", "--shard-rows", 5)
    result = run(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "wrote 9 rows, 5 errors" in result.output
    found = [row for path in sorted((tmp_path / "out").glob("part-*")) for row in pq.read_table(path).to_pylist()]
    messages = [row["error"] for row in found]
    assert [message is None for message in messages] == [True, False, True, False, True, False, False, True, False]
    for place, part in {1: "text.mp4", 3: "none.mp4", 5: "type int", 6: "is a URL", 8: "both video and"}.items():
        assert part in messages[place]
    assert [len(row["entities"] or ()) for row in found] == [2, 0, 0, 0, 2, 0, 0, 2, 0]
    assert [path.name for path in tracked].count("clip.mp4") == 1
    for row in (found[0], found[4], found[7]):
        for entity in row["entities"]:
            assert entity["crop"] == f"crops/{row['row'] // 5:06d}/{row['row']}-{entity['id']}.png"
            assert Image.open(tmp_path / "out" / entity["crop"]).width > 30
            assert entity["tracks"][0]["times"][0] == 0
            assert len(entity["tracks"][0]["boxes"][0]) == 4
    found[0]["row"] = 4
    assert found[0]["entities"][0]["tracks"] == found[4]["entities"][0]["tracks"]


def test_a_tracker_that_cannot_be_had_is_told_in_each_row(tiny_model_folder, clip, tmp_path, monkeypatch) -> None:
    asked: list[object] = []

    def fail(settings: object, weights: object) -> None:
        asked.append(weights)
        raise WeightsError("no weights in w")

    monkeypatch.setattr(videos, "VideoTracker", fail)
    line = json.dumps({"sentences": ["她好看"], "video": str(clip)}) + "\n"
    (tmp_path / "in.jsonl").write_text(line * 3 + json.dumps({"sentences": ["她好看"]}), encoding="utf-8")
    arguments = ("predict", "--model", tiny_model_folder, "--input", tmp_path / "in.jsonl", "--weights", "w")
    result = run(*arguments, "--output", tmp_path / "out.jsonl", "--fail-on-error")
    assert result.exit_code == 3
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ["no weights in w" in (row["error"] or "") for row in found] == [True, True, True, False]
    assert asked == ["w"]


def test_a_file_that_names_videos_is_not_replaced_by_its_answers(tiny_model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"sentences": ["她好看"], "video": "clip.mp4"}), encoding="utf-8")
    before = source.read_bytes()
    result = run("predict", "--model", tiny_model_folder, "--input", source, "--output", source)
    assert "is an input: name another place" in str(result.exception)
    assert source.read_bytes() == before


def test_errors(tiny_model_folder: Path, tmp_path: Path) -> None:
    missing = run("predict", "--model", tiny_model_folder, "--video", tmp_path / "a.mp4", "她好看")
    assert isinstance(missing.exception, FileNotFoundError)
    both = run("predict", "--model", tiny_model_folder, "--video", tmp_path / "a.mp4", "--dataset", "sample")
    assert "--video goes with utterances" in str(both.exception)


def test_times_with_short_gaps_are_one_span() -> None:
    entity = {"tracks": [{"times": [0.0, 0.2, 0.6]}, {"times": [2.0, 2.2]}, {"times": [0.4]}]}
    assert spans(entity) == [(0.0, 0.6), (2.0, 2.2)]
