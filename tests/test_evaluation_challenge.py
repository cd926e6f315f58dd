"""The challenge set: its marks, what it covers, and its scores."""

import pytest

from tiktalkcoref.evaluation.challenge import load_challenge, parse_marked, score_challenge


def test_marks_become_clusters():
    found = parse_marked("[1[2他]妈妈]来了 / [2他]没来")
    assert ["".join(sentence) for sentence in found["sentences"]] == ["他妈妈来了", "他没来"]
    assert found["clusters"] == [[[0, 2]], [[0, 0], [5, 5]]]
    assert found["speakers"] == ["A", "B"]


@pytest.mark.parametrize("text", ["[1他来了", "他]来了"])
def test_marks_must_pair(text):
    with pytest.raises(ValueError, match="bracket"):
        parse_marked(text)


def test_every_dialogue_is_two_lines_of_plain_text_once():
    dialogues = load_challenge()
    texts = ["/".join("".join(sentence) for sentence in dialogue["sentences"]) for dialogue in dialogues]
    assert len(set(texts)) == len(texts) >= 55
    assert all(
        len(dialogue["sentences"]) == 2 and not set("[]123") & set("".join(text))
        for dialogue, text in zip(dialogues, texts, strict=True)
    )
    spans = [span for dialogue in dialogues for cluster in dialogue["clusters"] for span in map(tuple, cluster)]
    assert len(spans) > 120
    for dialogue in dialogues:
        own = [tuple(span) for cluster in dialogue["clusters"] for span in cluster]
        assert len(set(own)) == len(own), dialogue["doc_key"]
        assert all(cluster for cluster in dialogue["clusters"])
    assert len({dialogue["phenomenon"] for dialogue in dialogues}) >= 10


def test_scores_by_phenomenon():
    dialogues = load_challenge()
    gold = [dialogue["clusters"] for dialogue in dialogues]
    perfect = score_challenge(dialogues, gold)
    assert perfect["all"]["n"] == len(dialogues) == sum(row["n"] for name, row in perfect.items() if name != "all")
    assert all(row["conll_f1"] == 1 and row["exact"] == row["n"] for name, row in perfect.items() if name != "nothing")
    alone = [[[span] for cluster in clusters for span in cluster] for clusters in gold]  # nobody is meant twice
    singletons = score_challenge(dialogues, alone)
    assert singletons["all"]["mention_f1"] == 1
    assert singletons["all"]["conll_f1"] < 0.7
    assert singletons["nickname"]["exact"] == 0
