"""What the Space draws from a result: mentions as trees, colours that can be read, rankings, boxes, the timeline."""

import itertools
import json
import random

from PIL import Image

from tiktalkcoref.space.view import PALETTE, make_view, mention_tree

INK, PAPER = ("#111827", "#f3f4f6"), ("#ffffff", "#0b1220")  # of light and dark, as page.css has them


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_can_be_read_in_light_and_dark():
    for strong, tint, dark_strong, dark_tint in PALETTE:
        for ink, paper, edge, ground in ((INK[0], PAPER[0], strong, tint), (INK[1], PAPER[1], dark_strong, dark_tint)):
            assert contrast(ink, ground) >= 4.5  # words on a mention
            assert contrast(paper, edge) >= 4.5  # a badge's number
            assert contrast(edge, ground) >= 4.5  # a mention's small number


def flat(nodes) -> str:
    return "".join(node if isinstance(node, str) else flat(node["children"]) for node in nodes)


def covered(nodes, at=0, inside=()):
    """(position, clusters around it) of every character."""
    for node in nodes:
        if isinstance(node, str):
            for _ in node:
                yield at, inside
                at += 1
        else:
            found = list(covered(node["children"], at, (*inside, node["cluster"])))
            yield from found
            at += len(found)


def test_nested_and_crossing_mentions_are_all_there():
    tree = mention_tree("小王的妈妈来了", [(0, 5, 0), (0, 2, 1)])
    inner = {"cluster": 1, "color": 1, "children": ["小王"]}
    assert tree == [{"cluster": 0, "color": 0, "children": [inner, "的妈妈"]}, "来了"]
    rng = random.Random(0)
    text = "零一二三四五六七八九"
    for _ in range(300):
        pairs = rng.sample(list(itertools.combinations(range(11), 2)), rng.randint(0, 6))
        spans = [(start, end, number) for number, (start, end) in enumerate(pairs)]
        tree = mention_tree(text, spans)
        assert flat(tree) == text
        for at, inside in covered(tree):
            assert sorted(inside) == sorted(c for start, end, c in spans if start <= at < end)


RESULT = {
    "clusters": [
        {
            "mentions": [{"text": "<b>他", "start": 0, "end": 4, "sentence": 0, "score": 0.9}],
            "region": 1, "region_score": 0.7, "region_scores": [0.2, 0.7],
        },
        {
            "mentions": [{"text": "她", "start": 0, "end": 1, "sentence": 1, "score": 0.8}],
            "region": None, "region_score": 0.6, "region_scores": [0.1, 0.3],
        },
    ]
}  # fmt: skip


def test_a_view_holds_ranking_boxes_and_timeline_as_plain_data():
    frame = Image.new("RGB", (200, 100))
    dialogue = {
        "sentences": ["<b>他好", "她好"], "frames": [frame],
        "boxes": [{"frame": 0, "bbox": [0, 0, 100, 50]}, {"frame": 0, "bbox": [100, 50, 200, 100]}],
    }  # fmt: skip
    entities = [{"tracks": [{"times": [0.0, 0.5, 2.0]}]}, {"tracks": [{"times": [1.0, 1.5]}, {"times": [3.0]}]}]
    view = make_view(dialogue, RESULT, [frame, frame], entities, 4.0)
    json.dumps(view)
    assert view["lines"][0]["speaker"] == "A"
    assert view["lines"][0]["nodes"][0]["children"] == ["<b>他"]
    assert view["clusters"][0]["ranking"] == [{"head": 1, "score": 0.7}, {"head": 0, "score": 0.2}]
    assert view["clusters"][1]["none"] == 0.6
    assert [head["clusters"] for head in view["heads"]] == [[], [0]]
    assert view["frame"]["boxes"][1] == {"head": 1, "box": [0.5, 0.5, 1.0, 1.0]}
    assert view["timeline"]["rows"][1]["spans"] == [[1.0, 1.5], [3.0, 3.0]]
    assert view["timeline"]["seconds"] == 4.0
    assert view["json"]["clusters"] == RESULT["clusters"]
