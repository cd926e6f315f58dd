"""Reading videos: times, turns, limits, and every state that a file may be in."""

import io
import logging
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tracking_fakes import discs, standing, walking

from tiktalkcoref.corpus.videos import video_seconds
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.tracking.video import Video, VideoError, sampler

av = pytest.importorskip("av")
from tracking_videos import write_video  # noqa: E402

SECONDS = 4
PICTURES = discs({"red": walking(30, 290, 100), "blue": standing(160, 60)}, 25 * SECONDS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", PICTURES, g=10)


def numbers(video: Video) -> list[int]:
    return [frame.number for frame in video.frames()]


def test_pictures_come_in_order_with_their_times(clip: Path) -> None:
    video = Video(clip)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(100))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(100) / 25)
    assert frames[50].picture().shape == (240, 320, 3)
    assert np.abs(frames[50].picture()[..., ::-1].astype(int) - PICTURES[50]).mean() < 3
    assert video.seconds == video.end == pytest.approx(SECONDS)
    assert not video.warnings
    assert max(frames[0].thumbnail().shape) == 192


@pytest.mark.parametrize(("rate", "fps"), [(25, 5), (30, 5), (24, 5), (12, 30), (60, 2)])
def test_samples_are_by_time(rate: int, fps: int) -> None:
    due = sampler(fps)
    times = [number / rate for number in range(10 * rate) if due(number / rate)]
    assert len(times) == 10 * min(rate, fps)
    late = np.array(times) - np.arange(len(times)) / min(rate, fps)
    assert (late > -1e-3).all()
    assert (late < 1 / rate).all()


def test_variable_frame_rate(tmp_path: Path) -> None:
    """Two seconds at 50 a second, then two at 2 a second: samples by time, not by number."""
    times = [number / 50 for number in range(100)] + [2 + number / 2 for number in range(4)]
    with av.open(str(tmp_path / "vfr.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(PICTURES[number % 100], format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = Video(tmp_path / "vfr.mp4")
    sampled = [(frame.number, frame.time) for frame in video.sampled(5)]
    assert [time for _, time in sampled] == pytest.approx([*np.arange(0, 2, 0.2), 2, 2.5, 3, 3.5], abs=0.002)
    assert sampled[-1][0] == 103


def test_an_edit_list_cuts_the_start(clip: Path, tmp_path: Path) -> None:
    """Without re-encoding from the middle of a group of pictures: those before the cut are decoded, not shown."""
    target = tmp_path / "edited.mp4"
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        shift = round(0.2 / source.streams.video[0].time_base)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                container.mux(packet)
    frames = list(Video(target).frames())
    assert len(frames) == 95
    assert frames[0].time == pytest.approx(0)
    assert np.abs(frames[0].picture()[..., ::-1].astype(int) - PICTURES[5]).mean() < 3


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_a_turned_video_is_read_as_displayed(turn: int, tmp_path: Path) -> None:
    stored = [np.ascontiguousarray(np.rot90(picture, -turn // 90)) for picture in PICTURES[:5]]
    frame = next(Video(write_video(tmp_path / "turned.mp4", stored, rotation=turn)).frames())
    assert frame.picture().shape == (240, 320, 3)
    assert np.abs(frame.picture()[..., ::-1].astype(int) - PICTURES[0]).mean() < 3
    assert frame.thumbnail().shape == (144, 192, 3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx265"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libsvtav1"), ("a.avi", "mpeg4")]
)
def test_codecs(name: str, codec: str, tmp_path: Path) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / name, PICTURES[:10], codec, **options)
    frames = list(Video(path).frames())
    assert len(frames) == 10
    assert np.abs(frames[9].picture()[..., ::-1].astype(int) - PICTURES[9]).mean() < 6


def test_the_index_may_stand_before_or_after_the_pictures(tmp_path: Path) -> None:
    for name, options in (("end.mp4", {}), ("start.mp4", {"movflags": "faststart"})):
        path = write_video(tmp_path / name, PICTURES[:10], container_options=options)
        content = path.read_bytes()
        assert (content.index(b"moov") > content.index(b"mdat")) == (name == "end.mp4")
        assert len(numbers(Video(path))) == 10


def test_fragments_have_a_length(tmp_path: Path) -> None:
    """Their header says 0 s."""
    flags = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "fragmented.mp4", PICTURES, container_options=flags, g=10)
    assert video_seconds(path) == pytest.approx(SECONDS, abs=0.05)
    assert len(numbers(Video(path))) == 100


def test_lengths(clip: Path, tmp_path: Path) -> None:
    assert video_seconds(clip) == pytest.approx(SECONDS)
    (tmp_path / "no.mp4").write_text("no video")
    assert video_seconds(tmp_path / "no.mp4") is None
    assert video_seconds(tmp_path / "not there.mp4") is None


def test_chinese_and_spaces_in_the_path(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "视频 文件夹" / "这个 男生%d.mp4"
    path.parent.mkdir()
    path.write_bytes(clip.read_bytes())
    assert len(numbers(Video(path))) == 100


# What is no video


@pytest.mark.parametrize("content", [b"just text\n" * 100, b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", os.urandom(5000)])
def test_not_a_video(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4 cannot be opened as a video: it is no video"):
        Video(tmp_path / "a.mp4")


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match="no video"):
        Video(tmp_path / "a.png")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoError, match="it is empty"):
        Video(tmp_path / "a.mp4")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.mp4 does not exist; the path of a video was expected"):
        Video(tmp_path / "a.mp4")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are POSIX's")
def test_a_file_that_may_not_be_read(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything; what the system says to others
        monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(PermissionError, match=r"a\.mp4 may not be read: check its permissions"):
        Video(path)


@pytest.mark.parametrize("url", ["https://example.org/a.mp4", "rtsp://example.org/a", "file:///tmp/a.mp4"])
@pytest.mark.parametrize("kind", [str, Path])
def test_urls_are_refused(url: str, kind: type) -> None:
    with pytest.raises(VideoError, match="is a URL; download the video"):
        Video(kind(url))


def test_audio_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"holds no pictures \(found: audio\)"):
        Video(tmp_path / "a.mp4")


def test_no_pictures_in_it(tmp_path: Path) -> None:
    """A stream is declared and no picture follows."""
    flags = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "a.mp4", PICTURES[:3], container_options=flags)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moof") - 4])
    with pytest.raises(VideoError, match="no picture that can be decoded"):
        numbers(Video(path))


# Damage: what was read is kept


def test_cut_off_before_the_index(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[:-3000])
    with pytest.raises(VideoError, match="cut off before its index"):
        Video(tmp_path / "a.mp4")


def test_cut_off_in_the_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mp4", PICTURES, container_options={"movflags": "faststart"}, g=10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 + 1000])
    video = Video(path)
    with caplog.at_level(logging.WARNING):
        assert 20 < len(numbers(video)) < 90
    assert any("its header says 4.0 s, its pictures end at" in warning for warning in video.warnings)
    assert "the file is cut off" in caplog.text


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", PICTURES, g=10)
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov")
    middle = (start + end) // 2
    content[middle : middle + 1500] = np.random.default_rng(0).integers(0, 256, 1500, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    video = Video(path)
    found = list(video.frames())
    assert len(found) > 60
    assert found[-1].time > 3.5  # it goes on behind the damage
    assert any("damaged packets or pictures; what could be decoded was kept" in warning for warning in video.warnings)


# Limits


def test_8k_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [np.zeros((4320, 7680, 3), np.uint8)], preset="ultrafast")
    with pytest.raises(VideoError, match=r"7680x4320 pixels, the limit is 9,437,184 \(--max-pixels"):
        Video(path)
    assert Video(path, max_pixels=7680 * 4320).seconds


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_three_hours_are_refused(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, [PICTURES[0]] * 108, rate=Fraction(1, 100))
    with pytest.raises(VideoError, match=r"180\.0 minutes long, the limit is 60 \(--max-minutes"):
        Video(path)
    assert Video(path, max_seconds=4 * 3600).seconds == pytest.approx(10800)


def test_the_limit_holds_where_the_header_says_nothing(tmp_path: Path) -> None:
    flags = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "a.mp4", PICTURES, container_options=flags, g=10)
    with pytest.raises(VideoError, match="minutes long, the limit is"):
        numbers(Video(path, max_seconds=2.0))


# Folders of frames


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        Image.fromarray(PICTURES[number]).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    frames = list(Video(tmp_path).frames())
    assert [
        int(np.abs(f.picture()[..., ::-1].astype(int) - PICTURES[n]).max())
        for f, n in zip(frames, (1, 2, 10), strict=True)
    ] == [0] * 3
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4])


def test_a_folder_without_frames(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds no frames"):
        Video(tmp_path)


def test_a_frame_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(io.BytesIO(b"no picture").getvalue())
    with pytest.raises(VideoError, match=r"a\.png cannot be read as a picture"):
        numbers(Video(tmp_path))


def test_errors_are_the_users() -> None:
    assert issubclass(VideoError, UserError)
