"""The Hub-ready folder: loaded by `load_dataset` in another process, offline, it gives what the builder gives."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.prepared import check_parquet
from tiktalkcoref.corpus.problems import CorpusError
from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.hub.prepare import CONFIGS, prepare, survey
from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

# As a user would write it, in the folder's parent; prints the rows so that they can be compared.
LOAD = """
import json, sys
from datasets import Image, load_dataset
from pathlib import Path

def raw(features):  # leave pictures undecoded: their bytes are compared
    if isinstance(features, Image):
        return Image(decode=False)
    if isinstance(features, dict):
        return type(features)({name: raw(feature) for name, feature in features.items()})
    return type(features)(raw(features.feature)) if hasattr(features, "feature") else features

rows = {}
for config in sys.argv[2:]:
    for streaming in (False, True):
        dataset = load_dataset("tiktalkcoref", config, streaming=streaming)
        for split, part in dataset.items():
            part = part.cast(raw(part.features))
            rows[f"{config} {split} {streaming}"] = list(part)
rows["default"] = {split: part.num_rows for split, part in load_dataset("tiktalkcoref").items()}
Path(sys.argv[1]).write_text(json.dumps(rows, default=bytes.hex))
"""


def load_elsewhere(parent: Path, scratch: Path, configs: Sequence[str] = CONFIGS) -> dict[str, Any]:
    """All rows of the prepared folder in `parent`, loaded by another process that has no network and no cache."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf")}
    command = [sys.executable, "-c", LOAD, str(scratch / "rows.json"), *configs]
    result = subprocess.run(command, cwd=parent, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads((scratch / "rows.json").read_text())


def build(corpus: Path, config: str, cache: Path, **kwargs: Any) -> datasets.DatasetDict:
    builder = TikTalkCoref(config_name=config, data_dir=str(corpus), cache_dir=str(cache), **kwargs)
    builder.download_and_prepare()
    return builder.as_dataset()


@pytest.fixture(scope="module")
def prepared(sample_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiktalkcoref"
    return prepare(find_files(sample_corpus), folder, sample_corpus / "frames", sample_corpus / "faces_all")


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    _, data, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(data), text


def test_loads_in_another_process(prepared: Path, sample_corpus: Path, tmp_path: Path) -> None:
    rows = load_elsewhere(prepared.parent, tmp_path)
    assert rows["default"] == {"train": 16, "validation": 4, "test": 4}
    for config in CONFIGS:
        for split, part in build(sample_corpus, config, tmp_path / "cache").items():
            loaded = rows[f"{config} {split} False"]
            assert loaded == rows[f"{config} {split} True"]
            expected = json.loads(json.dumps(list(part)))
            boxes = [box for row in loaded for box in row.get("visual_annotations", ())]
            for box in boxes:  # pictures are in the Parquet files, byte for byte, and tell nothing of this machine
                for kind, source in (("frame", "cur_frame_path"), ("region", "region_image_path")):
                    name = Path(box[source]).name
                    (path,) = sample_corpus.rglob(name)
                    assert box.pop(kind) == {"bytes": path.read_bytes().hex(), "path": name}
            for row in expected:
                for box in row.get("visual_annotations", ()):
                    assert box.pop("frame") is box.pop("region") is None
            assert loaded == expected
            assert bool(boxes) == (config != "textual")


def test_folder_holds_nothing_else(prepared: Path) -> None:
    names = sorted(path.relative_to(prepared).as_posix() for path in prepared.rglob("*") if path.is_file())
    parts = [f"{kind}_{split}" for kind in ("celeb", "no_celeb") for split in ("train", "validation", "test")]
    expected = ["README.md"]
    for config in CONFIGS:
        for split in parts if config in ("textual", "visual") else ("train", "validation", "test"):
            expected.append(f"{config}/{split}-00000-of-00001.parquet")
    assert names == sorted(expected)
    assert sorted(path.name for path in prepared.parent.iterdir()) == ["tiktalkcoref"]


def test_card_data(prepared: Path) -> None:
    data, _ = read_card(prepared)
    assert data["license"] == "mit"
    assert data["language"] == ["zh"]
    assert data["size_categories"] == ["n<1K"]
    assert {config["config_name"]: config.get("default") for config in data["configs"]} == {
        "all": True,
        "celeb": None,
        "no_celeb": None,
        "textual": None,
        "visual": None,
    }
    for info in data["dataset_info"]:
        files = list((prepared / info["config_name"]).iterdir())
        assert info["download_size"] == sum(file.stat().st_size for file in files)
        assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])
        assert len(info["splits"]) == len(files)
    (celeb,) = (info for info in data["dataset_info"] if info["config_name"] == "celeb")
    assert {split["name"]: split["num_examples"] for split in celeb["splits"]} == {
        "train": 8,
        "validation": 2,
        "test": 2,
    }
    types = {feature["name"]: feature for feature in celeb["features"]}
    assert types["video_type"]["dtype"]["class_label"]["names"] == {"0": "celeb", "1": "no_celeb"}


def test_card_text(prepared: Path, sample_corpus: Path) -> None:
    _, text = read_card(prepared)
    boxes = len(list((sample_corpus / "faces_all").iterdir()))
    assert 'load_dataset("tiktalkcoref", "celeb")' in text
    assert "this copy was not prepared from the published files: it has 24 dialogues" in text
    assert f"Embedded here: {boxes} head regions (0 missing) and {boxes} frames (0 missing)." in text
    assert "- `celeb`: train 8, validation 2, test 2\n" in text
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "The paper in short",
        "Configs",
        "Fields",
        "Pictures",
        "What is known to be wrong",
        "Personal data and takedown",
        "Licence and notice",
        "Citation",
    ]
    for field in ("doc_key", "clusters", "entity_labels", ".bbox", ".frame"):
        assert f"`{field}`" in text
    assert "Copyright (c) 2023 RUC-AIMind" in text
    assert "{{" not in text
    assert "{%" not in text


def test_card_of_the_published_corpus(upstream: Path, tmp_path: Path) -> None:
    files = find_files(upstream, annotations=upstream / "annotations.db84797.jsonl")
    folder = prepare(files, tmp_path / "out", repo_id="somebody/tiktalkcoref")
    data, text = read_card(folder)
    assert data["size_categories"] == ["1K<n<10K"]
    assert 'load_dataset("somebody/tiktalkcoref", "celeb")' in text
    assert "| all | all | 1,012 | 2,179 | 1,435 | 955 | 881 |" in text
    assert "| celeb | test | 33 | 81 | 45 | 26 | 39 |" in text
    assert "- 265 dialogues have no box" in text
    assert "here 881 boxes belong to a cluster" in text
    assert "- 274 boxes bear a label that no cluster bears" in text
    assert "This copy holds no pictures" in text
    assert "not prepared from the published files" not in text


@pytest.mark.slow
def test_published_corpus_loads_in_another_process(upstream: Path, tmp_path: Path) -> None:
    for generation in ("db84797", "8d346bf"):
        parent = tmp_path / generation
        prepare(find_files(upstream, annotations=upstream / f"annotations.{generation}.jsonl"), parent / "tiktalkcoref")
        rows = load_elsewhere(parent, parent)
        counts = {name: len(part) for name, part in rows.items() if name != "default"}
        for streaming in (False, True):
            for config, expected in {"celeb": (259, 46, 33), "no_celeb": (551, 55, 68), "all": (810, 101, 101)}.items():
                splits = ("train", "validation", "test")
                assert tuple(counts[f"{config} {split} {streaming}"] for split in splits) == expected
            for config in ("textual", "visual"):
                assert sum(counts[name] for name in counts if name.startswith(config)) == 2 * 1012
        mentions = [m for row in rows["textual celeb_train False"] for c in row["clusters"] for m in c]
        assert len(mentions) == 554


def test_splits_and_configs_without_rows_are_left_out(sample_corpus: Path, tmp_path: Path) -> None:
    text = (sample_corpus / "split.jsonl").read_text(encoding="utf-8")
    text = text.replace('"val"', '"test"').replace('"no_celeb"', '"celeb"')
    (tmp_path / "split.jsonl").write_text(text, encoding="utf-8")
    files = find_files(sample_corpus, splits=tmp_path / "split.jsonl")
    prepare(files, tmp_path / "hub" / "tiktalkcoref")
    rows = load_elsewhere(tmp_path / "hub", tmp_path, ["all"])
    assert rows["default"] == {"train": 16, "test": 8}
    data, _ = read_card(tmp_path / "hub" / "tiktalkcoref")
    assert [config["config_name"] for config in data["configs"]] == ["all", "celeb", "textual", "visual"]
    assert not (tmp_path / "hub" / "tiktalkcoref" / "no_celeb").exists()


def test_missing_pictures_are_null_and_counted(sample_corpus: Path, tmp_path: Path) -> None:
    regions = tmp_path / "regions"
    regions.mkdir()
    kept = sorted((sample_corpus / "faces_all").iterdir())[0]
    (regions / kept.name).write_bytes(kept.read_bytes())
    prepare(find_files(sample_corpus), tmp_path / "hub" / "tiktalkcoref", regions_dir=regions)
    missing = len(list((sample_corpus / "faces_all").iterdir())) - 1
    _, text = read_card(tmp_path / "hub" / "tiktalkcoref")
    assert f"Embedded here: 1 head regions ({missing} missing)" in text
    boxes = [
        box
        for path in (tmp_path / "hub" / "tiktalkcoref" / "all").iterdir()
        for boxes in pq.read_table(path)["visual_annotations"].to_pylist()
        for box in boxes
    ]
    assert [box["region"]["path"] for box in boxes if box["region"] is not None] == [kept.name]
    assert all(box["frame"] is None for box in boxes)


def test_an_error_leaves_the_old_folder(sample_corpus: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiktalkcoref"
    prepare(find_files(sample_corpus), target)
    before = {path: path.read_bytes() for path in target.rglob("*.parquet")}
    (tmp_path / "split.jsonl").write_text('{"video_id": "1", "video_type": "celeb", "split": "train"}\n')
    with pytest.raises(CorpusError, match="not in the split file"):
        prepare(find_files(sample_corpus, splits=tmp_path / "split.jsonl"), target)
    assert {path: path.read_bytes() for path in target.rglob("*.parquet")} == before


def test_a_folder_of_other_things_is_not_replaced(sample_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("three years of work")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex"):
        prepare(find_files(sample_corpus), tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def pictures_of(sample_corpus: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    """A copy of the sample's regions, and its files."""
    shutil.copytree(sample_corpus / "faces_all", tmp_path / "regions")
    return tmp_path / "regions", sorted((tmp_path / "regions").iterdir())


def test_what_is_no_picture_is_not_embedded(sample_corpus: Path, tmp_path: Path) -> None:
    regions, paths = pictures_of(sample_corpus, tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-200])
    paths[1].write_text("root:x:0:0")
    Image.new("1", (20_000, 20_000)).save(paths[2], format="PNG")
    target = tmp_path / "hub" / "tiktalkcoref"
    with pytest.raises(CorpusError) as error:
        prepare(find_files(sample_corpus), target, regions_dir=regions)
    message = str(error.value)
    assert f"3 of {len(paths)} pictures cannot be embedded" in message
    assert f"{paths[1]} (doc_key " in message
    assert "it is no picture" in message
    assert "it is damaged (" in message
    assert "400000000 pixels" in message or "20000 x 20000 pixels, at most" in message
    assert not target.exists()
    paths[2].unlink()
    prepare(find_files(sample_corpus), target, regions_dir=regions, check_pictures=False)
    assert (target / "README.md").exists()


FULL = """
import resource, sys
from tiktalkcoref.cli import app, main
resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
sys.argv = ["tiktalkcoref", "prepare", "--data-dir", sys.argv[1], "--output-dir", sys.argv[2]]
main()
"""


def test_a_disk_that_fills_up_is_one_message(sample_corpus: Path, tmp_path: Path) -> None:
    """The system refuses to write more than 8,000 bytes a file, as a full disk would."""
    target = tmp_path / "hub" / "tiktalkcoref"
    command = [sys.executable, "-c", FULL, str(sample_corpus), str(target)]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: the config all could not be written: " in result.stderr
    assert "File too large" in result.stderr
    assert not target.exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_a_damaged_folder_is_refused(sample_corpus: Path, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "hub" / "tiktalkcoref"
    prepare(find_files(sample_corpus), target)
    check_parquet(target)
    path = target / "celeb" / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-9] if damage == "truncated" else b"")
    with pytest.raises(ValueError, match=r"celeb/test-.*`tiktalkcoref prepare`"):
        load_dialogues(str(target), "celeb", "train")


def test_a_cut_copy_of_the_published_corpus_says_so(upstream: Path, tmp_path: Path) -> None:
    lines = (upstream / "annotations.8d346bf.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "annotations.jsonl").write_bytes(b"".join(lines[:-1]))
    files = find_files(upstream, annotations=tmp_path / "annotations.jsonl")
    _, text = read_card(prepare(files, tmp_path / "out"))
    assert "this copy was not prepared from the published files: it has 1,011 dialogues" in text
    assert text.count("@inproceedings{li-etal-2025-tiktalkcoref,") == 1
    assert "Multimodal Coreference Resolution for {C}hinese Social Media Dialogues" in text


def test_videos(tmp_path, sample_corpus):
    """`video_path` names the videos that are there, in every config that has it; their minutes are counted."""
    pytest.importorskip("av")
    import numpy as np
    from tracking_videos import write_video

    from tiktalkcoref.corpus.reading import read_corpus

    files = find_files(sample_corpus)
    keys = [record["doc_key"] for record in read_corpus(files)][:2]
    for key in keys:
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_video(tmp_path / "videos" / f"{key}.mp4", [np.zeros((32, 32, 3), np.uint8)] * 50)
    facts = survey(files, videos_dir=tmp_path / "videos")
    assert facts["counts"]["all", "all"].videos == 2
    assert facts["counts"]["all", "all"].seconds == 4
    folder = prepare(files, tmp_path / "out", videos_dir=tmp_path / "videos", facts=facts)
    for config in ("all", "visual"):
        loaded = datasets.load_dataset(str(folder), config, cache_dir=str(tmp_path / "cache"))
        rows = [row for split in loaded.values() for row in split]
        named = {row["doc_key"]: row["video_path"] for row in rows if row["video_path"] is not None}
        assert named == {key: str(tmp_path / "videos" / f"{key}.mp4") for key in keys}
    with pytest.raises(FileNotFoundError, match=r"a folder with the videos <doc_key>\.mp4 was expected"):
        prepare(files, tmp_path / "other", videos_dir=tmp_path / "nowhere")
