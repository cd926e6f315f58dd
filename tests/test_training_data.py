"""Dialogues from every form of a dataset, folds, and the plan of batches."""

import io
import json
import random
import shutil

import pytest
from PIL import Image

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.evaluation import dialogues as data
from tiktalkcoref.evaluation.dialogues import DatasetError, load_dialogues, split_fold, to_dialogue
from tiktalkcoref.modeling.inputs_tiktalkcoref import KEYS
from tiktalkcoref.sample import write_sample
from tiktalkcoref.training.batches import plan_epoch


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("corpus") / "raw", dialogues=36)


def encoded(colour, size=(8, 8)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def box(label, region=None, frame=None, celebrity="none", bbox=(2, 2, 6, 6)):
    return {"box_labels": label, "region": region, "frame": frame, "celebrity": celebrity, "bbox": list(bbox)}


def row(boxes, labels):
    return {
        "doc_key": "1",
        "video_title": "",
        "sentences": [["他", "好"], ["她"]],
        "speaker_ids": [["A", "A"], ["B"]],
        "clusters": [[[0, 0]], [[2, 2]]],
        "entity_labels": labels,
        "visual_annotations": boxes,
    }


def test_a_row_becomes_a_dialogue():
    red, blue = encoded("red"), encoded("blue", (10, 10))
    found = to_dialogue(row([box("C2", region=red, celebrity="林晓雨"), box("C1", frame=blue)], ["C1", "none"]))
    assert set(found) <= set(KEYS)
    assert found["speakers"] == ["A", "B"]
    assert found["title"] is None
    assert found["links"] == [1, -1]
    assert found["region_identities"] == ["林晓雨", None]
    assert found["regions"][0].size == (8, 8)
    assert found["regions"][1].size == (4, 4)  # cut from the frame
    assert found["regions"][1].getpixel((0, 0)) == (0, 0, 255)


def test_a_crop_that_shows_two_persons_is_cut_from_the_frame_for_each():
    """Upstream names such files after both labels; a box of both together keeps it."""
    shared = {"region": encoded("red"), "region_image_path": "/data/faces_all/1_9_1_C1C2.jpg"}
    boxes = [
        box("C1", frame=encoded("blue", (10, 10)), bbox=(0, 0, 3, 3)) | shared,
        box("C2", frame=encoded("blue", (10, 10)), bbox=(4, 4, 9, 9)) | shared,
        box("C1C2", frame=encoded("blue", (10, 10))) | shared,
        box("C3", region=encoded("red")) | {"region_image_path": "/data/faces_all/1_9_1_C3.jpg"},
    ]
    found = to_dialogue(row(boxes, ["C1", "C2"]))
    assert [region.size for region in found["regions"]] == [(3, 3), (5, 5), (8, 8), (8, 8)]
    assert "regions" not in to_dialogue(row([box("C1") | shared, box("C2") | shared], ["C1", "C2"]))  # no frame


def test_a_box_without_picture_takes_the_regions_from_the_dialogue():
    found = to_dialogue(row([box("C1", region=encoded("red")), box("C2")], ["C1", "C2"]))
    assert "regions" not in found
    assert "links" not in found


def test_a_box_that_leaves_its_frame_is_cut_at_the_edge():
    found = to_dialogue(row([box("C1", frame=encoded("red"), bbox=(-3, 4, 20, 30))], ["C1", "none"]))
    assert found["regions"][0].size == (8, 4)


@pytest.mark.parametrize("label", ["none", ""])
def test_a_box_of_nobody_is_no_clusters_region(label):
    red, blue = encoded("red"), encoded("blue")
    found = to_dialogue(row([box(label, region=red), box("C1", region=blue)], ["C1", label]))
    assert found["links"] == [1, -1]
    assert len(found["regions"]) == 2  # it may still be a wrong answer


def test_picture_files_are_read_and_closed(tmp_path):
    """A corpus has thousands; most systems allow 1,024 open files."""
    resource = pytest.importorskip("resource")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    boxes = [box("C1", region={"bytes": None, "path": str(tmp_path / "a.png")}) for _ in range(10)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    try:
        dialogues = [to_dialogue(row(boxes, ["C1", "none"])) for _ in range(40)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert dialogues[-1]["regions"][-1].getpixel((0, 0)) == (255, 0, 0)


def test_what_is_no_picture_is_named_by_its_dialogue():
    with pytest.raises(DatasetError, match=r"dialogue 1: .* a picture was expected"):
        to_dialogue(row([box("C1", region={"bytes": b"no picture", "path": None})], ["C1", "none"]))


def test_dialogues_are_counted_from_one():
    assert data.names_of([{"doc_key": "7"}, {"doc_key": ""}, {}]) == ["dialogue 7", "dialogue 2", "dialogue 3"]


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    from tiktalkcoref.hub.prepare import prepare

    return prepare(find_files(raw), tmp_path_factory.mktemp("prepared") / "dataset")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:200]),
            r"train.*parquet is no whole Parquet file \(200 bytes",
        ),
        (lambda path: path.write_bytes(b""), r"train.*parquet is no whole Parquet file \(0 bytes"),
        (lambda path: path.unlink(), r"config 'all', split 'train'"),
    ],
    ids=["truncated", "empty", "missing"],
)
def test_a_damaged_dataset_folder_is_named(prepared, tmp_path, damage, words):
    folder = shutil.copytree(prepared, tmp_path / "dataset")
    for path in (folder / "all").glob("train*.parquet"):
        damage(path)
    with pytest.raises(DatasetError, match=words):
        load_dialogues(str(folder), "all", "train")


def test_a_folder_of_upstream_files_and_the_prepared_folder_give_the_same(raw, tmp_path):
    from tiktalkcoref.hub.prepare import prepare

    prepared = tmp_path / "prepared"
    prepare(find_files(raw), prepared, frames_dir=raw / "frames", regions_dir=raw / "faces_all")
    for config, split, number in (("all", "train", 24), ("celeb", "validation", 3), ("no_celeb", "test", 3)):
        one, other = (load_dialogues(str(folder), config, split) for folder in (raw, prepared))
        assert len(one) == number
        assert [{k: v for k, v in d.items() if k != "regions"} for d in one] == [
            {k: v for k, v in d.items() if k != "regions"} for d in other
        ]
        sizes = [[region.size for d in dialogues for region in d.get("regions", ())] for dialogues in (one, other)]
        assert sizes[0] == sizes[1] != []


def test_links_point_at_the_region_of_the_label(raw):
    records = map(json.loads, (raw / "all_textual_and_visual_annotations_format.jsonl").open(encoding="utf-8"))
    by_key = {record["doc_key"]: record for record in records}
    dialogues = load_dialogues(str(raw), "all", "train")
    linked = 0
    for dialogue in dialogues:
        record = by_key[dialogue["doc_key"]]
        for cluster, link in enumerate(dialogue.get("links", ())):
            label = record.get("entity_label", record.get("entity_labels"))[cluster]
            boxes = [box["box_labels"] for box in record["visual_annotations"]]
            assert (boxes[link] if link >= 0 else "none") == label
            linked += link >= 0
    assert linked > 10


def test_folds_partition_the_corpus_whatever_the_order():
    keys = [str(number) for number in range(103)]
    shuffled = random.Random(0).sample(keys, len(keys))
    tests = []
    for part in range(1, 6):
        fold = split_fold(keys, f"{part}/5")
        assert fold == split_fold(shuffled, f"{part}/5")
        assert set().union(*fold.values()) == set(keys)
        assert sum(map(len, fold.values())) == len(keys)
        assert 7 <= len(fold["validation"]) <= 9
        tests.append(fold["test"])
    assert sorted(key for test in tests for key in test) == sorted(keys)


def test_folds_of_a_dataset_respect_the_config(raw):
    whole = load_dialogues(str(raw), "all", "test", fold="1/5")
    celeb = load_dialogues(str(raw), "celeb", "test", fold="1/5")
    other = load_dialogues(str(raw), "no_celeb", "test", fold="1/5")
    assert celeb
    assert {d["doc_key"] for d in whole} == {d["doc_key"] for d in (*celeb, *other)}
    assert len(whole) == len(celeb) + len(other) == 8


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("missing-folder", ["no dataset 'missing-folder'", "tiktalkcoref prepare"]),
        ("nobody/nothing-of-this-name", ["no folder 'nobody/nothing-of-this-name'", "Offline"]),
    ],
)
def test_missing_datasets_say_what_to_do(dataset, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DatasetError) as error:
        load_dialogues(dataset, "all", "train")
    for word in words:
        assert word in str(error.value)


def test_a_file_and_an_empty_folder_are_no_datasets(tmp_path):
    file = tmp_path / "x.jsonl"
    file.touch()
    with pytest.raises(DatasetError, match="is a file"):
        load_dialogues(str(file), "all", "train")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises((ValueError, OSError), match="empty"):
        load_dialogues(str(empty), "all", "train")


def test_the_sample_is_generated_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTALKCOREF_CACHE", str(tmp_path))
    monkeypatch.setattr(data, "SAMPLE_DIALOGUES", 12)
    folder = data.sample_folder()
    assert load_dialogues("sample", "all", "test")
    monkeypatch.setattr("tiktalkcoref.sample.write_sample", None)
    assert data.sample_folder() == folder


# The plan of an epoch

LENGTHS = [random.Random(number).randint(5, 80) for number in range(101)]


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "accumulation", "processes"), [(8, 1, 1), (4, 4, 1), (4, 1, 2), (3, 2, 3), (1, 1, 4)]
)
def test_every_dialogue_comes_once(batch_size, accumulation, processes, grouped):
    settings = {"batch_size": batch_size, "accumulation": accumulation, "length_grouped": grouped}
    plans = [plan_epoch(LENGTHS, processes=processes, rank=rank, **settings) for rank in range(processes)]
    seen = []
    for steps in zip(*plans, strict=True):
        assert len({len(step.batches) for step in steps}) == 1  # else one process would wait for ever
        assert sum(sum(step.counts) for step in steps) == steps[0].dialogues
        for step in steps:
            for batch, count in zip(step.batches, step.counts, strict=True):
                assert 0 < len(batch) <= batch_size
                assert count in (0, len(batch))
                seen += batch[:count]
    assert sorted(seen) == list(range(len(LENGTHS)))


def test_a_step_holds_the_same_dialogues_however_it_is_spread():
    def dialogues(**settings):
        plans = [
            plan_epoch(LENGTHS, seed=1, epoch=2, rank=rank, **settings) for rank in range(settings.get("processes", 1))
        ]
        return [
            sorted(i for step in steps for batch, n in zip(step.batches, step.counts, strict=True) for i in batch[:n])
            for steps in zip(*plans, strict=True)
        ]

    whole = dialogues(batch_size=16)
    assert whole == dialogues(batch_size=4, accumulation=4)
    assert whole == dialogues(batch_size=8, processes=2)
    assert whole == dialogues(batch_size=4, accumulation=2, processes=2)


def test_epochs_and_seeds_differ_and_repeat():
    plan = plan_epoch(LENGTHS, batch_size=8, seed=1, epoch=0)
    assert plan == plan_epoch(LENGTHS, batch_size=8, seed=1, epoch=0)
    assert plan != plan_epoch(LENGTHS, batch_size=8, seed=1, epoch=1)
    assert plan != plan_epoch(LENGTHS, batch_size=8, seed=2, epoch=0)


@pytest.mark.parametrize(("accumulation", "processes"), [(1, 1), (2, 1), (2, 3)])
def test_long_batches_are_read_in_parts(accumulation, processes):
    settings = {"batch_size": 8, "accumulation": accumulation, "processes": processes}
    for rank in range(processes):
        whole = plan_epoch(LENGTHS, rank=rank, **settings)
        parts = plan_epoch(LENGTHS, rank=rank, max_length=200, **settings)
        for one, other in zip(whole, parts, strict=True):
            assert [i for batch in other.batches for i in batch] == [i for batch in one.batches for i in batch]
            assert sum(other.counts) == sum(one.counts)
            assert other.dialogues == one.dialogues
            for batch, count in zip(other.batches, other.counts, strict=True):
                assert max(LENGTHS[i] for i in batch) * len(batch) <= 200 or len(batch) == 1
                assert count in (0, len(batch))
        assert sum(len(step.batches) for step in parts) > sum(len(step.batches) for step in whole)


def test_grouping_by_length_saves_padding():
    lengths = [random.Random(number).randint(5, 150) for number in range(800)]

    def padded(grouped):
        plan = plan_epoch(lengths, batch_size=16, length_grouped=grouped)
        return sum(max(lengths[i] for i in batch) * len(batch) for step in plan for batch in step.batches)

    assert padded(True) < 0.75 * padded(False)
    assert padded(True) < 1.2 * sum(lengths)
