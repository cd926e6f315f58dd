"""Exports and their readers: nothing that a format can carry is lost, and what it cannot carry is refused."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiktalkcoref.corpus.chinese_clip import query_text
from tiktalkcoref.corpus.conll import conll_document, parse_conll, read_conll
from tiktalkcoref.corpus.export import export, jsonlines_line, read_jsonlines
from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.formats import ExportError, split_document_name
from tiktalkcoref.corpus.reading import read_corpus


def make_record(sentences: list[list[str]], clusters: list[list[list[int]]], **fields: Any) -> dict[str, Any]:
    lengths = [len(sentence) for sentence in sentences]
    positions = iter(range(sum(lengths)))
    return {
        "doc_key": "7000000000000000001",
        "genre": "wb",
        "split": "train",
        "video_type": "celeb",
        "sentences": sentences,
        "speaker_ids": [["AB"[number % 2]] * length for number, length in enumerate(lengths)],
        "sentence_map": [[number] * length for number, length in enumerate(lengths)],
        "subtoken_map": [[next(positions) for _ in range(length)] for length in lengths],
        "clusters": clusters,
        "entity_labels": ["none"] * len(clusters),
        "visual_annotations": [],
        **fields,
    }


NESTED = make_record(
    [["小", "王", "的", "妈", "妈"], ["她", "说", "小", "王", "好"]],
    [[[0, 4], [5, 5]], [[0, 1], [7, 8]]],
)


def back_from_conll(record: dict[str, Any]) -> dict[str, Any]:
    (back,) = parse_conll(conll_document(record).split("\n"), "test")
    return back


def from_jsonlines(document: dict[str, Any]) -> dict[str, Any]:
    """The record behind a document of the jsonlines, as far as the format carries it."""
    name, _, part = document["doc_key"].rpartition("_")
    genre, doc_key = split_document_name(name)
    record = {"doc_key": doc_key, "genre": genre, "part": int(part), "clusters": document["clusters"]}
    record |= {"sentences": document["sentences"], "speaker_ids": document["speakers"]}
    for key in ("sentence_map", "subtoken_map"):
        rest = iter(document[key])
        record[key] = [[next(rest) for _ in sentence] for sentence in document["sentences"]]
        assert list(rest) == []
    return record


def back_from_jsonlines(record: dict[str, Any]) -> dict[str, Any]:
    line, nothing = jsonlines_line(record).split("\n")
    assert nothing == ""
    return from_jsonlines(json.loads(line))


def test_conll_lines() -> None:
    lines = conll_document(NESTED).split("\n")
    assert lines[0] == "#begin document (wb/7000000000000000001); part 000"
    assert lines[1] == "wb/7000000000000000001\t0\t0\t小\t-\t*\t-\t-\t-\tA\t*\t(0|(1"
    assert [line.split("\t")[-1] for line in lines[1:6]] == ["(0|(1", "1)", "-", "-", "0)"]
    assert lines[6] == ""  # between utterances
    assert [line.split("\t")[-1] for line in lines[7:12]] == ["(0)", "-", "(1", "1)", "-"]
    assert lines[7].split("\t")[2] == "0"  # token numbers start again with each utterance
    assert lines[12:] == ["", "#end document", ""]


@pytest.mark.parametrize(
    "tokens",
    [
        [" ", "　", " ", "\t", "\n", "\x85", " "],
        ["#", "#begin", "(", ")", "(0)", "|", "-", "*", "_"],
        ["", "\\", "\\u0020", "\\empty", "\\\\u0020", "\\u005cempty", "u0020"],
        ["👨‍👩‍👧", "‍", "️", "𠀀", "a b", " a", "﻿"],
    ],
)
def test_odd_tokens_and_speakers_come_back(tokens: list[str], tmp_path: Path) -> None:
    record = make_record([tokens, tokens], [[[0, 0], [len(tokens), len(tokens)]]], speaker_ids=[tokens, tokens])
    for file_format in ("conll", "jsonlines"):
        export([record, NESTED], tmp_path / file_format, file_format)
    conll = list(read_conll(tmp_path / "conll" / "train.conll"))
    jsonlines = [from_jsonlines(line) for line in read_jsonlines(tmp_path / "jsonlines" / "train.jsonlines")]
    for back in (conll, jsonlines):
        assert [other["doc_key"] for other in back] == [record["doc_key"], NESTED["doc_key"]]
        for key in ("genre", "sentences", "speaker_ids", "clusters"):
            assert [other[key] for other in back] == [record[key], NESTED[key]], key


@pytest.mark.parametrize(
    "clusters",
    [
        [[[0, 3], [1, 2]], [[0, 2]], [[1, 3]]],  # nested in one cluster, crossing between clusters
        [[[0, 3], [0, 1]], [[0, 0]]],  # same start
        [[[0, 3], [2, 3], [3, 3]]],  # same end
        [[[1, 2], [1, 2]]],  # the same mention twice
        [[[2, 2], [2, 2], [2, 3]]],
        [[[0, 1], [2, 5]]],  # across utterances
        [[[i, i]] for i in range(6)],
        [],
    ],
)
def test_clusters_come_back(clusters: list[list[list[int]]]) -> None:
    record = make_record([["一", "二", "三", "四"], ["五", "六"]], clusters)
    assert back_from_conll(record)["clusters"] == [sorted(cluster) for cluster in clusters]
    back = back_from_jsonlines(record)
    assert back["clusters"] == clusters


@given(
    sentences=st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=5), min_size=1, max_size=3),
    doc_key=st.text(min_size=1, max_size=12),
    genre=st.sampled_from(["wb", "", "a b"]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_dialogue_comes_back(sentences: list[list[str]], doc_key: str, genre: str, data: st.DataObject) -> None:
    total = sum(len(sentence) for sentence in sentences)
    mention = st.tuples(st.integers(0, total - 1), st.integers(0, 3)).map(lambda m: [m[0], min(m[0] + m[1], total - 1)])
    mentions = data.draw(st.lists(mention, max_size=5, unique_by=tuple))
    clusters: list[list[list[int]]] = [[] for _ in range(3)]
    for one in mentions:  # a cluster takes no mention that crosses one of its own
        cluster = data.draw(st.sampled_from(clusters))
        if not any(a < one[0] <= b < one[1] or one[0] < a <= one[1] < b for a, b in cluster):
            cluster.append(one)
    record = make_record(sentences, [cluster for cluster in clusters if cluster], doc_key=doc_key, genre=genre)
    back = back_from_conll(record)
    assert (back["doc_key"], back["genre"], back["part"]) == (doc_key, genre, 0)
    assert back["sentences"] == sentences
    assert back["speaker_ids"] == record["speaker_ids"]
    assert back["clusters"] == [sorted(cluster) for cluster in record["clusters"]]
    back = back_from_jsonlines(record)
    for key in ("doc_key", "genre", "sentences", "speaker_ids", "clusters", "sentence_map", "subtoken_map"):
        assert back[key] == record[key]


@pytest.mark.parametrize("generation", ["db84797", "8d346bf"])
@pytest.mark.parametrize("file_format", ["conll", "jsonlines"])
def test_the_whole_corpus_comes_back(upstream: Path, tmp_path: Path, generation: str, file_format: str) -> None:
    files = find_files(upstream, annotations=upstream / f"annotations.{generation}.jsonl")
    records = {record["doc_key"]: record for record in read_corpus(files)}
    assert export(records.values(), tmp_path / "out", file_format) == {
        f"train.{file_format}": 810,
        f"validation.{file_format}": 101,
        f"test.{file_format}": 101,
    }
    seen = 0
    for path in (tmp_path / "out").iterdir():
        for back in read_conll(path) if file_format == "conll" else map(from_jsonlines, read_jsonlines(path)):
            record = records[back["doc_key"]]
            assert record["split"] == path.stem
            clusters = record["clusters"]
            assert back["clusters"] == ([sorted(c) for c in clusters] if file_format == "conll" else clusters)
            for key in ("genre", "sentences", "speaker_ids"):
                assert back[key] == record[key]
            seen += 1
    assert seen == 1012


def test_crossing_mentions_are_refused() -> None:
    record = make_record([["一", "二", "三", "四"]], [[[0, 2], [1, 3]]])
    with pytest.raises(ExportError, match=r"7000000000000000001: cluster 0 holds the crossing mentions \[0, 2\] and"):
        conll_document(record)


def test_ontonotes_files_are_read() -> None:
    lines = [
        "#begin document (bc/cctv/00/cctv_0001); part 003",
        "bc/cctv/00/cctv_0001  3  0  In   IN  (TOP(S*  -  -  -  Speaker#1  *  (ARG*  *  (12|(4)",
        "bc/cctv/00/cctv_0001  3  1  it   PRP *))      -  -  -  Speaker#1  *  *)     *  12)",
        "",
        "#end document",
    ]
    assert list(parse_conll(lines, "x")) == [
        {
            "doc_key": "cctv/00/cctv_0001",
            "genre": "bc",
            "part": 3,
            "sentences": [["In", "it"]],
            "speaker_ids": [["Speaker#1", "Speaker#1"]],
            "clusters": [[[0, 0]], [[0, 1]]],
        }
    ]


BEGIN, END = "#begin document (a); part 000", "#end document"


def token(cell: str) -> str:
    return "\t".join(["a", "0", "0", "字", "-", "*", "-", "-", "-", "A", "*", cell])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([BEGIN, token("0)"), END], "x:2: a mention of cluster 0 closes that was never opened"),
        ([BEGIN, token("(0"), END], "x:3: document 'a' ends while a mention of cluster 0 is open"),
        ([BEGIN, token("zero"), END], "x:2: 'zero' in the last column, "),
        ([BEGIN, token("7"), END], "x:2: '7' in the last column, "),
        ([BEGIN, "a 0 0 字", END], "x:2: '字' in the last column, expected '(3', '3)', '(3)' or '-'"),
        ([BEGIN, BEGIN], "x:2: a document begins before 'a' has ended (#end document)"),
        ([BEGIN, token("-")], "x: document 'a' does not end (#end document)"),
        ([END], "x:1: #end document without its #begin document"),
        ([token("-")], "x:1: text outside a document"),
    ],
)
def test_broken_conll(lines: list[str], message: str) -> None:
    with pytest.raises(ExportError) as error:
        list(parse_conll(lines, "x"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "a.jsonlines, line 2: not JSON"),
        ("[1]", "a.jsonlines, line 2: expected an object with 'clusters', found [1]"),
        ('{"doc_key": "a_0"}', 'a.jsonlines, line 2: expected an object with \'clusters\', found {"doc_key": "a_0"}'),
        ('{"clusters": [], "clusters": []}', "the key 'clusters' stands twice in one object"),
        ("[" * 100_000, "a.jsonlines, line 2: JSON nested too deep"),
    ],
)
def test_broken_jsonlines(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonlines").write_text(jsonlines_line(NESTED) + line, encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is compared)
        list(read_jsonlines(tmp_path / "a.jsonlines"))
    assert message in str(error.value)


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_bytes("#begin document (甲); part 000".encode("gb18030"))
    with pytest.raises(ExportError, match=r"a\.conll: not UTF-8"):
        list(read_conll(tmp_path / "a.conll"))


def test_jsonlines_have_the_family_s_keys() -> None:
    example = json.loads(jsonlines_line(NESTED))
    assert example["doc_key"] == "wb/7000000000000000001_0"  # two letters of genre, then the part
    assert example["speakers"] == [["A"] * 5, ["B"] * 5]
    assert example["clusters"] == NESTED["clusters"]
    assert example["sentence_map"] == [0] * 5 + [1] * 5
    assert example["subtoken_map"] == list(range(10))


def test_what_would_not_come_back_is_refused(tmp_path: Path) -> None:
    record = make_record([["字"]], [], genre="w/b")
    with pytest.raises(ExportError, match="the genre 'w/b' has a '/'"):
        export([record], tmp_path / "out", "conll")
    assert list(tmp_path.iterdir()) == []


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unknown format 'xml'; one of conll, jsonlines, chinese-clip was expected"):
        export([], tmp_path / "out", "xml")


def test_chinese_clip(sample_corpus: Path, tmp_path: Path) -> None:
    files = find_files(sample_corpus)
    pictures = {"frames_dir": sample_corpus / "frames", "regions_dir": sample_corpus / "faces_all"}
    records = {record["doc_key"]: record for record in read_corpus(files, problems=[], **pictures)}
    counts = export(records.values(), tmp_path / "clip", "chinese-clip")
    boxes = sum(len(record["visual_annotations"]) for record in records.values())
    assert sum(counts[f"{split}_imgs.tsv"] for split in ("train", "valid", "test")) == boxes > 0

    image_ids, text_ids = [], []
    for prefix in ("train", "valid", "test"):
        images = dict(line.split("\t") for line in (tmp_path / "clip" / f"{prefix}_imgs.tsv").read_text().splitlines())
        image_ids += images
        regions = [json.loads(line) for line in (tmp_path / "clip" / f"{prefix}_regions.jsonl").open(encoding="utf-8")]
        for region in regions:
            box = records[region["doc_key"]]["visual_annotations"][region["box"]]
            assert base64.b64decode(images[str(region["image_id"])]) == Path(box["region"]).read_bytes()
        labels = {region["image_id"]: (region["doc_key"], region["label"]) for region in regions}
        for line in (tmp_path / "clip" / f"{prefix}_texts.jsonl").open(encoding="utf-8"):
            text = json.loads(line)
            record = records[text["doc_key"]]
            text_ids.append(text["text_id"])
            assert text["text"] == query_text(record, text["cluster"])
            assert text["image_ids"]
            wanted = (record["doc_key"], record["entity_labels"][text["cluster"]])
            assert [labels[image] for image in text["image_ids"]] == [wanted] * len(text["image_ids"])
    assert len(set(image_ids)) == len(image_ids)  # numbers are unique over the splits
    assert sorted(text_ids) == list(range(len(text_ids)))


def test_chinese_clip_cuts_regions_out_of_frames(tmp_path: Path) -> None:
    frame = Image.new("RGB", (40, 30), "white")
    frame.paste("red", (10, 5, 20, 15))
    frame.save(tmp_path / "frame.png")
    box = {"box_labels": "C1", "bbox": [10, 5, 20, 15], "frame": str(tmp_path / "frame.png"), "region": None}
    without = {**box, "frame": None}
    record = make_record(
        [["她", "好"]], [[[0, 0]]], entity_labels=["C1"], visual_annotations=[without, box], split="test"
    )
    counts = export([record], tmp_path / "clip", "chinese-clip")
    assert counts["test_imgs.tsv"] == counts["test_texts.jsonl"] == 1  # a region without any picture is left out
    number, picture = (tmp_path / "clip" / "test_imgs.tsv").read_text().split("\t")
    assert number == "0"
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.size == (10, 10)
        assert image.convert("RGB").getcolors() == [(100, (255, 0, 0))]


@pytest.mark.parametrize(
    "bbox", [[50, 5, 60, 15], [-1, 0, 10, 10], [0, 0, 41, 30], [0, 0, 10**9, 10**9], [9, 9, 9, 20]]
)
def test_chinese_clip_refuses_a_box_that_is_not_within_its_frame(tmp_path: Path, bbox: list[int]) -> None:
    Image.new("RGB", (40, 30), "white").save(tmp_path / "frame.png")
    box = {"box_labels": "C1", "bbox": bbox, "frame": str(tmp_path / "frame.png"), "region": None}
    record = make_record([["她"]], [[[0, 0]]], entity_labels=["C1"], visual_annotations=[box])
    with pytest.raises(ExportError) as error:
        export([record], tmp_path / "clip", "chinese-clip")
    place = "7000000000000000001, visual_annotations[0]"
    assert str(error.value).startswith(f"{place}: the bbox {bbox} is not within its frame of 40 x 30 pixels; correct")
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize("column", ["frame", "region"])
@pytest.mark.parametrize("content", [b"root:x:0:0", b"", b"\x89PNG\r\n\x1a\n"])
def test_chinese_clip_refuses_what_is_no_picture(tmp_path: Path, column: str, content: bytes) -> None:
    box = {"box_labels": "C1", "bbox": [0, 0, 5, 5], "frame": None, "region": None} | {column: {"bytes": content}}
    record = make_record([["她"]], [[[0, 0]]], entity_labels=["C1"], visual_annotations=[box])
    with pytest.raises(ExportError, match=rf"visual_annotations\[0\]: its {column} is (no|a damaged) picture"):
        export([record], tmp_path / "clip", "chinese-clip")
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize("label", ["none", ""])
def test_chinese_clip_gives_a_box_of_nobody_to_no_cluster(tmp_path: Path, label: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    box = {"box_labels": label, "bbox": [0, 0, 5, 5], "frame": None, "region": {"bytes": data.getvalue()}}
    record = make_record([["她"]], [[[0, 0]]], entity_labels=[label], visual_annotations=[box])
    counts = export([record], tmp_path / "clip", "chinese-clip")
    assert (counts["train_imgs.tsv"], counts["train_texts.jsonl"]) == (1, 0)


def test_chinese_clip_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no head region has a picture.*--regions-dir"):
        export([NESTED], tmp_path / "clip", "chinese-clip")
    assert not (tmp_path / "clip").exists()


def test_query_text_names_a_cluster_by_its_mentions() -> None:
    assert query_text(NESTED, 0) == "小王的妈妈、她：小王的妈妈，她说小王好"
    assert query_text(NESTED, 1) == "小王：小王的妈妈，她说小王好"
