"""Upstream's layout, byte for byte."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tiktalkcoref.corpus.files import CorpusFiles, find_files
from tiktalkcoref.corpus.problems import CorpusError
from tiktalkcoref.corpus.split import FILES, split


def write_corpus(folder: Path, *lines: dict[str, Any], splits: str = "train") -> CorpusFiles:
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in (
        ("all_textual_and_visual_annotations.jsonl", lines),
        ("split.jsonl", [{"video_id": line["doc_key"], "video_type": "celeb", "split": splits} for line in lines]),
        ("video_titles.jsonl", [{"video_id": "another", "title": "别的"}]),
    ):
        text = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        (folder / name).write_text("﻿" + text + "\n\n", encoding="utf-8")
    return find_files(folder)


NEWEST = {
    "doc_key": "1",
    "genre": "wb",
    "sentences": [["她", "好"]],
    "clusters": [[[0, 0]]],
    "clusters_str": [["她"]],
    "speaker_ids": [["A", "A"]],
    "sentence_map": [[0, 0]],
    "entity_label": [""],
    "visual_annotations": [],
}


def test_equals_what_upstream_s_tool_writes(upstream: Path, tmp_path: Path) -> None:
    files = find_files(upstream, annotations=upstream / "annotations.db84797.jsonl")
    counts = split(files, tmp_path / "out")
    expected = (upstream / "split_expected.db84797.sha256").read_text().split()
    digests = dict(zip(expected[1::2], expected[::2], strict=True))
    found = {
        path.relative_to(tmp_path / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "out").rglob("*.jsonl")
    }
    assert len(found) == 20
    assert found == digests
    assert counts["all/val.visual.jsonl"] == 101


def test_the_newest_generation_gives_the_same_text(upstream: Path, tmp_path: Path) -> None:
    changed = {
        "7001128697256267038",
        "6956506310321949982",
        "7016698246508711202",
    }  # upstream edited their text or spans
    for generation in ("db84797", "8d346bf"):
        split(find_files(upstream, annotations=upstream / f"annotations.{generation}.jsonl"), tmp_path / generation)
    differing = set()
    for name in FILES:
        old, new = ((tmp_path / generation / name).read_bytes().splitlines() for generation in ("db84797", "8d346bf"))
        pairs = [(json.loads(one), json.loads(other)) for one, other in zip(old, new, strict=True)]
        assert all(one["doc_key"] == other["doc_key"] for one, other in pairs)
        if "textual" in name:
            assert all(list(one) == list(other) for one, other in pairs)
            differing |= {one["doc_key"] for one, other in pairs if one != other}
    assert differing == changed


@pytest.mark.parametrize("name", ["val", "dev", "validation"])
def test_missing_parts_are_filled(tmp_path: Path, name: str) -> None:
    split(write_corpus(tmp_path / "in", NEWEST, splits=name), tmp_path / "out")
    textual = json.loads((tmp_path / "out" / "celeb" / "val.textual.jsonl").read_text(encoding="utf-8"))
    assert list(textual) == [
        "doc_key", "genre", "sentences", "clusters", "clusters_str", "speaker_ids", "sentence_map", "subtoken_map",
        "entity_labels",
    ]  # fmt: skip
    assert textual["subtoken_map"] == [[0, 1]]
    assert textual["entity_labels"] == ["none"]
    visual = json.loads((tmp_path / "out" / "all.visual.jsonl").read_text(encoding="utf-8"))
    assert visual == {
        "doc_key": "1",
        "video_title": "Unknown Title",
        "video_path": "/data/lxy/datasets/tiktalk_1012/raw_videos/1.mp4",
        "visual_annotations": [],
    }
    assert (tmp_path / "out" / "no_celeb" / "test.visual.jsonl").read_bytes() == b""


@pytest.mark.parametrize("key", ["subtoken_map", "sentence_map", "genre", "clusters_str"])
def test_null_is_filled_like_what_is_missing(tmp_path: Path, key: str) -> None:
    split(write_corpus(tmp_path / "in", {**NEWEST, key: None}), tmp_path / "out")
    textual = json.loads((tmp_path / "out" / "all.textual.jsonl").read_text(encoding="utf-8"))
    expected = {"subtoken_map": [[0, 1]], "sentence_map": [[0, 0]], "genre": "", "clusters_str": [["她"]]}
    assert textual[key] == expected[key]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    files = write_corpus(tmp_path / "in", NEWEST, {**NEWEST, "doc_key": "2", "clusters": [[[0, 7]]]})
    with pytest.raises(CorpusError, match="line 2, doc_key 2"):
        split(files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_corpus_s_own_folder_is_not_replaced(tmp_path: Path) -> None:
    files = write_corpus(tmp_path / "in", NEWEST)
    with pytest.raises(FileExistsError, match=r"holds all_textual_and_visual_annotations\.jsonl"):
        split(files, tmp_path / "in")
    assert files.annotations.exists()
