"""The `datasets` builder: configs, pictures, cache, downloads, and the file as a loading script."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import venv
from functools import partial
from pathlib import Path

import datasets
import pytest
from dataset_corpora import ANNOTATIONS, ERRORS, WARNINGS, make_record, make_records, make_splits, write_corpus
from PIL import Image

from tiktalkcoref import tiktalkcoref_dataset as dataset
from tiktalkcoref.corpus import files as upstream_files
from tiktalkcoref.corpus import reading
from tiktalkcoref.corpus.files import download_files, find_files
from tiktalkcoref.corpus.pictures import PictureFolder
from tiktalkcoref.corpus.problems import CorpusError
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

SIX = [f"{kind}_{split}" for kind in ("celeb", "no_celeb") for split in ("train", "validation", "test")]


@pytest.fixture
def make(tmp_path):
    """Makes a builder with a cache of its own."""
    return partial(TikTalkCoref, cache_dir=str(tmp_path / "cache"))


def load(builder: TikTalkCoref) -> datasets.DatasetDict:
    builder.download_and_prepare()
    return builder.as_dataset()


def keys(loaded: datasets.DatasetDict) -> dict[str, list[str]]:
    return {split: list(part["doc_key"]) for split, part in loaded.items()}


# ------------------------------------------------------------------------------------------------------------ configs


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("all", {"train": ["101", "102"], "validation": ["103", "104"], "test": ["105", "106"]}),
        ("celeb", {"train": ["101"], "validation": ["103"], "test": ["105"]}),
        ("no_celeb", {"train": ["102"], "validation": ["104"], "test": ["106"]}),
        ("textual", {split: [key] for split, key in zip(SIX, ("101", "103", "105", "102", "104", "106"), strict=True)}),
        ("visual", {split: [key] for split, key in zip(SIX, ("101", "103", "105", "102", "104", "106"), strict=True)}),
    ],
)
def test_configs(tmp_path, make, config, expected):
    write_corpus(tmp_path / "corpus")
    builder = make(config_name=config, data_dir=str(tmp_path / "corpus"))
    loaded = load(builder)
    assert keys(loaded) == expected
    raw = {record["doc_key"]: record for record in make_records()}
    for part in loaded.values():
        assert part.features == dataset.config_features(config)
        for row in part:
            assert set(row) == set(part.features)
            expected_row = raw[row["doc_key"]]
            for name in set(row) & set(expected_row) - {"visual_annotations"}:
                assert row[name] == expected_row[name]
            if "visual_annotations" in row:
                boxes = [{**box, "frame": None, "region": None} for box in expected_row["visual_annotations"]]
                assert row["visual_annotations"] == boxes
                assert (row["video_title"], row["video_path"]) == (f"题目{row['doc_key']}", None)
    streamed = builder.as_streaming_dataset()
    assert {split: list(part) for split, part in streamed.items()} == {split: list(p) for split, p in loaded.items()}


def test_columns(tmp_path, make):
    write_corpus(tmp_path / "corpus")
    textual = load(make(config_name="textual", data_dir=str(tmp_path / "corpus")))["celeb_train"]
    assert textual.column_names == list(dataset.TEXTUAL_FIELDS)
    visual = load(make(config_name="visual", data_dir=str(tmp_path / "corpus")))["celeb_train"]
    assert visual.column_names == ["doc_key", "video_title", "video_path", "visual_annotations"]
    whole = load(make(data_dir=str(tmp_path / "corpus")))["train"]
    assert whole.features["video_type"].int2str(whole[:]["video_type"]) == ["celeb", "no_celeb"]
    types = {field.name: str(field.type) for field in whole.data.schema}
    assert types["clusters"] == "list<item: list<item: list<item: int32>>>"
    assert types["sentences"] == "list<item: list<item: string>>"


def test_many_records_keep_their_order(tmp_path, make, monkeypatch):
    """More records than one table holds."""
    monkeypatch.setattr(reading, "BLOCK_SIZE", 50_000)
    records = make_records(207)
    splits = [{**entry, "split": "train"} for entry in make_splits(records)]
    write_corpus(tmp_path / "corpus", records, splits)
    loaded = load(make(data_dir=str(tmp_path / "corpus")))
    assert list(loaded["train"]["doc_key"]) == [record["doc_key"] for record in records]
    assert list(loaded) == ["train"]


def test_processes_and_streaming_workers_share_the_work(tmp_path, make, monkeypatch):
    """Two processes write what one writes; a stream has a shard for each block."""
    monkeypatch.setattr(reading, "BLOCK_SIZE", 20_000)
    files = write_corpus(tmp_path / "corpus", make_records(200))
    expected = load(make(data_dir=str(tmp_path / "corpus")))
    other = TikTalkCoref(data_dir=str(tmp_path / "corpus"), cache_dir=str(tmp_path / "other"))
    other.download_and_prepare(num_proc=2)
    assert {name: list(part) for name, part in other.as_dataset().items()} == {
        name: list(part) for name, part in expected.items()
    }
    n_blocks = files.annotations.stat().st_size // 20_000
    stream = other.as_streaming_dataset(split="train")
    assert n_blocks - 1 <= stream.num_shards <= n_blocks + 1
    halves = [list(stream.shard(num_shards=2, index=index)) for index in range(2)]
    assert sorted(row["doc_key"] for half in halves for row in half) == list(expected["train"]["doc_key"])
    assert all(halves)


def test_an_error_in_another_process_reaches_the_user(tmp_path, make, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_SIZE", 5_000)
    record, _, _ = ERRORS["empty box"]
    write_corpus(tmp_path / "corpus", [*(make_record(str(key)) for key in range(200, 230)), record])
    with pytest.raises(CorpusError, match=r"line 31, doc_key 101, field visual_annotations\[1\]\.bbox"):
        make(data_dir=str(tmp_path / "corpus")).download_and_prepare(num_proc=2)


def test_no_dialogue_of_a_type(tmp_path, make):
    files = write_corpus(tmp_path / "corpus", make_records(1))
    with pytest.raises(CorpusError, match=f"{files.annotations}: no dialogue of video type no_celeb"):
        make(config_name="no_celeb", data_dir=str(tmp_path / "corpus")).download_and_prepare()


def test_unknown_config(make):
    with pytest.raises(ValueError, match="not found"):
        make(config_name="celebs", data_dir="x")


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("fault", ERRORS)
def test_errors_reach_the_user(tmp_path, make, fault):
    """As they are, not behind an error of `datasets`, and under every config: the broken record is no_celeb."""
    record, field, message = ERRORS[fault]
    files = write_corpus(tmp_path / "corpus", [make_record("100"), record])
    for config in ("all", "celeb"):
        with pytest.raises(CorpusError) as error:
            make(config_name=config, data_dir=str(tmp_path / "corpus")).download_and_prepare()
        assert str(error.value).startswith(f"{files.annotations}, line 2, doc_key 101, field {field}: ")
        assert message in str(error.value)
    with pytest.raises(CorpusError) as error:
        list(make(data_dir=str(tmp_path / "corpus")).as_streaming_dataset(split="train"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.annotations.write_text("{broken\n"), "line 1: broken JSON"),
        (lambda files: files.annotations.write_text('{"doc_key": "101", "gen'), "line 1: broken JSON"),
        (lambda files: files.annotations.write_bytes("{好}".encode("gb18030")), "line 1: wrong encoding"),
        (lambda files: files.annotations.write_text(""), "the file is empty"),
        (lambda files: files.annotations.write_text('{"genre": "wb"}'), "field doc_key: missing"),
        (lambda files: double(files.annotations), "line 7, doc_key 101, field doc_key: duplicate: line 1"),
        (lambda files: files.splits.write_text(""), "the file is empty"),
        (lambda files: drop_last_line(files.splits), "line 6, doc_key 106, field doc_key: not in the split file"),
        (lambda files: replace(files.splits, "test", "tset"), "line 5, doc_key 105, field split: unknown split 'tset'"),
        (lambda files: replace(files.splits, "no_celeb", "n"), "line 2, doc_key 102, field video_type: unknown video"),
        (lambda files: replace(files.titles, "题目101", "\\ud800"), "line 1: broken JSON: an escape names half"),
        (
            lambda files: replace(files.annotations, '"genre"', '"doc_key": "102", "genre"'),
            "doc_key 102, field doc_key: stands twice in the record",
        ),
    ],
)
@pytest.mark.parametrize("config", ["all", "celeb"])
def test_errors_of_files_reach_the_user(tmp_path, make, config, change, message):
    change(write_corpus(tmp_path / "corpus"))
    with pytest.raises(CorpusError) as error:
        make(config_name=config, data_dir=str(tmp_path / "corpus")).download_and_prepare()
    assert message in str(error.value)


def double(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def drop_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_strict(tmp_path, make, caplog):
    record, field, message = WARNINGS["box label that no cluster bears"]
    write_corpus(tmp_path / "corpus", [record])
    load(make(data_dir=str(tmp_path / "corpus")))
    assert f"1 warning, the first: {tmp_path}" in caplog.text
    with pytest.raises(CorpusError, match="strict=True") as error:
        make(data_dir=str(tmp_path / "corpus"), strict=True).download_and_prepare()
    assert message in str(error.value)
    assert field in str(error.value)


def test_several_and_missing_files(tmp_path, make):
    corpus = tmp_path / "corpus"
    write_corpus(corpus)
    (corpus / "annotations.0123abc.jsonl").write_bytes((corpus / ANNOTATIONS).read_bytes())
    with pytest.raises(CorpusError, match="Several annotations files"):
        make(data_dir=str(corpus)).download_and_prepare()
    given = make(data_dir=str(corpus), annotations="annotations.0123abc.jsonl")
    by_path = make(
        annotations=str(corpus / ANNOTATIONS),
        splits=str(corpus / "split.jsonl"),
        titles=str(corpus / "video_titles.jsonl"),
    )
    assert keys(load(given)) == keys(load(by_path))
    with pytest.raises(CorpusError, match="No file given for titles"):
        make(annotations=str(corpus / ANNOTATIONS), splits=str(corpus / "split.jsonl")).download_and_prepare()
    with pytest.raises(CorpusError, match="is not a folder"):
        make(data_dir=str(tmp_path / "nowhere")).download_and_prepare()


# ----------------------------------------------------------------------------------------------------------- pictures


def draw_pictures(folder: Path, records: list[dict], size: tuple[int, int] = (8, 6)) -> None:
    """Pictures under the file names of the records, as the authors' release lays them out."""
    for record in records:
        for box in record["visual_annotations"]:
            for path in (
                folder / "frames" / record["doc_key"] / Path(box["cur_frame_path"]).name,
                folder / "faces_all" / Path(box["region_image_path"]).name,
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", size, (200, 30, 30)).save(path)


@pytest.fixture
def pictured(tmp_path):
    """A corpus of six dialogues with all its pictures; returns the builder's arguments."""
    write_corpus(tmp_path / "corpus")
    draw_pictures(tmp_path, make_records())
    return {
        "data_dir": str(tmp_path / "corpus"),
        "frames_dir": str(tmp_path / "frames"),
        "regions_dir": str(tmp_path / "faces_all"),
    }


def test_pictures_are_found_by_name(tmp_path, make, pictured):
    builder = make(**pictured, require_images=True)
    loaded = load(builder)
    boxes = [box for part in loaded.values() for row in part for box in row["visual_annotations"]]
    assert len(boxes) == 12
    assert all(box[name].size == (8, 6) for box in boxes for name in ("frame", "region"))
    assert next(iter(builder.as_streaming_dataset(split="test")))["visual_annotations"][0]["region"].size == (8, 6)
    (first, *_) = read_corpus(
        find_files(pictured["data_dir"]), regions_dir=pictured["regions_dir"], require_images=True
    )
    assert first["visual_annotations"][0]["region"] == str(tmp_path / "faces_all" / "101_7_1_C1.jpg")
    assert first["visual_annotations"][0]["frame"] is None


def test_missing_pictures_are_null_and_counted(tmp_path, make, pictured, caplog):
    (tmp_path / "faces_all" / "101_7_1_C1.jpg").unlink()
    loaded = load(make(config_name="celeb", **pictured))
    boxes = loaded["train"][0]["visual_annotations"]
    assert boxes[0]["region"] is None
    assert boxes[0]["frame"] is not None
    assert boxes[1]["region"] is not None
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"frame pictures: 6 found, 0 missing in {tmp_path}/frames; "
        f"region pictures: 5 found, 1 missing in {tmp_path}/faces_all"
    ]
    with pytest.raises(CorpusError) as error:
        make(config_name="celeb", **pictured, require_images=True).download_and_prepare()
    assert "line 1, doc_key 101, field visual_annotations[0].region_image_path: no picture 101_7_1_C1.jpg in" in str(
        error.value
    )
    load(make(config_name="no_celeb", **pictured, require_images=True))  # the missing one belongs to `celeb`


def test_require_images_needs_a_folder(tmp_path, make, pictured):
    with pytest.raises(CorpusError, match="require_images=True, but no pictures to look for"):
        make(data_dir=pictured["data_dir"], require_images=True).download_and_prepare()
    with pytest.raises(CorpusError, match=f"regions_dir {tmp_path}/nowhere is not a folder"):
        make(data_dir=pictured["data_dir"], regions_dir=str(tmp_path / "nowhere")).download_and_prepare()


def test_the_annotators_paths_are_never_opened(tmp_path, make, pictured):
    """A picture that stands exactly where the annotation says, outside the folder, is not taken."""
    record = make_record()
    outside = tmp_path / "outside" / "101_7_1_C1.jpg"
    outside.parent.mkdir()
    Image.new("RGB", (99, 99)).save(outside)
    record["visual_annotations"][0]["region_image_path"] = str(outside)
    record["visual_annotations"][1]["region_image_path"] = str(outside.with_name("102_x.jpg"))
    Image.new("RGB", (99, 99)).save(outside.with_name("102_x.jpg"))
    write_corpus(Path(pictured["data_dir"]), [record])
    boxes = load(make(**pictured))["train"][0]["visual_annotations"]
    assert boxes[0]["region"].size == (8, 6)  # the one of that name inside the folder
    assert boxes[1]["region"] is None


@pytest.mark.parametrize("with_folders", [True, False])
def test_a_name_that_leaves_the_folder_is_refused(make, pictured, with_folders):
    record = make_record()
    record["visual_annotations"][0]["region_image_path"] = "faces_all/../../101_7_1_C1.jpg"
    write_corpus(Path(pictured["data_dir"]), [record])
    arguments = pictured if with_folders else {"data_dir": pictured["data_dir"]}
    with pytest.raises(CorpusError, match=r"field visual_annotations\[0\]\.region_image_path: refused .*`\.\.` leaves"):
        make(**arguments).download_and_prepare()


def test_of_two_pictures_of_a_name_the_dialogues_own_is_taken(tmp_path):
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").touch()
    pictures = PictureFolder(tmp_path, "frames_dir")
    assert pictures.find("x.jpg", "2") == str(tmp_path / "2" / "x.jpg")
    assert pictures.find("x.jpg", "1") == str(tmp_path / "1" / "x.jpg")
    assert pictures.find("y.jpg", "1") is None
    assert (pictures.found, pictures.missing) == (2, 1)


def test_pictures_are_not_looked_at_one_by_one(pictured, monkeypatch):
    folder = PictureFolder(pictured["frames_dir"], "frames_dir")
    for name in ("stat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("looked at the disk again"))
    assert folder.find("101_7_1.jpg", "101") is not None


def test_a_link_that_leaves_the_folder_is_refused(tmp_path, make, pictured):
    secret = tmp_path / "passwords"
    secret.write_text("root:x:0:0")
    linked = tmp_path / "faces_all" / "101_7_1_C1.jpg"
    linked.unlink()
    linked.symlink_to(secret)
    with pytest.raises(CorpusError, match=r"visual_annotations\[0\]\.region_image_path: refused .* a link leads out"):
        load(make(**pictured))
    linked.unlink()
    linked.symlink_to(tmp_path / "faces_all" / "101_9_1_C2.jpg")  # one that stays is followed
    assert load(make(**pictured))["train"][0]["visual_annotations"][0]["region"].size == (8, 6)


def test_a_folder_linked_from_outside_is_refused(tmp_path, make, pictured):
    os.rename(tmp_path / "frames" / "101", tmp_path / "elsewhere")
    (tmp_path / "frames" / "101").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"cur_frame_path: refused .* a link leads out"):
        load(make(**pictured))


def test_a_pipe_is_no_picture(tmp_path, make, pictured):
    pipe = tmp_path / "faces_all" / "101_7_1_C1.jpg"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(CorpusError, match=r"refused .*: it is no file"):
        load(make(**pictured))


# -------------------------------------------------------------------------------------------------------------- cache


def test_a_changed_file_is_built_anew(tmp_path, make):
    corpus = tmp_path / "corpus"
    files = write_corpus(corpus)
    assert load(make(data_dir=str(corpus)))["train"][0]["video_title"] == "题目101"
    status = files.titles.stat()
    files.titles.write_text(files.titles.read_text(encoding="utf-8").replace("题目101", "题目xyz"), encoding="utf-8")
    os.utime(files.titles, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load(make(data_dir=str(corpus)))["train"][0]["video_title"] == "题目xyz"


def test_an_unchanged_corpus_is_built_once(tmp_path, make, monkeypatch):
    write_corpus(tmp_path / "corpus")
    load(make(data_dir=str(tmp_path / "corpus")))
    monkeypatch.setattr(TikTalkCoref, "_split_generators", lambda *_: pytest.fail("built again"))
    assert load(make(data_dir=str(tmp_path / "corpus")))["train"].num_rows == 2


def test_pictures_that_come_later_are_seen(tmp_path, make, pictured):
    hidden = tmp_path / "faces_all" / "101_7_1_C1.jpg"
    picture = hidden.read_bytes()
    hidden.unlink()
    assert load(make(**pictured))["train"][0]["visual_annotations"][0]["region"] is None
    hidden.write_bytes(picture)
    assert load(make(**pictured))["train"][0]["visual_annotations"][0]["region"].size == (8, 6)


def test_options_are_part_of_the_cache_name(tmp_path, make, pictured):
    plain = {"data_dir": pictured["data_dir"]}
    ids = [
        make(**options).config_id
        for options in (plain, {**plain, "strict": True}, pictured, {**pictured, "require_images": True})
    ]
    assert len(set(ids)) == 4
    assert make(**plain).config_id == ids[0]


def test_a_change_between_making_and_building_is_refused(tmp_path, make):
    files = write_corpus(tmp_path / "corpus")
    builder = make(data_dir=str(tmp_path / "corpus"))
    drop_last_line(files.annotations)
    with pytest.raises(CorpusError, match="changed after this builder was made"):
        builder.download_and_prepare()


# ----------------------------------------------------------------------------------------------------------- download


class _Offline:
    def download(self, urls):
        raise ConnectionError(f"no route to {urls['splits']}")


THREE = "The three files all_textual_and_visual_annotations.jsonl, split.jsonl, video_titles.jsonl are at "


def test_offline_says_which_files_to_put_where():
    with pytest.raises(CorpusError) as error:
        download_files(_Offline())
    assert "could not be downloaded (ConnectionError: no route to" in str(error.value)
    assert THREE + upstream_files.UPSTREAM_URL in str(error.value)
    assert "put them into one folder and pass data_dir=FOLDER" in str(error.value)


def test_offline_mode_of_the_hub(tmp_path):
    """As a user meets it: no data_dir, no network allowed, an empty cache."""
    code = """from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref
TikTalkCoref(config_name="celeb").download_and_prepare()"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode != 0
    assert "CorpusError: The annotation files could not be downloaded" in result.stderr
    assert THREE in result.stderr


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A corpus behind a local address in place of upstream's; returns its folder."""
    corpus = tmp_path / "served"
    files = write_corpus(corpus)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(corpus)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digests = {
        role: (getattr(files, role).name, hashlib.sha256(getattr(files, role).read_bytes()).hexdigest())
        for role in ("annotations", "splits", "titles")
    }
    monkeypatch.setattr(upstream_files, "UPSTREAM_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(upstream_files, "UPSTREAM_FILES", digests)
    yield corpus
    server.shutdown()
    server.server_close()


def test_download_then_cache(served, make):
    builder = make(config_name="celeb")
    assert keys(load(builder)) == {"train": ["101"], "validation": ["103"], "test": ["105"]}
    assert builder.info.download_size > 0
    for path in served.iterdir():
        path.unlink()
    assert make(config_name="no_celeb").download_and_prepare() is None  # the three files come from the cache now


def test_a_download_of_other_content_is_thrown_away(served, make):
    titles = (served / "video_titles.jsonl").read_bytes()
    (served / "video_titles.jsonl").write_bytes(b"<html>")
    with pytest.raises(CorpusError, match=r"video_titles\.jsonl is not the published .*: its sha256 is .*, expected"):
        make().download_and_prepare()
    (served / "video_titles.jsonl").write_bytes(titles)
    assert load(make())["train"].num_rows == 2


def test_published_digests(upstream):
    names = {"annotations": "annotations.8d346bf.jsonl", "splits": "split.jsonl", "titles": "video_titles.jsonl"}
    for role, name in names.items():
        assert hashlib.sha256((upstream / name).read_bytes()).hexdigest() == upstream_files.UPSTREAM_FILES[role][1]


# ----------------------------------------------------------------------------------------------------- upstream's own

ROWS = {
    "all": (810, 101, 101),
    "celeb": (259, 46, 33),
    "no_celeb": (551, 55, 68),
    "textual": (259, 46, 33, 551, 55, 68),
    "visual": (259, 46, 33, 551, 55, 68),
}


@pytest.mark.parametrize("revision", ["8d346bf", "db84797"])
@pytest.mark.parametrize("config", ROWS)
def test_upstream_rows(upstream, make, config, revision):
    loaded = load(make(config_name=config, data_dir=str(upstream), annotations=f"annotations.{revision}.jsonl"))
    assert tuple(part.num_rows for part in loaded.values()) == ROWS[config]
    rows = [row for part in loaded.values() for row in part]
    if config != "visual":
        clusters = [cluster for row in rows for cluster in row["clusters"]]
        mentions = sum(len(cluster) for cluster in clusters)
        expected = {"celeb": (731, 488), "no_celeb": (2179 - 731, 1435 - 488)}.get(config, (2179, 1435))
        assert (mentions, len(clusters)) == expected
    if config not in ("textual", "visual"):
        boxes = sum(box["box_labels"] in row["entity_labels"] for row in rows for box in row["visual_annotations"])
        assert boxes == {"all": 881, "celeb": 392, "no_celeb": 489}[config]


def test_upstream_region_pictures(upstream, make, tmp_path):
    lines = (upstream / "annotations.8d346bf.jsonl").read_text(encoding="utf-8").split("\n")
    draw_pictures(tmp_path, [json.loads(line) for line in lines if line], size=(4, 4))
    loaded = load(
        make(
            config_name="celeb",
            data_dir=str(upstream),
            annotations="annotations.8d346bf.jsonl",
            regions_dir=str(tmp_path / "faces_all"),
            require_images=True,
        )
    )
    pictures = [box["region"] for part in loaded.values() for row in part for box in row["visual_annotations"]]
    assert [picture.size for picture in pictures] == [(4, 4)] * 392


# ------------------------------------------------------------------------------------------------------ loading script

SCRIPT_USER = """
import json, sys
from datasets import load_dataset
folder = sys.argv[1]
for config in ("all", "celeb", "no_celeb", "textual", "visual"):
    for streaming in (False, True):
        parts = load_dataset("tiktalkcoref_dataset.py", config, data_dir=folder, trust_remote_code=True,
                             streaming=streaming, **json.loads(sys.argv[2]))
        rows = {name: [json.dumps(row, sort_keys=True) for row in part] for name, part in parts.items()}
        print(json.dumps([config, streaming, rows]))
try:
    load_dataset("tiktalkcoref_dataset.py", "celeb", data_dir="nowhere", trust_remote_code=True)
except ValueError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def datasets36(tmp_path):
    """The interpreter of an environment that has datasets 3.6 and msgspec; removed afterwards."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "datasets==3.6.0", "pillow", "msgspec"], check=True)
    yield python
    shutil.rmtree(environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_as_a_loading_script(tmp_path, make, request, datasets36):
    """Under datasets 3.6, with the package at hand, every config gives the rows that the class gives."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "tiktalkcoref_dataset.py").write_bytes(Path(dataset.__file__).read_bytes())
    if os.environ.get("TIKTALKCOREF_SHARED"):
        folder, options = request.getfixturevalue("upstream"), {"annotations": "annotations.8d346bf.jsonl"}
    else:
        folder, options = tmp_path / "corpus", {}
        write_corpus(folder)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [datasets36, "-c", SCRIPT_USER, str(folder), json.dumps(options)]
    result = subprocess.run(command, cwd=alone, env=variables, capture_output=True, text=True)
    assert "`pip install tiktalkcoref`. Offline: " in result.stderr  # what it says where the package is not
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "tiktalkcoref").symlink_to(Path(dataset.__file__).parent)
    variables["PYTHONPATH"] = str(tmp_path / "site")
    result = subprocess.run(command, cwd=alone, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    *tables, error = [json.loads(line) for line in result.stdout.splitlines()]
    assert "data_dir nowhere is not a folder" in error
    assert len(tables) == 10
    for config, _, rows in tables:
        loaded = load(make(config_name=config, data_dir=str(folder), **options))
        assert rows == {name: [json.dumps(row, sort_keys=True) for row in part] for name, part in loaded.items()}
