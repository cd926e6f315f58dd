"""The measured figures, durations of videos, the table and the drawings."""

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_corpora import make_record, write_corpus
from PIL import Image
from rich.console import Console

from tiktalkcoref.corpus.export import export
from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.corpus.records import boxes_of_clusters
from tiktalkcoref.corpus.show import show_record
from tiktalkcoref.corpus.statistics import measure, statistics_table, write_statistics
from tiktalkcoref.corpus.videos import video_seconds


def movie(path: Path, seconds: float, **options: str) -> Path:
    """A video of one picture a second."""
    pytest.importorskip("av")
    from tracking_videos import write_video

    pictures = [np.zeros((32, 32, 3), np.uint8)] * int(seconds)
    return write_video(path, pictures, rate=1, container_options=options)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_duration_of_a_video(tmp_path: Path, options: dict[str, str]) -> None:
    """The header of one in fragments says 0 s."""
    assert video_seconds(movie(tmp_path / "a.mp4", 12, **options)) == 12


@pytest.mark.parametrize("content", [b"", b"not a video at all", bytes(64), b"\0\0\0\x0cftypisom", b"\0\0\0\x08moov"])
def test_files_without_a_duration(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_bytes(content)
    assert video_seconds(tmp_path / "a.mp4") is None
    assert video_seconds(tmp_path / "nothing.mp4") is None


@pytest.mark.parametrize(("generation", "of_no_cluster"), [("db84797", 274), ("8d346bf", 0)])
def test_figures_of_the_corpus(upstream: Path, generation: str, of_no_cluster: int) -> None:
    files = find_files(upstream, annotations=upstream / f"annotations.{generation}.jsonl")
    counts = measure(read_corpus(files, problems=[]))
    for group, expected in {"all": (1012, 2179, 1435, 955, 881), "celeb": (338, 731, 488, 327, 392)}.items():
        part = counts[group, "all"]
        assert (part.dialogues, part.mentions, part.clusters, part.singletons, part.boxes) == expected
        assert sum(part.cluster_sizes.values()) == part.clusters
        assert sum(size * count for size, count in part.cluster_sizes.items()) == part.mentions
        assert sum(part.mention_lengths.values()) == part.mentions
        assert sum(boxes * count for boxes, count in part.boxes_a_dialogue.items()) == part.boxes
    assert counts["all", "all"].boxes_of_no_cluster == of_no_cluster
    assert counts["all", "all"].boxes_a_dialogue[0] == 265
    assert counts["all", "all"].seconds is None
    splits = ("train", "validation", "test")
    assert [counts["celeb", split].dialogues for split in splits] == [259, 46, 33]
    assert [counts["no_celeb", split].dialogues for split in splits] == [551, 55, 68]
    table = render(counts)
    assert "1,012" in table
    assert "519.65" in table  # the published duration stands there although no video is at hand
    assert "no videos at hand" in table


def render(counts: dict) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(statistics_table(counts))
    return " ".join(console.export_text().split())


def test_durations_and_drawings(sample_corpus: Path, tmp_path: Path) -> None:
    records = list(read_corpus(find_files(sample_corpus), problems=[]))
    videos = tmp_path / "videos"
    videos.mkdir()
    for record in records[:3]:
        movie(videos / f"{record['doc_key']}.mp4", 40)
    counts = measure(records, videos)
    assert counts["all", "all"].seconds == 120
    assert counts["all", "all"].videos == 3
    assert "of the 3 videos found for 24 dialogues" in render(counts)

    folder = write_statistics(counts, tmp_path / "out")
    values = {(entry["group"], entry["split"]): entry for entry in json.loads((folder / "statistics.json").read_text())}
    assert len(values) == 12
    assert values["all", "all"]["mentions"] == counts["all", "all"].mentions
    assert values["all", "all"]["seconds"] == 120
    for name in ("cluster_sizes", "mentions", "mention_lengths", "boxes"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.size == (900, 540)
            colours = {colour[:3] for _, colour in image.convert("RGB").getcolors(1 << 20)}
        assert {(0xC4, 0x4E, 0x52), (0x4C, 0x72, 0xB0)} <= colours  # both kinds of video are drawn


def test_an_empty_corpus_can_be_drawn(tmp_path: Path) -> None:
    write_statistics(measure([]), tmp_path / "out")
    assert (tmp_path / "out" / "boxes.png").stat().st_size > 1000


def test_the_folder_of_videos_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a folder with the videos <doc_key>\.mp4 was expected"):
        measure([], tmp_path / "nowhere")


def test_a_doc_key_cannot_leave_the_folder_of_videos(sample_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    movie(tmp_path / "outside.mp4", 40)
    record = next(read_corpus(find_files(sample_corpus), problems=[]))
    counts = measure([{**record, "doc_key": "../outside"}], tmp_path / "videos")
    assert counts["all", "all"].videos == 0


@pytest.mark.parametrize("label", ["none", ""])
def test_a_box_labelled_none_is_of_no_cluster(tmp_path: Path, label: str) -> None:
    record = make_record()
    record["visual_annotations"][1]["box_labels"] = label
    record["entity_labels"] = ["C1", label, label]
    records = list(read_corpus(write_corpus(tmp_path, [record]), problems=[]))
    part = measure(records)["all", "all"]
    assert (part.boxes, part.boxes_of_no_cluster) == (1, 1)
    assert boxes_of_clusters(records[0]) == [[0], [], []]
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(show_record(records[0]))
    assert "boxes of no cluster: none (1)" in console.export_text()


def test_such_a_box_is_no_answer_in_chinese_clip(tmp_path: Path) -> None:
    record = make_record()
    record["visual_annotations"][1]["box_labels"] = "none"
    record["entity_labels"] = ["C1", "none", "none"]
    (read,) = read_corpus(write_corpus(tmp_path, [record]), problems=[])
    for number, box in enumerate(read["visual_annotations"]):
        box["region"] = str(tmp_path / f"{number}.png")
        Image.new("RGB", (4, 4)).save(box["region"])
    counts = export([read], tmp_path / "clip", "chinese-clip")
    assert (counts["train_imgs.tsv"], counts["train_texts.jsonl"]) == (2, 1)
