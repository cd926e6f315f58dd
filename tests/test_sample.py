"""The sample corpus: readable by the builder, the same for a seed, and to be solved by reading and looking alone."""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain, combinations
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tiktalkcoref.cli import app
from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import find_problems
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation.baselines import RULES
from tiktalkcoref.sample import Dialogue, attribute_words, make_dialogues, write_sample
from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

PART_OF = {"帽子": "hat_colour", "头发": "hair_colour", "衣服": "clothes"}
KIND_OF = {
    "圆眼镜": ("eyewear", "glasses"),
    "大墨镜": ("eyewear", "sunglasses"),
    "大口罩": ("extra", "mask"),
    "大胡子": ("extra", "beard"),
    "大耳环": ("extra", "earrings"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "sample", seed=0, dialogues=120)


@pytest.fixture(scope="module")
def records(folder: Path) -> list[dict]:
    lines = (folder / "all_textual_and_visual_annotations_format.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def planned() -> list[Dialogue]:
    return make_dialogues(seed=0)


@pytest.fixture(scope="module")
def many() -> list[Dialogue]:
    """Enough dialogues to tell a guess from chance."""
    return make_dialogues(seed=1, dialogues=2400)


def texts_of(dialogue: Dialogue) -> list[list[str]]:
    text = "".join(dialogue.sentences)
    return [[text[start : end + 1] for start, end in cluster] for cluster in dialogue.clusters]


def described(text: str) -> set[tuple[str, str]]:
    """The attributes that a text names, read without the generator's own tables."""
    found = {(PART_OF[part], colour) for colour, part in re.findall("(.)(帽子|头发|衣服)", text)}
    return found | {trait for word, trait in KIND_OF.items() if word in text}


def linked(dialogues: list[Dialogue]) -> list[tuple[Dialogue, int, int]]:
    """Every link query: dialogue, cluster number, index of the right region."""
    return [
        (dialogue, number, [head.label for head in dialogue.heads].index(label))
        for dialogue in dialogues
        for number, label in enumerate(dialogue.labels)
        if label != "none"
    ]


def assert_at_chance(hits: list[bool], pools: list[int]) -> None:
    expected = sum(1 / pool for pool in pools)
    deviation = math.sqrt(sum((1 - 1 / pool) / pool for pool in pools))
    assert abs(sum(hits) - expected) < 3.3 * deviation, f"{sum(hits)} hits where chance gives {expected:.1f}"


# Format


def test_the_builder_reads_it_without_an_error(folder: Path) -> None:
    problems = list(find_problems(find_files(folder)))
    assert [problem for problem in problems if problem.severity == "error"] == []
    # as in one generation of upstream's file, people whom nobody mentions have boxes too
    assert all(problem.message.startswith("no cluster bears the label") for problem in problems)


def test_it_builds_with_its_pictures(folder: Path, tmp_path: Path) -> None:
    builder = TikTalkCoref(
        config_name="celeb",
        cache_dir=str(tmp_path),
        data_dir=str(folder),
        frames_dir=str(folder / "frames"),
        regions_dir=str(folder / "faces_all"),
    )
    builder.download_and_prepare()
    sizes = {split: builder.as_dataset(split=split).num_rows for split in ("train", "validation", "test")}
    assert sizes == {"train": 40, "validation": 10, "test": 10}
    boxes = [box for row in builder.as_dataset(split="test") for box in row["visual_annotations"]]
    assert boxes
    for box in boxes:
        x1, y1, x2, y2 = box["bbox"]
        assert box["region"].size == (x2 - x1, y2 - y1)
        assert 0 <= x1 < x2 <= box["frame"].width
        assert 0 <= y1 < y2 <= box["frame"].height
        assert box["celebrity"] != "none"


def test_records_have_upstream_keys_and_parallel_arrays(records: list[dict]) -> None:
    for record in records:
        assert list(record)[:5] == ["doc_key", "genre", "sentences", "clusters", "clusters_str"]
        assert {"speaker_ids", "sentence_map", "subtoken_map", "entity_label", "visual_annotations"} < set(record)
        lengths = [len(sentence) for sentence in record["sentences"]]
        for name in ("speaker_ids", "sentence_map", "subtoken_map"):
            assert [len(row) for row in record[name]] == lengths
        assert list(chain(*record["subtoken_map"])) == list(range(sum(lengths)))
        tokens = list(chain(*record["sentences"]))
        said = [["".join(tokens[a : b + 1]) for a, b in cluster] for cluster in record["clusters"]]
        assert said == record["clusters_str"]
        spans = [tuple(span) for cluster in record["clusters"] for span in cluster]
        assert len(spans) == len(set(spans))
        assert all(b < lengths[0] or a >= lengths[0] for a, b in spans), "a mention crosses the utterances"
        for box in record["visual_annotations"]:
            assert set(box) == {
                "cur_frame",
                "cur_frame_path",
                "bbox",
                "box_labels",
                "if_celebrity",
                "region_image_path",
            }


# Determinism and refusals


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return total.hexdigest()


def test_a_seed_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    script = "import sys; from tiktalkcoref.sample import write_sample; write_sample(sys.argv[1], 7, 24)"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / hash_seed)], env=environment, check=True)
    write_sample(tmp_path / "other", seed=8, dialogues=24)
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
    assert digest(tmp_path / "1") != digest(tmp_path / "other")


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_sample_has_every_split_and_type(seed: int) -> None:
    dialogues = make_dialogues(seed, 12)
    kinds = Counter((dialogue.split, dialogue.video_type) for dialogue in dialogues)
    assert {(split, kind) for split in ("train", "val", "test") for kind in ("celeb", "no_celeb")} == set(kinds)


def test_too_few_dialogues_are_refused() -> None:
    with pytest.raises(ValueError, match="dialogues is 11: the sample needs at least 12"):
        make_dialogues(0, 11)


def test_the_command_writes_and_writes_again_but_spares_foreign_files(tmp_path: Path) -> None:
    output = tmp_path / "sample"
    command = ["sample", "--output", str(output), "--dialogues", "12"]
    for _ in range(2):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "12 dialogues" in result.output
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match=r"notes\.txt"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert (output / "notes.txt").read_text() == "mine"


# Language


def test_balance_is_near_the_corpus(planned: list[Dialogue]) -> None:
    sizes = [len(cluster) for dialogue in planned for cluster in dialogue.clusters]
    assert 0.55 < sizes.count(1) / len(sizes) < 0.8
    assert 2 < sum(sizes) / len(planned) < 3
    assert 1.4 < len(sizes) / len(planned) < 2.5
    assert max(sizes) >= 4
    assert len([d for d in planned if d.split == "train"]) >= 320
    test = [d for d in planned if d.split == "test"]
    assert len(test) >= 60
    assert len(linked(test)) >= 100
    assert {len(dialogue.heads) for dialogue in planned} == {0, 2, 3, 4}
    labels = [label for dialogue in planned for label in dialogue.labels]
    assert 0.2 < labels.count("none") / len(labels) < 0.5
    pictured = [dialogue for dialogue in planned if dialogue.heads]
    assert any(head.label not in dialogue.labels for dialogue in pictured for head in dialogue.heads)


def test_first_and_second_person_flip_with_the_speaker(planned: list[Dialogue]) -> None:
    across = 0
    for dialogue in planned:
        first, owners = len(dialogue.sentences[0]), {}
        quoted = places("“.*?”", dialogue)
        for number, (cluster, words) in enumerate(zip(dialogue.clusters, texts_of(dialogue), strict=True)):
            for (start, _), word in zip(cluster, words, strict=True):
                if word in ("我", "你") and start not in quoted:
                    person = "A" if (word == "我") == (start < first) else "B"
                    assert owners.setdefault(person, number) == number, dialogue.sentences
            across += {"我", "你"} <= set(words)
        assert len(set(owners.values())) == len(owners)
    assert across >= 30


def test_first_and_second_person_in_quotation_marks_are_those_quoted(planned: list[Dialogue]) -> None:
    seen = Counter()
    for dialogue in planned:
        text = "".join(dialogue.sentences)
        owner = {start: number for number, cluster in enumerate(dialogue.clusters) for start, _ in cluster}
        for quote in re.finditer("“(.*?)”|《(.*?)》", text):
            spoken = [found.start() for found in re.compile("(?<!自)我|你").finditer(text, *quote.span())]
            by_a_person = re.search("对.*说$|问.*$|说$", text[: quote.start()].split("，")[-1])
            people = [texts_of(dialogue)[owner[place]][0] for place in spoken if place in owner]
            assert len(people) == (len(spoken) if by_a_person else 0), dialogue.sentences
            assert all(described(person) for person in people)
            seen.update(["person" if by_a_person else "nobody"] * len(spoken))
    assert min(seen["person"], seen["nobody"]) >= 40


def places(pattern: str, dialogue: Dialogue) -> set[int]:
    return {place for found in re.finditer(pattern, "".join(dialogue.sentences)) for place in range(*found.span())}


def test_only_the_deed_and_the_order_tell_who_he_is(many: list[Dialogue]) -> None:
    """What is said of the doer and of the other comes with either order: neither first nor last is a good guess."""
    firsts, by_words = [], {}
    deeds = "逗笑|教会|吓到|背起来|惹哭"
    for dialogue in many:
        text = "".join(dialogue.sentences)
        found = re.search(f"[把被].*(?:{deeds})了，?", text)
        sizes = [len(cluster) for cluster in dialogue.clusters[:2]]
        if found and sizes in ([1, 2], [2, 1]):
            firsts.append(sizes == [2, 1])
            by_words.setdefault(text[found.end() + 1 :][:3], set()).add(firsts[-1])
    assert len(firsts) > 150
    assert 0.4 < sum(firsts) / len(firsts) < 0.6
    assert sum(len(answers) == 2 for answers in by_words.values()) >= 15


def test_a_shared_character_decides_nothing(many: list[Dialogue]) -> None:
    """小雨 may be 林晓雨 and may be another."""
    same = Counter()
    for dialogue in many:
        words = texts_of(dialogue)
        if len(words[0]) <= 2 and re.search("的..?.?$", words[0][0]):
            name = words[0][0].split("的")[-1]
            for number, cluster in enumerate(words):
                for word in cluster[number == 0 :]:
                    if len(word) in (2, 3) and name[-1] in word and word not in name and not described(word):
                        same[number == 0] += 1
    assert min(same.values()) >= 30


def test_a_pair_is_a_mention_where_a_plural_takes_it_up(planned: list[Dialogue]) -> None:
    plural = ("他们", "她们", "你们", "两个人", "三个人")
    groups = 0
    for dialogue in planned:
        for cluster in texts_of(dialogue):
            taken_up = any(word in plural for word in cluster)
            assert taken_up == any("和" in word for word in cluster)
            groups += taken_up
    assert groups >= 80


def test_no_name_begins_another(many: list[Dialogue]) -> None:
    names = {(head.person.celebrity, head.person.name) for dialogue in many for head in dialogue.heads}
    assert {(celebrity, len(name)) for celebrity, name in names} == {(True, 3), (False, 2)}


def test_mentions_nest(planned: list[Dialogue]) -> None:
    nested = 0
    for dialogue in planned:
        spans = [span for cluster in dialogue.clusters for span in cluster]
        nested += sum(a <= c and d <= b and (a, b) != (c, d) for a, b in spans for c, d in spans)
    assert nested >= 30


def test_words_that_only_look_like_mentions_are_none(planned: list[Dialogue]) -> None:
    seen = Counter()
    for dialogue in planned:
        text = "".join(dialogue.sentences)
        inside = {place for cluster in dialogue.clusters for a, b in cluster for place in range(a, b + 1)}
        for word in ("我的天", "你懂的", "吉他", "其他", "自我", "教练车", "导演剪辑版", "男生宿舍", "主持人大赛"):
            for match in re.finditer(word, text):
                seen[word] += 1
                assert not inside & set(range(*match.span())), text
    assert len(seen) == 9


def test_every_character_of_the_other_splits_is_seen_in_training(planned: list[Dialogue]) -> None:
    used = {
        split: {c for d in planned if d.split == split for c in "".join(d.sentences)} for split in ("train", "test")
    }
    assert used["test"] <= used["train"]


# What can be cheated, and what cannot


def test_people_of_one_split_are_in_no_other(many: list[Dialogue]) -> None:
    for of in (names_of, looks_of):
        splits = [of([d for d in many if d.split == split]) for split in ("train", "val", "test")]
        assert all(len(split) > 20 for split in splits)
        assert len(set.union(*splits)) == sum(map(len, splits))


def names_of(dialogues: list[Dialogue]) -> set[str]:
    """Names in the text, whole or short, and in the celebrity field."""
    words = {word.split("的")[-1] for d in dialogues for cluster in texts_of(d) for word in cluster}
    letters = {letter for d in dialogues for head in d.heads for letter in head.person.name}
    in_text = {word for word in words if len(word) > 1 and set(word) <= letters}
    return in_text | {head.person.name for d in dialogues for head in d.heads}


def looks_of(dialogues: list[Dialogue]) -> set[tuple]:
    return {(head.person.look.gender, *head.person.look.traits()) for d in dialogues for head in d.heads}


def test_who_reads_and_looks_finds_the_head(many: list[Dialogue]) -> None:
    beside = 0
    queries = linked(many)
    for dialogue, number, right in queries:
        traits = set().union(*map(described, texts_of(dialogue)[number]))
        if not traits:  # the description stands beside the mentions: 小明戴着红帽子
            beside += 1
            clause = next(
                c for c in re.split("，|$", "".join(dialogue.sentences)) if texts_of(dialogue)[number][0] in c
            )
            traits = described(clause)
        fitting = [n for n, head in enumerate(dialogue.heads) if traits <= set(head.person.look.traits())]
        assert fitting == [right], dialogue.sentences
    assert 0.02 < beside / len(queries) < 0.2


def test_who_is_described_but_absent_fits_no_head(many: list[Dialogue]) -> None:
    absent = 0
    for dialogue in many:
        for label, words in zip(dialogue.labels, texts_of(dialogue), strict=True):
            traits = set().union(*(described(word) for word in words))
            if label != "none" or not dialogue.heads or not traits or any("的" in word[6:] for word in words):
                continue
            absent += 1
            assert not any(traits <= set(head.person.look.traits()) for head in dialogue.heads)
    assert absent >= 20


@pytest.mark.parametrize("guess", ["first", "last", "as the cluster", "as its words in train"])
def test_reading_alone_is_at_chance(many: list[Dialogue], guess: str) -> None:
    train, test = linked([d for d in many if d.split == "train"]), linked([d for d in many if d.split != "train"])
    places: dict[str, Counter] = {}
    for dialogue, number, right in train:
        for word in texts_of(dialogue)[number]:
            places.setdefault(word[-6:], Counter())[right] += 1

    def index(dialogue: Dialogue, number: int) -> int:
        size = len(dialogue.heads)
        votes = sum((places.get(word[-6:], Counter()) for word in texts_of(dialogue)[number]), Counter())
        usual = max(range(size), key=lambda n: votes[n])
        return {"first": 0, "last": size - 1, "as the cluster": number % size}.get(guess, usual)

    hits = [index(dialogue, number) == right for dialogue, number, right in test]
    assert_at_chance(hits, [len(dialogue.heads) for dialogue, _, _ in test])


def test_looking_alone_is_at_chance(many: list[Dialogue]) -> None:
    """The heads that look like those spoken of in train are spoken of no more often."""
    shown, meant = Counter(), Counter()
    for dialogue in (d for d in many if d.split == "train"):
        for head in dialogue.heads:
            shown.update(parts_of(head))
            meant.update(parts_of(head) if head.label in dialogue.labels else [])
    test = linked([d for d in many if d.split != "train"])
    hits = []
    for dialogue, _, right in test:
        scores = [sum(math.log(meant[p] / shown[p]) for p in parts_of(h) if meant[p]) for h in dialogue.heads]
        hits.append(scores.index(max(scores)) == right)
    assert_at_chance(hits, [len(dialogue.heads) for dialogue, _, _ in test])


def parts_of(head) -> list:
    return list(vars(head.person.look).items())


@pytest.mark.parametrize("guess", ["left", "large", "high"])
def test_the_place_in_the_frame_tells_nothing(records: list[dict], guess: str) -> None:
    def key(box: dict) -> int:
        x1, y1, x2, y2 = box["bbox"]
        return {"left": x1, "large": (x1 - x2) * (y2 - y1), "high": y1}[guess]

    hits, pools = [], []
    for record in records:
        boxes = record["visual_annotations"]
        for label in record["entity_label"]:
            if label != "none":
                hits.append(min(boxes, key=key)["box_labels"] == label)
                pools.append(len(boxes))
    assert_at_chance(hits, pools)


def test_masking_the_attribute_words_leaves_no_trace_of_them(planned: list[Dialogue]) -> None:
    words = attribute_words()
    assert words == sorted(words, key=len, reverse=True)
    for dialogue in planned:
        text = "".join(dialogue.sentences) + dialogue.title
        assert bool(described(text)) == any(word in text for word in words)
        for word in words:
            text = text.replace(word, "？" * len(word))
        assert not described(text)
        assert not re.search("[帽衣罩胡耳红黄绿蓝黑白]|头发|眼镜|墨镜", text)
        # four characters an attribute, five with 着, and at most two of them: the masks' length tells nothing either
        assert {len(mask) for mask in re.findall("？+", text)} <= {4, 5, 8, 10}


def test_no_rule_clusters_the_mentions(planned: list[Dialogue]) -> None:
    tested = [
        {"sentences": [list(sentence) for sentence in dialogue.sentences], "clusters": dialogue.clusters}
        for dialogue in planned
        if dialogue.split == "test"
    ]
    for name, rule in RULES.items():
        mentions = [sorted(span for cluster in dialogue["clusters"] for span in cluster) for dialogue in tested]
        clusters = [rule(dialogue, spans) for dialogue, spans in zip(tested, mentions, strict=True)]
        assert score([{"clusters": found} for found in clusters], tested)["conll_f1"] < 0.65, name


# Pictures


def test_heads_that_differ_in_one_attribute_stand_in_many_frames(planned: list[Dialogue]) -> None:
    frames = [[dict(head.person.look.traits()) for head in dialogue.heads] for dialogue in planned if dialogue.heads]
    near = [any(one_part(one, other) for one, other in combinations(heads, 2)) for heads in frames]
    assert 0.45 < sum(near) / len(near) < 0.75


def one_part(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and len(one.items() - other.items()) == 1


def test_attributes_can_be_read_off_the_region_at_64_pixels(folder: Path) -> None:
    """Colours of clothes and hats, found by nothing but the nearest paint at a fixed place."""
    paints = {"红": (212, 38, 44), "黄": (246, 202, 46), "绿": (44, 158, 78), "蓝": (46, 98, 214)}
    looked, right = 0, 0
    for dialogue in make_dialogues(seed=0, dialogues=120):
        for head in dialogue.heads:
            path = next((folder / "faces_all").glob(f"{dialogue.doc_key}_*_{head.label}.jpg"))
            region = Image.open(path).convert("RGB").resize((64, 64))
            places = {"clothes": (20, 61, 44, 63), "hat_colour": (22, 16, 42, 19)}
            for part, place in places.items():
                wanted = dict(head.person.look.traits()).get(part)
                if wanted:
                    seen = region.crop(place).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
                    nearest = min(paints, key=lambda c: sum((a - b) ** 2 for a, b in zip(paints[c], seen, strict=True)))
                    looked += 1
                    right += nearest == wanted
    assert looked > 300
    assert right / looked >= 0.97
