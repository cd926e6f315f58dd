"""The reader of the annotation files: generations, canonical records, and every way in which a file can be wrong."""

import copy
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from dataset_corpora import (
    ANNOTATIONS,
    ERRORS,
    WARNINGS,
    edited,
    make_record,
    make_records,
    make_splits,
    write_corpus,
    write_lines,
)

from tiktalkcoref import tiktalkcoref_dataset as dataset
from tiktalkcoref.corpus.checks import check, file_name_of
from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.lines import decode, read_lines
from tiktalkcoref.corpus.problems import CorpusError
from tiktalkcoref.corpus.reading import find_problems, read_corpus
from tiktalkcoref.corpus.records import Annotation, boxes_of_clusters, canonical, mention_text, tokens_of

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


def test_own_sentence_map_is_kept(tmp_path):
    own = [[0] * 4 + [1] * 5, [2] * 5]
    (record,) = read_corpus(write_corpus(tmp_path, [edited(sentence_map=own)]))
    assert record["sentence_map"] == own


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
    assert "1 warning, the first: " + str(problems[0]) in caplog.text


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
    """Whatever is put where: no crash, and what is let through keeps what a record promises."""
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
    minded = sound = 0
    for _ in range(4000):
        record = make_record()
        for _ in range(generator.randint(1, 2)):
            damage(record, generator, values)
        annotation, _, faults = decode(json.dumps(record).encode(), Annotation)
        faults += check(annotation) if annotation is not None else []
        minded += bool(faults)
        if all(fault.severity == "warning" for fault in faults):
            sound += 1
            assert_sound(canonical(annotation, "celeb", "train", None))
    assert minded > 1000
    assert sound > 100
    annotation, _, faults = decode(json.dumps(make_record()).encode(), Annotation)
    assert not [*faults, *check(annotation)]


def assert_sound(record: dict) -> None:
    """What everybody who takes a canonical record relies on, said again and otherwise."""
    tokens = [token for sentence in record["sentences"] for token in sentence]
    assert tokens
    lengths = [len(sentence) for sentence in record["sentences"]]
    for name in ("speaker_ids", "sentence_map", "subtoken_map"):
        assert [len(row) for row in record[name]] == lengths
    mentions = {(start, end, i) for i, cluster in enumerate(record["clusters"]) for start, end in cluster}
    assert len({(start, end) for start, end, _ in mentions}) == len(mentions)  # each is in one cluster
    assert all(0 <= start <= end < len(tokens) for start, end, _ in mentions)
    assert all(record["clusters"])
    assert len(record["entity_labels"]) == len(record["clusters"])
    labels = {box["box_labels"] for box in record["visual_annotations"]}
    assert {label for label in record["entity_labels"] if label != "none"} <= labels
    for box in record["visual_annotations"]:
        x1, y1, x2, y2 = box["bbox"]
        assert 0 <= x1 < x2 < 2**31 > y2 > y1 >= 0
        assert all(".." not in Path(box[name]).parts for name in ("cur_frame_path", "region_image_path"))
    row = {**record, "video_type": 0}
    for column in dataset.corpus_features().arrow_schema:
        pa.array([row[column.name]], column.type)


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


# ---------------------------------------------------------------------------------------------- lines, keys, cut files


def corpus_of_line(folder, line):
    """A corpus of the one dialogue 101, whose line is this text."""
    files = write_corpus(folder, [make_record()])
    write_lines(files.annotations, [line])
    return files


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"genre"', '"clusters": [], "genre"', "clusters"),
        ('"cur_frame"', '"bbox": [1, 2, 3, 4], "cur_frame"', "bbox"),
        ('"genre"', '"note": 1, "note": 1, "genre"', "note"),
        ('"cur_frame"', '"cur_frame": 1, ' * 4 + '"cur_frame"', "cur_frame"),
        ('"celebrity": "none"', '"celebrity": "none", "box_labels" : "C2"', "box_labels"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, old, new, field):
    line = json.dumps(make_record(), ensure_ascii=False).replace(old, new, 1)
    files = corpus_of_line(tmp_path, line)
    with pytest.raises(CorpusError, match=f"line 1, doc_key 101, field {field}: stands twice in the record"):
        list(read_corpus(files))


def test_a_key_that_stands_twice_in_the_small_files(tmp_path):
    entry = '{"video_id": "101", "split": "val", "video_type": "celeb", "split": "test"}'
    files = write_corpus(tmp_path, make_records(1), [entry])
    write_lines(files.titles, ['{"video_id": "101", "title": "a: b", "title": "c"}'])
    assert [(problem.file, problem.field) for problem in find_problems(files)][:2] == [
        (str(files.splits), "split"),
        (str(files.titles), "title"),
    ]


def test_colons_and_unknown_keys_are_no_fault(tmp_path):
    record = edited(genre="a: b", sentences__0__0=":")
    record["clusters_str"] = [[":陈", "她哥"], [":陈的妹妹", "她"], ["哥"]]
    (read,) = read_corpus(write_corpus(tmp_path, [{**record, "note": {"a": [1]}}]), strict=True)
    assert read["genre"] == "a: b"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_lines_end_at_line_feeds_alone(tmp_path, separator):
    record = edited(sentences__0__0=separator)
    record["clusters_str"] = [[f"{separator}陈", "她哥"], [f"{separator}陈的妹妹", "她"], ["哥"]]
    line = json.dumps(record, ensure_ascii=False)
    (read,) = read_corpus(corpus_of_line(tmp_path, line), problems=[])
    assert read["sentences"][0][0] == separator


@pytest.mark.parametrize("value", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000])
@pytest.mark.parametrize("key", ["note", "clusters_str"])
def test_deep_nesting_is_an_error_of_its_line(tmp_path, key, value):
    record = make_record()
    del record["clusters_str"]
    line = json.dumps(record)[:-1] + f', "{key}": {value}}}'
    files = corpus_of_line(tmp_path, line)
    with pytest.raises(CorpusError, match="line 1: broken JSON: nested too deeply"):
        list(read_corpus(files))


def test_fewer_annotations_than_the_split_file_names(tmp_path, caplog):
    records = make_records(6)
    files = write_corpus(tmp_path, records[:2], make_splits(records))
    assert len(list(read_corpus(files))) == 2
    assert "doc_key 103, field video_id: the first of 4 dialogues that" in caplog.text
    with pytest.raises(CorpusError, match=r"the first of 4 dialogues .* is it cut short.*strict=True"):
        list(read_corpus(files, strict=True))
    assert [problem.severity for problem in find_problems(files)] == ["warning"]


def test_all_wrong_types_of_a_record_are_listed(tmp_path):
    record = edited(genre=3, visual_annotations__0__bbox=[1, 2], visual_annotations__1__cur_frame=-1)
    record["sentence_map"] = [["a"]]
    assert sorted(problem.field for problem in find_problems(write_corpus(tmp_path, [record]))) == [
        "genre",
        "sentence_map",
        "visual_annotations[0].bbox",
        "visual_annotations[1].cur_frame",
    ]


def test_published_files_are_known_by_their_sums(upstream, tmp_path):
    for revision in ("8d346bf", "db84797"):
        assert find_files(upstream, annotations=f"annotations.{revision}.jsonl").are_published()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join((upstream / "annotations.8d346bf.jsonl").read_bytes().splitlines(keepends=True)[:20]))
    files = find_files(upstream, annotations=cut)
    assert not files.are_published()
    assert [problem.severity for problem in find_problems(files)] == ["warning"]


# ------------------------------------------------------------------------------------------------- edges of the rules


def faults_of(record):
    """(field, message) of each fault of a record, as decoding and the checks find them."""
    annotation, _, faults = decode(json.dumps(record, ensure_ascii=False).encode(), Annotation)
    return [(field, message) for _, field, message in [*faults, *(check(annotation) if annotation else [])]]


def test_places_of_lines(tmp_path):
    path = tmp_path / "lines"
    for head in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(head + b"{}\r\n \n\n[1]\n\xef\xbb\xbf2")
        lines = list(read_lines(path))
        assert [(number, raw) for number, _, raw in lines] == [(1, b"{}\r\n"), (4, b"[1]\n"), (5, b"\xef\xbb\xbf2")]
        content = path.read_bytes()
        assert [content[start : start + len(raw)] for _, start, raw in lines] == [raw for *_, raw in lines]


def test_spans_out_of_range_say_nothing_of_the_texts():
    ((field, _),) = faults_of(edited(clusters__2__0=[10, 14]))
    assert field == "clusters[2][0]"


def test_parts_of_a_canonical_record():
    record = edited(visual_annotations__1__box_labels="C1", entity_labels=["C1", "C2", "none"])
    record["visual_annotations"].append({**record["visual_annotations"][0], "box_labels": "none"})
    assert boxes_of_clusters(record) == [[0, 1], [], []]
    tokens = tokens_of(record)
    assert tokens == list("小陈的妹妹唱得真好她哥也会唱")
    assert [mention_text(tokens, mention) for mention in ([0, 1], [9, 10], [2, 2])] == ["小陈", "她哥", "的"]


def test_the_largest_numbers_of_a_column_are_sound():
    largest = 2**31 - 1
    assert faults_of(edited(visual_annotations__0__bbox=[0, 0, largest, largest])) == []
    assert faults_of(edited(visual_annotations__0__cur_frame=largest)) == []
    assert [field for field, _ in faults_of(edited(visual_annotations__0__cur_frame=largest + 1))] == [
        "visual_annotations[0].cur_frame"
    ]


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ([0, 0, 0, 5], "is empty"),
        ([0, 5, 4, 5], "is empty"),
        ([6, 0, 5, 9], "is empty"),
        ([0, 0, 5, -1], "negative coordinate"),
        ([0, -1, 5, 6], "negative coordinate"),
        ([0, 0, 2**31, 6], "out of range"),
        ([2**31 - 1, 0, 2**31 - 1, 6], "is empty"),
    ],
)
def test_what_is_wrong_with_a_box(bbox, message):
    ((field, found),) = faults_of(edited(visual_annotations__0__bbox=bbox))
    assert field == "visual_annotations[0].bbox"
    assert message in found


def test_labels_under_both_names_are_told_by_the_one_that_is_read():
    record = {**edited(entity_labels=["C1", "C2"]), "entity_label": ["C1", "C2", "none"]}
    assert faults_of(record) == [("entity_labels", "2 labels for 3 clusters, expected one a cluster")]
    record["entity_label"] = record.pop("entity_labels")
    assert faults_of(record) == [("entity_label", "2 labels for 3 clusters, expected one a cluster")]


@pytest.mark.parametrize(("length", "shown"), [(78, "a" * 78 + "'"), (79, "a" * 79 + "…")])
def test_long_values_are_cut_in_messages(length, shown):
    assert faults_of(edited(sentences="a" * length)) == [
        ("sentences", f"found '{shown}, expected lists of tokens, one an utterance")
    ]


def test_json_that_only_python_reads_is_refused():
    line = json.dumps(make_record())[:-1] + ', "note": NaN}'
    annotation, doc_key, ((severity, field, message),) = decode(line.encode(), Annotation)
    assert (annotation, doc_key, severity, field) == (None, "101", "error", None)
    assert message.startswith("broken JSON: JSON is malformed: ")
    assert message.endswith(". Expected one JSON object a line")


@pytest.mark.parametrize("path", ["x.jpg", "a/b/x.jpg", "/a/x.jpg", "C:\\a\\b\\x.jpg", "a\\b/x.jpg", "a/./x.jpg"])
def test_file_name_of_a_path(path):
    assert file_name_of(path) == "x.jpg"


@pytest.mark.parametrize("path", ["", ".", "a/", "a/.", "a\\", "x\0.jpg", "..", "../x.jpg", "a\\..\\x.jpg"])
def test_paths_that_name_no_picture(path):
    with pytest.raises(ValueError, match=r"^refused "):
        file_name_of(path)


def test_what_may_be_missing_hides_no_wrong_type():
    assert [field for field, _ in faults_of(edited(genre=None, sentence_map=[["a"]]))] == ["sentence_map"]


def test_what_is_missing_gets_its_canonical_form():
    record = edited(genre=None, visual_annotations__0__box_labels="", entity_labels__0="none")
    annotation, _, _ = decode(json.dumps(record).encode(), Annotation)
    found = canonical(annotation, "celeb", "train", None)
    assert (found["genre"], found["video_title"], found["visual_annotations"][0]["box_labels"]) == ("", "", "none")


def test_a_key_of_one_character_is_sound():
    assert faults_of(make_record("7")) == []


def test_a_box_that_is_no_object_is_named():
    assert faults_of(edited(visual_annotations__1=5)) == [("visual_annotations[1]", "found 5, expected an object")]
