"""The pipeline: the result's form, offsets, batches and streams, given clusters and mentions, errors."""

import random
import re
import types

import pytest
import torch
from PIL import Image

from tiktalkcoref.modeling.inputs_tiktalkcoref import DialogueError
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

CHARACTERS = "我你他她这那个男女生儿子妈妈好看爱吗了的是老师小明王"


@pytest.fixture
def resolver(build_tiny):
    """A pipeline over a random model that finds many mentions and clusters some of them."""
    model, processor = build_tiny(mention_threshold=0.12, antecedent_threshold=0.5, max_mention_length=3)
    torch.nn.init.zeros_(model.mention_head.start_score.bias)
    return TikTalkCorefPipeline(model=model, processor=processor, device="cpu")


@pytest.fixture
def scripted(build_tiny):
    """A pipeline whose model answers with what a test puts into `answers`, and notes what it was asked in `asked`."""
    model, processor = build_tiny()
    processor.image_size = 8
    resolver = TikTalkCorefPipeline(model=model, processor=processor, device="cpu")
    resolver.answers, resolver.asked = [], []

    def predict(batch, clusters=None, mentions=None):
        resolver.asked.append({"batch": batch, "clusters": clusters, "mentions": mentions})
        return resolver.answers[: len(batch["characters"])]

    model.predict = predict
    return resolver


def answer(clusters, regions=(), region_scores=(), null_scores=()):
    return {
        "clusters": clusters,
        "mention_scores": [[0.5] * len(cluster) for cluster in clusters],
        "regions": list(regions),
        "region_scores": list(region_scores),
        "null_scores": list(null_scores),
    }


def spans(result):
    return [[(m["sentence"], m["start"], m["end"]) for m in c["mentions"]] for c in result["clusters"]]


def dialogues(n, seed=0, longest=30):
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        lengths = [chance.randint(1, longest) for _ in range(chance.randint(1, 4))]
        made.append({"sentences": ["".join(chance.choices(CHARACTERS, k=length)) for length in lengths]})
    return made


def test_the_result_with_pictures(scripted):
    scripted.answers = [answer([[[0, 3], [13, 13]], [[9, 10]]], [1, -1], [[0.1, 0.7], [0.25, 0.125]], [0.2, 0.625])]
    images = [Image.new("RGB", (4, 4))] * 2
    sentences = ["这个男生说他也有过儿子吗", "叫他来"]
    result = scripted({"sentences": sentences, "speakers": ["A", "B"], "title": "标题", "regions": images})
    assert result == {
        "clusters": [
            {
                "mentions": [
                    {"text": "这个男生", "start": 0, "end": 4, "sentence": 0, "score": 0.5},
                    {"text": "他", "start": 1, "end": 2, "sentence": 1, "score": 0.5},
                ],
                "region": 1,
                "region_score": 0.7,
                "region_scores": [0.1, 0.7],
            },
            {
                "mentions": [{"text": "儿子", "start": 9, "end": 11, "sentence": 0, "score": 0.5}],
                "region": None,
                "region_score": 0.625,
                "region_scores": [0.25, 0.125],
            },
        ]
    }
    for cluster in result["clusters"]:
        for mention in cluster["mentions"]:
            assert sentences[mention["sentence"]][mention["start"] : mention["end"]] == mention["text"]


def test_the_result_without_pictures(scripted):
    scripted.answers = [answer([[[0, 0]]], [-1], [[]], [1.0])]
    expected = {
        "clusters": [{"mentions": [{"text": "我", "start": 0, "end": 1, "sentence": 0, "score": 0.5}]}],
        "text_only": True,
    }
    for pictures in ({}, {"regions": []}, {"frames": [], "boxes": []}, {"regions": None}):
        assert scripted({"sentences": ["我好"], **pictures}) == expected


def test_a_batch_where_some_have_pictures(scripted):
    scripted.answers = [answer([[[0, 0]]], [0], [[1.0]], [0.0])] * 3
    pictured = {"sentences": ["我"], "regions": [Image.new("RGB", (4, 4))]}
    results = scripted([{"sentences": ["我"]}, pictured, {"sentences": ["我"]}], batch_size=3)
    assert len(scripted.asked) == 1
    assert [result.get("text_only") for result in results] == [True, None, True]
    assert ["region" in result["clusters"][0] for result in results] == [False, True, False]


def test_offsets_of_tokens_with_several_characters(scripted):
    """Offsets count characters of the joined utterance, and come back as the same tokens."""
    scripted.answers = [answer([[[1, 2], [4, 4]], [[0, 0]]])]
    dialogue = {"sentences": [["我", "iphone", "王"], ["👩\u200d👩", "ab", "好"]]}
    result = scripted(dialogue)
    assert [m["text"] for c in result["clusters"] for m in c["mentions"]] == ["iphone王", "ab", "我"]
    assert spans(result) == [[(0, 1, 8), (1, 3, 5)], [(0, 0, 1)]]
    for cluster in result["clusters"]:
        for mention in cluster["mentions"]:
            joined = "".join(dialogue["sentences"][mention["sentence"]])
            assert joined[mention["start"] : mention["end"]] == mention["text"]
    scripted(dialogue, clusters=result["clusters"])
    assert scripted.asked[-1]["clusters"] == [[[(1, 2), (4, 4)], [(0, 0)]]]
    scripted(dialogue, mentions=[{"sentence": 1, "start": 0, "end": 5}])
    assert scripted.asked[-1]["mentions"] == [[(3, 4)]]
    with pytest.raises(DialogueError, match=r"mentions\[0\]: start 3 or end 8 is inside a token; take the whole token"):
        scripted(dialogue, mentions=[{"sentence": 0, "start": 3, "end": 8}])


def test_offsets_of_emoji_and_spaces(scripted):
    scripted.answers = [answer([[[2, 4]], [[6, 6]]])]
    result = scripted({"sentences": ["我 👩\u200d👩 王Ａ"]})
    assert [m["text"] for c in result["clusters"] for m in c["mentions"]] == ["👩\u200d👩", "王"]
    assert spans(result) == [[(0, 2, 5)], [(0, 6, 7)]]


def test_forms_of_input(resolver):
    made = dialogues(21)
    alone = [resolver(dialogue) for dialogue in made]
    assert sum(len(result["clusters"]) for result in alone) > 20
    assert any(len(cluster["mentions"]) > 1 for result in alone for cluster in result["clusters"])
    assert isinstance(alone[0], dict)
    assert resolver(made) == alone
    assert resolver(tuple(made)) == alone
    assert resolver(made[:1]) == alone[:1]
    assert resolver([]) == []
    stream = resolver(dialogue for dialogue in made)
    assert isinstance(stream, types.GeneratorType)
    assert list(stream) == alone


@pytest.mark.parametrize("batch_size", [2, 8, 32])
def test_batches_change_no_cluster_and_no_order(resolver, batch_size):
    made = dialogues(60, seed=1)
    alone = resolver(made)
    batched = resolver(made, batch_size=batch_size)
    assert [spans(result) for result in batched] == [spans(result) for result in alone]
    assert [spans(result) for result in resolver(iter(made), batch_size=batch_size)] == [spans(r) for r in alone]
    for one, other in zip(alone, batched, strict=True):
        for first, second in zip(one["clusters"], other["clusters"], strict=True):
            scores = [[m["score"] for m in cluster["mentions"]] for cluster in (first, second)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_the_same_twice(resolver):
    made = dialogues(20, seed=2)
    resolver.model.train()  # the state of the caller's model does not matter, and is kept
    assert resolver(made, batch_size=8) == resolver(made, batch_size=8)
    assert resolver.model.training


def test_batches_hold_like_lengths_and_one_kind(scripted):
    scripted.answers = [answer([])] * 4
    made = [{"sentences": ["我" * n]} for n in (1, 30, 2, 29, 28, 3)]
    made[4]["mentions"] = []
    scripted(made, batch_size=2)
    sizes = [[len(units) for units in call["batch"]["characters"]] for call in scripted.asked]
    assert sizes == [[30, 29], [3, 2], [1], [28]]
    assert [call["mentions"] for call in scripted.asked] == [None, None, None, [[]]]


def test_the_batch_size_of_construction(build_tiny):
    model, processor = build_tiny()
    resolver = TikTalkCorefPipeline(model=model, processor=processor, device="cpu", batch_size=4)
    sizes = []
    real = model.predict
    model.predict = lambda batch, **given: sizes.append(len(batch["characters"])) or real(batch, **given)
    resolver(dialogues(9))
    assert sizes == [4, 4, 1]
    resolver(dialogues(3), batch_size=2)
    assert sizes == [4, 4, 1, 2, 1]


def test_a_stream_is_read_lazily(resolver):
    taken = []
    endless = (taken.append(i) or {"sentences": ["我爱小明"]} for i in range(10**9))
    results = resolver(endless)
    assert taken == []
    next(results)
    assert len(taken) == 1
    results = resolver(endless, batch_size=2)
    next(results)
    assert len(taken) < 100


def test_given_clusters_and_mentions(resolver):
    for dialogue in dialogues(10, seed=3):
        result = resolver(dialogue)
        assert resolver(dialogue, clusters=result["clusters"]) == result
        assert resolver({**dialogue, "clusters": result["clusters"]}) == result
        mentions = [mention for cluster in result["clusters"] for mention in cluster["mentions"]]
        assert resolver(dialogue, mentions=mentions) == result
        assert resolver({**dialogue, "mentions": mentions}) == result


def test_given_to_a_list(scripted):
    scripted.answers = [answer([])] * 3
    made = [{"sentences": ["我好"]}, {"sentences": ["他好吗"]}, {"sentences": ["她"]}]
    span = {"sentence": 0, "start": 1, "end": 2}
    scripted(made, clusters=[[[span]], None, []], batch_size=8)
    asked = [(["".join(units) for units in call["batch"]["characters"]], call["clusters"]) for call in scripted.asked]
    assert asked == [(["他好吗"], None), (["我好", "她"], [[[(1, 1)]], []])]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"clusters": [[[0, 1]]]},
            'dialogue: clusters[0][0]: found [0, 1], expected {"sentence": utterance number, "start": first character, '
            '"end": character after the last}. (Token offsets are labels, for training: leave them out here.)',
        ),
        (
            {"clusters": 5},
            "dialogue: clusters: found a value of type int, expected a list of clusters.",
        ),
        (
            {"clusters": [[]]},
            'dialogue: clusters[0]: found [], expected a list of at least one {"sentence": utterance number, "start": '
            'first character, "end": character after the last}.',
        ),
        (
            {"mentions": [{"sentence": 2, "start": 0, "end": 1}]},
            "dialogue: mentions[0]: sentence 2 of a dialogue of 2 utterances.",
        ),
        (
            {"mentions": [{"sentence": 1, "start": 0, "end": 2}]},
            "dialogue: mentions[0]: found start 0 and end 2 in an utterance of 1 characters; expected "
            "0 <= start < end <= 1, the end exclusive.",
        ),
        (
            {"mentions": [{"sentence": 0, "start": 1, "end": 1}]},
            "dialogue: mentions[0]: found start 1 and end 1 in an utterance of 2 characters; expected "
            "0 <= start < end <= 2, the end exclusive.",
        ),
        (
            {"mentions": [{"sentence": 0, "start": 0, "end": 1, "text": "他"}]},
            "dialogue: mentions[0]: text is '他', but the dialogue has '我' there.",
        ),
        (
            {"mentions": [{"sentence": 0, "start": 0, "end": 1}] * 2},
            "dialogue: mentions: the mention 0 to 1 of sentence 0 is given twice.",
        ),
        (
            {"clusters": [], "mentions": []},
            "both clusters and mentions are given for one dialogue; give one of the two.",
        ),
    ],
)
def test_wrong_spans(resolver, given, message):
    dialogue = {"sentences": ["我好", "他"]}
    for ask in (lambda: resolver(dialogue, **given), lambda: resolver({**dialogue, **given})):
        with pytest.raises(DialogueError) as caught:
            ask()
        assert str(caught.value) == message


def test_wrong_calls(resolver, build_tiny):
    one = {"sentences": ["我"]}
    with pytest.raises(DialogueError, match=r"^clusters: found 1 for 2 dialogues, expected a list with one each\.$"):
        resolver([one, one], clusters=[[]])
    with pytest.raises(
        DialogueError, match=r"^mentions: with a stream of dialogues, give them as keys of each dialogue"
    ):
        resolver(iter([one]), mentions=[])
    with pytest.raises(DialogueError, match=r"^found a value of type str, expected a dialogue such as"):
        resolver("我爱你")
    with pytest.raises(TypeError, match="temperature"):
        resolver(one, temperature=1)
    model, processor = build_tiny()
    with pytest.raises(TypeError, match="unknown arguments of the multimodal-coreference pipeline: temperature"):
        TikTalkCorefPipeline(model=model, processor=processor, device="cpu", temperature=1)
    with pytest.raises(ValueError, match="this pipeline needs a processor"):
        TikTalkCorefPipeline(model=model, device="cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"temperature": 1, "top_k": 2},
            "unknown arguments of the multimodal-coreference pipeline: temperature, top_k. A call takes clusters, "
            "mentions, batch_size and num_workers; what belongs to a dialogue is a key of it.",
        ),
        ({"batch_size": -1}, "batch_size is -1: expected a whole number of at least 1."),
        ({"batch_size": "8"}, "batch_size is '8': expected a whole number of at least 1."),
    ],
)
def test_arguments_that_a_call_does_not_take(resolver, given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        resolver({"sentences": ["我"]}, **given)


def test_an_error_names_the_dialogue_as_it_came(resolver):
    """Not as it was sorted."""
    made = [*dialogues(5), {"sentences": ["我" * 99, ""]}, 7]
    with pytest.raises(DialogueError, match=r"^dialogue 6: sentences\[1\] is empty"):
        resolver(made, batch_size=4)
    with pytest.raises(DialogueError, match=r"^dialogue 6: sentences\[1\] is empty"):
        list(resolver(iter(made), batch_size=4))
    with pytest.raises(DialogueError, match=r"^dialogue 2: found a value of type int, expected a dictionary"):
        resolver([made[0], 7])
