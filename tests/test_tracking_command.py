"""`tiktalkcoref track`: the folder it writes, all of it or nothing; with a detector of coloured discs."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracking_fakes import ColourEmbedder, DiscHeads, discs, standing, walking

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("scenedetect")
from PIL import Image
from tracking_videos import write_video

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.tracking.command import track_videos
from tiktalkcoref.tracking.drawing import box_at
from tiktalkcoref.tracking.entities import read_entities
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker
from tiktalkcoref.tracking.tracks import Track


def tracker(settings: Settings | None = None) -> VideoTracker:
    return VideoTracker(settings or Settings(), heads=DiscHeads(), embedder=ColourEmbedder())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red walks, blue stands; a cut; blue alone in another place; a cut; nobody."""
    pictures = discs({"red": walking(40, 280, 50), "blue": standing(160, 50)}, 50)
    pictures += discs({"blue": standing(250, 180)}, 25, grey=215) + discs({}, 25, grey=20)
    return write_video(tmp_path_factory.mktemp("clip") / "这个 clip.mp4", pictures, crf=12)


@pytest.fixture(scope="module")
def folder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output")
    (result,) = track_videos([clip], output, tracker(), annotate=True).values()
    assert result == output / "这个 clip"
    return result


def test_the_file_says_who_is_where(folder: Path) -> None:
    content = json.loads((folder / "entities.json").read_text(encoding="utf-8"))
    assert content["version"] == 1
    assert content["video"] == "这个 clip.mp4"
    assert (content["fps"], content["width"], content["height"], content["seconds"]) == (5, 320, 240, 4)
    assert content["shots"] == [[0, 2], [2, 3], [3, 4]]
    assert content["samples"] == 20
    blue, red = content["entities"]
    assert (blue["id"], red["id"]) == (0, 1)
    assert [(track["shot"], track["frames"]) for track in blue["tracks"]] == [
        (0, list(range(0, 50, 5))), (1, list(range(50, 75, 5)))
    ]  # fmt: skip
    assert blue["tracks"][1]["times"] == [2.0, 2.2, 2.4, 2.6, 2.8]
    np.testing.assert_allclose(blue["tracks"][1]["boxes"], [[226, 156, 275, 205]] * 5, atol=3)
    np.testing.assert_allclose(red["tracks"][0]["boxes"][2], [64, 96, 113, 145], atol=3)
    assert content["warnings"] == []


def test_crops_are_cut_from_the_picture_they_name(folder: Path) -> None:
    for entity, colour in zip(read_entities(folder)["entities"], ((40, 40, 230), (220, 30, 30)), strict=True):
        assert entity["crop"] == entity["crops"][0]["file"]
        assert entity["box"] in [box for track in entity["tracks"] for box in track["boxes"]]
        assert len(entity["crops"]) >= 3
        for crop in entity["crops"]:
            picture = np.asarray(Image.open(folder / crop["file"]).convert("RGB"))
            assert np.abs(picture[len(picture) // 2, len(picture[0]) // 2] - np.array(colour)).max() < 25


def test_the_contact_sheet_has_a_row_a_person(folder: Path) -> None:
    sheet = Image.open(folder / "contact_sheet.png")
    two = sheet.height
    assert sheet.width > 1000
    colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20)}
    assert {(0x4E, 0x79, 0xA7), (0xF2, 0x8E, 0x2B)} <= colours
    assert two > 300


def test_the_annotated_video_has_boxes_and_keeps_its_times(folder: Path) -> None:
    import av

    with av.open(str(folder / "annotated.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 100
    assert frames[-1].time == pytest.approx(3.96, abs=0.01)
    picture = frames[12].to_ndarray(format="rgb24").astype(int)  # between two samples
    assert np.abs(picture[120, 72] - (0xF2, 0x8E, 0x2B)).max() < 70  # the left side of red's box, x 73


def test_boxes_move_evenly_between_samples() -> None:
    track = Track(0, times=[1.0, 1.2, 3.0], frames=[5, 6, 15], boxes=[[0, 0, 10, 10], [10, 0, 20, 10], [50, 0, 60, 10]])
    assert box_at(track, 1.1, 0.3) == pytest.approx([5, 0, 15, 10])
    assert box_at(track, 0.9, 0.3) is None
    assert box_at(track, 1.3, 0.3) == [10, 0, 20, 10]
    assert box_at(track, 2.0, 0.3) is None  # hidden in between
    assert box_at(track, 3.1, 0.3) == [50, 0, 60, 10]
    assert box_at(track, 3.3, 0.3) is None


def test_a_finished_video_is_skipped(clip: Path, folder: Path) -> None:
    before = (folder / "entities.json").stat().st_mtime_ns
    counting = tracker()
    track_videos([clip], folder.parent, counting, annotate=True)
    track_videos([clip], folder.parent, counting)
    assert (folder / "entities.json").stat().st_mtime_ns == before
    assert not counting.seconds
    track_videos([clip], folder.parent, tracker(Settings(fps=10)), annotate=True)
    assert read_entities(folder)["fps"] == 10
    track_videos([clip], folder.parent, tracker(), annotate=True)


def test_nobody_is_an_empty_list(tmp_path: Path) -> None:
    path = write_video(tmp_path / "empty.mp4", discs({}, 25))
    (folder,) = track_videos([path], tmp_path / "out", tracker()).values()
    assert read_entities(folder)["entities"] == []
    assert Image.open(folder / "contact_sheet.png").size > (100, 100)


def test_a_bad_video_does_not_stop_the_others(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    bad, good = track_videos([tmp_path / "bad.mp4", clip], tmp_path / "out", tracker()).values()
    assert "it is no video" in str(bad)
    assert (good / "entities.json").exists()
    assert [entry.name for entry in (tmp_path / "out").iterdir() if not entry.name.startswith(".")] == ["这个 clip"]


def test_two_videos_of_one_name_are_refused_at_once(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would both be written to"):
        track_videos([clip, tmp_path / clip.name], tmp_path / "out", tracker())
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_files_is_not_replaced(clip: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / clip.stem / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (error,) = track_videos([clip], tmp_path / "out", tracker()).values()
    assert isinstance(error, FileExistsError)
    assert mine.read_text() == "mine"


def test_frames_of_a_folder(tmp_path: Path) -> None:
    for number, picture in enumerate(discs({"red": walking(60, 120, 6)}, 6)):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "frames" / f"{number}.png")
    found = tracker()(tmp_path / "frames")
    assert [track.frames for entity in found.entities for track in entity.tracks] == [[0, 1, 2, 3, 4, 5]]


def test_memory_of_a_track_is_only_its_numbers(clip: Path) -> None:
    """No picture stays: what is kept of a video grows by some hundred bytes a head."""
    found = tracker()(clip)
    for track in (track for entity in found.entities for track in entity.tracks):
        kept = vars(track)
        arrays = [value for value in kept.values() if isinstance(value, np.ndarray)]
        assert sum(value.nbytes for value in arrays) < 4096


def test_killed_half_way_leaves_nothing_and_finishes_later(tmp_path: Path) -> None:
    """SIGKILL while a video is being tracked, after another was finished."""
    for name, seconds in (("first", 1), ("second", 8)):
        write_video(tmp_path / f"{name}.mp4", discs({"red": walking(40, 280, 25 * seconds)}, 25 * seconds))
    program = textwrap.dedent("""
        import os, sys
        from tracking_fakes import ColourEmbedder, DiscHeads
        from tiktalkcoref.tracking.command import track_videos
        from tiktalkcoref.tracking.tracker import VideoTracker

        class Dying(DiscHeads):
            seen = 0
            def detect(self, picture):
                Dying.seen += 1
                if len(sys.argv) > 1 and Dying.seen == 20:
                    os.kill(os.getpid(), 9)
                return super().detect(picture)

        print(track_videos(["first.mp4", "second.mp4"], "out", VideoTracker(heads=Dying(), embedder=ColourEmbedder())))
    """)
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py")]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    died = subprocess.run([*command, "die"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert died.returncode == -9, died.stderr
    visible = [entry.name for entry in (tmp_path / "out").iterdir() if not entry.name.startswith(".")]
    assert visible == ["first"]
    first = (tmp_path / "out" / "first" / "entities.json").stat().st_mtime_ns
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["first", "second"]  # nor anything hidden
    assert (tmp_path / "out" / "first" / "entities.json").stat().st_mtime_ns == first
    assert read_entities(tmp_path / "out" / "second")["seconds"] == 8


@pytest.mark.parametrize("content", ["", "[]", '{"version": 9}'])
def test_a_file_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "entities.json").write_text(content)
    with pytest.raises(UserError, match=r"entities\.json"):
        read_entities(tmp_path)


def test_fast_is_the_same_for_less_work() -> None:
    assert Settings().fast() == replace(Settings(), detection_side=640)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(clip: Path, tmp_path: Path) -> None:
    """Four seconds, repeated to one and to ten minutes; the peak of a process of its own each."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from bench_tracking import loop

    program = textwrap.dedent("""
        import sys
        from bench_tracking import peak_mib
        from tracking_fakes import ColourEmbedder, DiscHeads
        from tiktalkcoref.tracking.tracker import VideoTracker

        found = VideoTracker(heads=DiscHeads(), embedder=ColourEmbedder())(sys.argv[1])
        print(peak_mib(), len(found.entities), len(found.samples))
    """)
    root = Path(__file__).parents[1]
    paths = [str(root / "tests"), str(root / "benchmarks"), str(root.parent), *sys.path]
    peaks = {}
    for minutes in (1, 10):
        video = loop(clip, tmp_path / f"{minutes}.mp4", 60 * minutes)
        command = [sys.executable, "-c", program, str(video)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[minutes], persons, samples = map(int, done.stdout.split())
        assert (persons, samples) == (2, 300 * minutes)
    assert peaks[10] <= 1.15 * peaks[1], peaks
