"""The reader of the annotation files: generations, canonical records, and every way in which a file can be wrong."""

import copy
import json
import random
from pathlib import Path

import pytest

from tiktalkcoref import tiktalkcoref_dataset as dataset
from tiktalkcoref.tiktalkcoref_dataset import CorpusError, CorpusFiles, find_files, find_problems, read_corpus

ANNOTATIONS = "all_textual_and_visual_annotations.jsonl"
TYPES = ("celeb", "no_celeb")


def make_record(key: str = "101") -> dict:
    """An invented dialogue with a nested mention, a chain over both utterances and two boxes."""
    sentences = [list("小陈的妹妹唱得真好"), list("她哥也会唱")]
    box = {
        "cur_frame": 7,
        "cur_frame_path": f"/home/them/frames/{key}/{key}_7_1.jpg",
        "bbox": [10, 20, 30, 44],
        "box_labels": "C1",
        "celebrity": "陈小",
        "region_image_path": f"/home/them/faces_all/{key}_7_1_C1.jpg",
    }
    other = {**box, "cur_frame": 9, "box_labels": "C2", "celebrity": "none", "bbox": [0, 0, 5, 6]}
    other["region_image_path"] = f"/home/them/faces_all/{key}_9_1_C2.jpg"
    other["cur_frame_path"] = f"/home/them/frames/{key}/{key}_9_1.jpg"
    return {
        "doc_key": key,
        "genre": "wb",
        "sentences": sentences,
        "clusters": [[[0, 1], [9, 10]], [[0, 4], [9, 9]], [[10, 10]]],
        "clusters_str": [["小陈", "她哥"], ["小陈的妹妹", "她"], ["哥"]],
        "speaker_ids": [["A"] * 9, ["B"] * 5],
        "sentence_map": [[0] * 9, [1] * 5],
        "subtoken_map": [list(range(9)), list(range(9, 14))],
        "entity_labels": ["C1", "C2", "none"],
        "visual_annotations": [box, other],
    }


def make_records(n: int = 6) -> list[dict]:
    return [make_record(str(101 + i)) for i in range(n)]


def make_splits(records: list[dict]) -> list[dict]:
    """Alternating video types, the splits in turn."""
    return [
        {"video_id": record["doc_key"], "video_type": TYPES[i % 2], "split": ("train", "val", "test")[i // 2 % 3]}
        for i, record in enumerate(records)
    ]


def write_lines(path: Path, values: list) -> Path:
    """One JSON value a line; texts are written as they are."""
    lines = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_corpus(folder: Path, records: list | None = None, splits: list | None = None) -> CorpusFiles:
    """A corpus under upstream's names; `records` may hold texts, for lines that are no JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    records = make_records() if records is None else records
    sound = [record for record in records if isinstance(record, dict) and isinstance(record.get("doc_key"), str)]
    splits = make_splits(sound) if splits is None else splits
    return CorpusFiles(
        annotations=write_lines(folder / ANNOTATIONS, records),
        splits=write_lines(folder / "split.jsonl", splits),
        titles=write_lines(
            folder / "video_titles.jsonl",
            [{"video_id": record["doc_key"], "title": f"题目{record['doc_key']}"} for record in sound],
        ),
    )


def edited(**changes) -> dict:
    """`make_record` with a change at each path: `visual_annotations__0__bbox=[...]`; None takes a key away."""
    record = make_record()
    for path, value in changes.items():
        *parents, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        target = record
        for step in parents:
            target = target[step]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return record


# -------------------------------------------------------------------------------------------------- canonical records


def test_canonical_record(tmp_path):
    record, *others = read_corpus(write_corpus(tmp_path))
    source = make_record()
    for name in ("doc_key", "genre", "sentences", "speaker_ids", "sentence_map", "subtoken_map", "clusters"):
        assert record[name] == source[name]
    assert record["clusters_str"] == source["clusters_str"]
    assert record["entity_labels"] == ["C1", "C2", "none"]
    assert record["video_title"] == "题目101"
    assert (record["video_type"], record["split"]) == ("celeb", "train")
    assert record["visual_annotations"][0] == {**source["visual_annotations"][0], "frame": None, "region": None}
    assert [(other["video_type"], other["split"]) for other in others] == [
        ("no_celeb", "train"),
        ("celeb", "validation"),
        ("no_celeb", "validation"),
        ("celeb", "test"),
        ("no_celeb", "test"),
    ]
    assert set(record) == {*dataset.corpus_features(), "split"}


def newest_names(record: dict) -> dict:
    record["entity_label"] = record.pop("entity_labels")
    for box in record["visual_annotations"]:
        box["if_celebrity"] = box.pop("celebrity")
    return record


def empty_for_none(record: dict) -> dict:
    for box in record["visual_annotations"]:
        box["celebrity"] = "" if box["celebrity"] == "none" else box["celebrity"]
    record["entity_labels"] = ["" if label == "none" else label for label in record["entity_labels"]]
    return record


def without(*names: str):
    def change(record: dict) -> dict:
        for name in names:
            del record[name]
        return record

    return change


def key_last(record: dict) -> dict:
    record["doc_key"] = record.pop("doc_key")
    return record


@pytest.mark.parametrize(
    "change",
    [
        newest_names,
        empty_for_none,
        lambda record: newest_names(empty_for_none(record)),
        without("subtoken_map"),
        without("subtoken_map", "sentence_map", "clusters_str"),
        key_last,
    ],
    ids=["newest-names", "empty-for-none", "newest", "no-subtoken-map", "no-maps", "key-last"],
)
def test_every_generation_reads_the_same(tmp_path, change):
    expected = list(read_corpus(write_corpus(tmp_path / "a")))
    files = write_corpus(tmp_path / "b", [change(record) for record in make_records()])
    assert list(read_corpus(files, strict=True)) == expected


@pytest.mark.parametrize("name", ["val", "dev", "validation"])
def test_names_of_the_validation_split(tmp_path, name):
    records = make_records(2)
    splits = [{**entry, "split": name} for entry in make_splits(records)]
    assert {record["split"] for record in read_corpus(write_corpus(tmp_path, records, splits))} == {"validation"}


def test_own_subtoken_map_is_kept(tmp_path):
    own = [[0] * 9, [1] * 5]
    (record,) = read_corpus(write_corpus(tmp_path, [edited(subtoken_map=own)]))
    assert record["subtoken_map"] == own


def test_blank_lines_windows_line_ends_and_byte_order_mark(tmp_path):
    expected = list(read_corpus(write_corpus(tmp_path / "a")))
    files = write_corpus(tmp_path / "b")
    for path in (files.annotations, files.splits, files.titles):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert list(read_corpus(files)) == expected


def test_reading_is_lazy(tmp_path):
    """The first records come before a broken line further down is met."""
    records = read_corpus(write_corpus(tmp_path, [*make_records(2), "{"], make_splits(make_records(2))))
    assert next(records)["doc_key"] == "101"
    assert next(records)["doc_key"] == "102"
    with pytest.raises(CorpusError, match="line 3"):
        next(records)


# ------------------------------------------------------------------------------------------------------------- faults

ERRORS = {
    "offsets out of range": (
        edited(clusters__2__0=[10, 14]),
        "clusters[2][0]",
        "offsets [10, 14] out of range: the dialogue has tokens 0 to 13",
    ),
    "negative offset": (edited(clusters__0__0=[-1, 1]), "clusters[0][0]", "offsets [-1, 1] out of range"),
    "reversed offsets": (edited(clusters__0__1=[10, 9]), "clusters[0][1]", "reversed offsets [10, 9]"),
    "no mention": (edited(clusters__2__0=[10]), "clusters[2][0]", "found [10], expected [start, end]"),
    "empty cluster": (edited(clusters__2=[]), "clusters[2]", "found [], expected a list of at least one mention"),
    "mention in two clusters": (
        edited(clusters__2__0=[9, 9]),
        "clusters[2][0]",
        "mention [9, 9] is in two clusters, 1 and 2",
    ),
    "speakers of another length": (
        edited(speaker_ids__1=["B"] * 4),
        "speaker_ids",
        "lengths [9, 4] differ from those of sentences, [9, 5]: the arrays must be parallel",
    ),
    "sentence map of another length": (edited(sentence_map__0=[0]), "sentence_map", "lengths [1, 5] differ"),
    "subtoken map of another length": (edited(subtoken_map=[[0]]), "subtoken_map", "lengths [1] differ"),
    "subtoken map of texts": (edited(subtoken_map__0=["0"] * 9), "subtoken_map", "expected lists of whole numbers"),
    "no speakers": (edited(speaker_ids=None), "speaker_ids", "missing, expected lists of texts"),
    "no sentences": (edited(sentences=None), "sentences", "missing, expected lists of tokens"),
    "no tokens": (edited(sentences=[[], []]), "sentences", "found [[], []], expected lists of tokens"),
    "no clusters": (edited(clusters=None), "clusters", "missing, expected a list of clusters"),
    "labels and clusters of different counts": (
        edited(entity_labels=["C1", "C2"]),
        "entity_labels",
        "2 labels for 3 clusters, expected one a cluster",
    ),
    "no labels": (edited(entity_labels=None), "entity_labels", "missing, expected a list of texts"),
    "empty box": (
        edited(visual_annotations__1__bbox=[30, 20, 30, 44]),
        "visual_annotations[1].bbox",
        "[30, 20, 30, 44] is empty, expected x1 < x2 and y1 < y2",
    ),
    "negative box": (
        edited(visual_annotations__0__bbox=[-1, 20, 30, 44]),
        "visual_annotations[0].bbox",
        "[-1, 20, 30, 44] has a negative coordinate",
    ),
    "box of three numbers": (edited(visual_annotations__0__bbox=[1, 2, 3]), "visual_annotations[0].bbox", "[1, 2, 3]"),
    "box too far out": (
        edited(visual_annotations__0__bbox=[1, 2, 3, 2**31]),
        "visual_annotations[0].bbox",
        "out of range",
    ),
    "no frame number": (
        edited(visual_annotations__0__cur_frame="7"),
        "visual_annotations[0].cur_frame",
        "found '7', expected a frame number",
    ),
    "cluster label with no box": (
        edited(entity_labels__2="C3"),
        "entity_labels[2]",
        "no box bears the label 'C3' of cluster 2",
    ),
    "path that leaves the folder": (
        edited(visual_annotations__0__region_image_path="/home/them/../../etc/x.jpg"),
        "visual_annotations[0].region_image_path",
        "refused '/home/them/../../etc/x.jpg': `..` leaves the folder of pictures",
    ),
    "path that leaves a Windows folder": (
        edited(visual_annotations__0__cur_frame_path="C:\\them\\..\\x.jpg"),
        "visual_annotations[0].cur_frame_path",
        "`..` leaves the folder of pictures",
    ),
    "path without a file name": (
        edited(visual_annotations__0__region_image_path="/home/them/"),
        "visual_annotations[0].region_image_path",
        "it names no file",
    ),
}

WARNINGS = {
    "box label that no cluster bears": (
        edited(visual_annotations__1__box_labels="C9", entity_labels__1="none"),
        "visual_annotations[1].box_labels",
        "no cluster bears the label 'C9' of this box",
    ),
    "texts that disagree with the spans": (
        edited(clusters_str__0__0="小张"),
        "clusters_str",
        "disagrees with the spans, which say [['小陈', '她哥'], ['小陈的妹妹', '她'], ['哥']]: the spans are taken",
    ),
    "mention listed twice": (
        edited(clusters__2=[[10, 10], [10, 10]], clusters_str__2=["哥", "哥"]),
        "clusters[2][1]",
        "mention [10, 10] is listed twice in the cluster",
    ),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_errors_of_a_record(tmp_path, fault):
    record, field, message = copy.deepcopy(ERRORS[fault])
    record["doc_key"] = "109"
    files = write_corpus(tmp_path, [*make_records(2), record])
    with pytest.raises(CorpusError) as error:
        list(read_corpus(files))
    assert str(error.value).startswith(f"{files.annotations}, line 3, doc_key 109, field {field}: ")
    assert message in str(error.value)
    assert error.value.problem.severity == "error"
    problems = list(find_problems(files))
    assert error.value.problem == problems[0]
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("fault", WARNINGS)
def test_warnings_of_a_record(tmp_path, fault, caplog):
    record, field, message = WARNINGS[fault]
    files = write_corpus(tmp_path, [record])
    problems = []
    (canonical,) = read_corpus(files, problems=problems)
    assert canonical["clusters"] == record["clusters"]
    assert [(p.severity, p.line, p.doc_key, p.field) for p in problems] == [("warning", 1, "101", field)]
    assert message in problems[0].message
    assert problems == list(find_problems(files))
    with pytest.raises(CorpusError, match="strict=True") as error:
        list(read_corpus(files, strict=True))
    assert message in str(error.value)
    assert not caplog.records  # they were collected
    list(read_corpus(files))
    assert "1 warnings, the first: " + str(problems[0]) in caplog.text


def test_spans_win_over_texts(tmp_path):
    (record,) = read_corpus(write_corpus(tmp_path, [WARNINGS["texts that disagree with the spans"][0]]))
    assert record["clusters_str"] == make_record()["clusters_str"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 3: broken JSON: Expecting property name enclosed in double quotes (column 2)"),
        ('{"doc_key": "103", "genre"', "line 3: broken JSON: Expecting ':' delimiter"),
        ("[1, 2]", "line 3: found a JSON list, expected one JSON object a line"),
        ("{} {}", "line 3: broken JSON: Extra data"),
        ("[" * 100_000, "line 3: broken JSON: nested too deeply"),
        ('{"doc_key": "\\ud800"}', "line 3: broken JSON: an escape names half a surrogate pair"),
        ("{}", "line 3, field doc_key: missing, expected the video's id"),
        ('{"doc_key": ""}', "line 3, field doc_key: found ''"),
        ('{"doc_key": 12}', "line 3, field doc_key: found 12"),
    ],
)
def test_errors_of_a_line(tmp_path, line, message):
    files = write_corpus(tmp_path, [*make_records(2), line])
    with pytest.raises(CorpusError) as error:
        list(read_corpus(files))
    assert message in str(error.value)
    assert [str(problem) for problem in find_problems(files)] == [str(error.value)]


def test_duplicate_doc_key(tmp_path):
    records = make_records(2)
    files = write_corpus(tmp_path, [*records, make_record("101")], make_splits(records))
    write_lines(files.titles, [{"video_id": record["doc_key"], "title": "x"} for record in records])
    with pytest.raises(CorpusError, match="line 3, doc_key 101, field doc_key: duplicate: line 1 has the same"):
        list(read_corpus(files))


def test_record_missing_from_the_split_file(tmp_path):
    records = make_records(3)
    files = write_corpus(tmp_path, records, make_splits(records)[:2])
    with pytest.raises(CorpusError, match=r"line 3, doc_key 103, field doc_key: not in the split file .*split\.jsonl"):
        list(read_corpus(files))


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"split": "trein"}, "field split: unknown split 'trein', expected one of train, val, dev, validation, test"),
        ({"split": None}, "field split: unknown split None"),
        ({"split": ["train"]}, r"field split: unknown split \['train'\]"),
        ({"video_type": "star"}, "field video_type: unknown video type 'star', expected one of celeb, no_celeb"),
    ],
)
def test_unknown_split_or_video_type(tmp_path, entry, place):
    records = make_records(2)
    splits = make_splits(records)
    splits[1].update(entry)
    files = write_corpus(tmp_path, records, splits)
    with pytest.raises(CorpusError, match=r"split\.jsonl, line 2, doc_key 102, " + place):
        list(read_corpus(files))
    assert len(list(find_problems(files))) == 1


def test_faults_of_the_split_and_title_files(tmp_path):
    records = make_records(2)
    files = write_corpus(tmp_path, records, [*make_splits(records), make_splits(records)[0], {"split": "test"}])
    write_lines(files.titles, [{"video_id": "101", "title": 3}, {"video_id": "102", "title": "x"}])
    found = [str(problem) for problem in find_problems(files)]
    assert [text.replace(f"{tmp_path}/", "") for text in found] == [
        "split.jsonl, line 3, doc_key 101, field video_id: duplicate: an earlier line has the same video_id",
        "split.jsonl, line 4, field video_id: missing, expected the video's id, a text",
        "video_titles.jsonl, line 1, doc_key 101, field title: found 3, expected a text",
        f"{ANNOTATIONS}, line 1, doc_key 101, field doc_key: no title in video_titles.jsonl: the title is left empty",
    ]


@pytest.mark.parametrize("role", ["annotations", "splits", "titles"])
def test_empty_file(tmp_path, role):
    files = write_corpus(tmp_path)
    getattr(files, role).write_bytes(b" \n\n")
    with pytest.raises(CorpusError, match=r"jsonl: the file is empty, expected one JSON object a line"):
        list(read_corpus(files))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
@pytest.mark.parametrize("role", ["annotations", "titles"])
def test_wrong_encoding(tmp_path, role, encoding):
    files = write_corpus(tmp_path)
    path = getattr(files, role)
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(CorpusError, match=r"line 1: wrong encoding: byte 0x.. at position \d+ is not UTF-8. Convert"):
        list(read_corpus(files))


def test_find_problems_goes_on(tmp_path):
    records = [copy.deepcopy(record) for record, _, _ in [*ERRORS.values(), *WARNINGS.values()]]
    for i, record in enumerate(records):
        record["doc_key"] = str(101 + i)
    files = write_corpus(tmp_path, [*records[:5], "{broken", *records[5:]])
    problems = list(find_problems(files))
    assert {problem.line for problem in problems} == set(range(1, len(records) + 2))
    assert sum(problem.severity == "warning" for problem in problems) >= len(WARNINGS)


def test_random_damage_is_never_overlooked():
    """The quick check may send a sound record to the thorough one, never wave an unsound one through."""
    generator = random.Random(0)
    values = [
        None,
        True,
        False,
        -1,
        0,
        1,
        9,
        2**31,
        1.0,
        "",
        "C1",
        "none",
        "好",
        [],
        [0, 1],
        [[0, 1]],
        {},
        "/a/..",
        "x/",
    ]
    minded = 0
    for _ in range(4000):
        record = make_record()
        for _ in range(generator.randint(1, 2)):
            damage(record, generator, values)
        problems = list(dataset._diagnose(record))
        minded += bool(problems)
        if dataset._is_regular(record):
            assert not problems
    assert minded > 1000
    assert dataset._is_regular(make_record())
    assert not list(dataset._diagnose(make_record()))


def damage(record: dict, generator: random.Random, values: list) -> None:
    """Put a random value at a random place, or take the place away."""
    target, key = record, generator.choice(list(record))
    while isinstance(target[key], list | dict) and target[key] and generator.random() < 0.8:
        target = target[key]
        key = generator.choice(list(target) if isinstance(target, dict) else range(len(target)))
    if generator.random() < 0.1:
        del target[key]
    else:
        target[key] = copy.deepcopy(generator.choice(values))


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "names",
    [
        ("all_textual_and_visual_annotations.jsonl", "split.jsonl", "video_titles.jsonl"),
        ("all_textual_and_visual_annotations_format.jsonl", "split.jsonl", "video_titles.jsonlines"),
        ("annotations.0123abc.jsonl", "split.jsonl", "video_titles"),
        ("data/all_textual_and_visual_annotations.jsonl", "data/split.jsonl", "video_titles.jsonlines"),
    ],
)
def test_find_files_under_every_name(tmp_path, names):
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / name).touch()
    files = find_files(tmp_path)
    assert [files.annotations, files.splits, files.titles] == [tmp_path / name for name in names]


def test_several_candidates_are_listed(tmp_path):
    write_corpus(tmp_path)
    write_lines(tmp_path / "annotations.0123abc.jsonl", [])
    with pytest.raises(CorpusError) as error:
        find_files(tmp_path)
    assert str(error.value) == (
        f"Several annotations files in {tmp_path}: {ANNOTATIONS}, annotations.0123abc.jsonl. "
        "Keep one of them, or say which with annotations=FILE."
    )
    assert find_files(tmp_path, annotations="annotations.0123abc.jsonl").annotations.name == "annotations.0123abc.jsonl"
    assert find_files(tmp_path, annotations=tmp_path / ANNOTATIONS).annotations == tmp_path / ANNOTATIONS


def test_missing_files(tmp_path):
    with pytest.raises(CorpusError, match=f"data_dir {tmp_path}/no is not a folder. The three files {ANNOTATIONS}"):
        find_files(tmp_path / "no")
    with pytest.raises(CorpusError, match=f"No annotations file in {tmp_path}: expected {ANNOTATIONS}"):
        find_files(tmp_path)
    write_corpus(tmp_path)
    with pytest.raises(CorpusError, match=r"titles: there is no file nowhere\.jsonl"):
        find_files(tmp_path, titles="nowhere.jsonl")
    with pytest.raises(CorpusError, match="No file given for splits"):
        find_files(annotations=tmp_path / ANNOTATIONS)


# ----------------------------------------------------------------------------------------------------- upstream's own


@pytest.mark.parametrize(("revision", "n_boxes", "n_warnings"), [("8d346bf", 881, 1), ("db84797", 1155, 274)])
def test_upstream_counts(upstream, revision, n_boxes, n_warnings):
    problems = []
    files = find_files(upstream, annotations=f"annotations.{revision}.jsonl")
    records = list(read_corpus(files, problems=problems))
    boxes = [(box["box_labels"], record) for record in records for box in record["visual_annotations"]]
    assert len(records) == 1012
    assert sum(len(cluster) for record in records for cluster in record["clusters"]) == 2179
    assert sum(len(record["clusters"]) for record in records) == 1435
    assert len(boxes) == n_boxes
    assert sum(label in record["entity_labels"] for label, record in boxes) == 881
    assert len(problems) == n_warnings
    assert {problem.severity for problem in problems} == {"warning"}
    assert problems == list(find_problems(files))


def test_upstream_generations_agree(upstream):
    newest, older = (
        list(read_corpus(find_files(upstream, annotations=f"annotations.{revision}.jsonl"), problems=[]))
        for revision in ("8d346bf", "db84797")
    )
    for name in ("doc_key", "video_type", "split", "video_title", "speaker_ids", "sentence_map"):
        assert [record[name] for record in newest] == [record[name] for record in older], name
    differing = [a["doc_key"] for a, b in zip(newest, older, strict=True) if a["clusters"] != b["clusters"]]
    assert len(differing) == 1  # upstream mended the spans of one dialogue and broke its texts
