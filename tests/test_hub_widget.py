"""The handler's answer, drawn as the widget on a model's page of the Hub draws token classification.

The rules are those of huggingface.js, `packages/widgets/src/lib/components/InferenceWidget`:
`widgets/TokenClassificationWidget/TokenClassificationWidget.svelte` (commit 220522e) makes spans of the answer, and
`shared/WidgetOutputTokens/WidgetOutputTokens.svelte` (commit 6c846c9) draws them. (It counts UTF-16 units where every
pipeline counts characters, so words after an emoji are off there for any model.)
"""

import html
import itertools
import json
import random
import threading
from html.parser import HTMLParser

import pytest

from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.modeling.handler import EndpointHandler
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

Span = tuple[str, int, int]  # type, start, end


def read_spans(answer: list[dict], text: str) -> list[Span]:
    """The widget's spans: equal entries once, a start of 0 looked for by its word, sorted, the outer one first."""
    spans: list[Span] = []
    for entry in {json.dumps(entry): entry for entry in answer}.values():
        span = (entry["entity_group"], entry["start"], entry["end"])
        if not (entry["start"] and entry["end"]):  # 0 counts as missing: the first place of the word not yet taken
            start = text.lower().find(entry["word"].lower())
            while start >= 0 and (entry["entity_group"], start, start + len(entry["word"])) in spans:
                start = text.lower().find(entry["word"].lower(), start + 1)
            assert start >= 0
            span = (entry["entity_group"], start, start + len(entry["word"]))
        if span not in spans:
            spans.append(span)
    return sorted(spans, key=lambda span: (span[1], -span[2]))


def draw(text: str, spans: list[Span]) -> str:
    """The widget's HTML: tags opened and closed at their places, in the order of the spans."""
    tags: dict[int, list[str]] = {}
    for kind, start, end in spans:
        tags.setdefault(start, []).append(f'<span data-entity="{kind}">')
        tags.setdefault(end, []).append(f"<i>{kind}</i></span>")
    places = sorted({0, len(text), *tags})
    parts = ["".join(tags.get(0, []))]
    for before, after in itertools.pairwise(places):
        parts += [html.escape(text[before:after]), *tags.get(after, [])]
    return "".join(parts)


class Drawn(HTMLParser):
    """What the browser makes of it: the text, and (type, start, end, depth) of each coloured element."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text, self.elements, self.labels = "", [], []
        self._open: list[tuple[str, int]] = []
        self._in_label = False
        self.feed(markup)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        if tag == "span":
            self._open.append((dict(attributes)["data-entity"], len(self.text)))
        self._in_label = tag == "i"

    def handle_endtag(self, tag):
        self._in_label = False
        if tag == "span":
            kind, start = self._open.pop()
            self.elements.append((kind, start, len(self.text), len(self._open)))

    def handle_data(self, data):
        if self._in_label:
            self.labels.append(data)
        else:
            self.text += data


def handler_of(pipeline) -> EndpointHandler:
    """The handler around a pipeline, without its loading."""
    handler = object.__new__(EndpointHandler)
    handler.pipeline, handler.lock = pipeline, threading.Lock()
    return handler


def check_drawing(text: str, answer: list[dict], mentions: set[Span]) -> None:
    """None is lost from the JSON, nor from the drawing, and the outer one of two is around the inner one."""
    assert {(entry["entity_group"], entry["start"], entry["end"]) for entry in answer} == mentions
    spans = read_spans(answer, text)
    assert set(spans) == mentions
    drawn = Drawn(draw(text, spans))
    assert drawn.text == text
    assert {element[:3] for element in drawn.elements} == mentions
    assert sorted(drawn.labels) == sorted(kind for kind, *_ in mentions)
    for one, other in itertools.permutations(drawn.elements, 2):
        if one[1] <= other[1] and other[2] <= one[2] and one[1:3] != other[1:3]:
            assert one[3] < other[3]


def answer_with(spans: list[tuple[int, int, int, int]], sentences: list[str]) -> dict:
    """A result of the pipeline with these (cluster, sentence, start, end)."""
    clusters = [
        {
            "mentions": [
                {"text": sentences[n][a:b], "start": a, "end": b, "sentence": n, "score": 0.9}
                for c, n, a, b in spans
                if c == cluster
            ]
        }
        for cluster in sorted({span[0] for span in spans})
    ]
    return {"clusters": clusters}


def test_nested_mentions_the_outer_one_is_around_the_inner_one():
    text = "小王的妈妈的同学来了\n<b>小王</b>说小王好"
    sentences = text.split("\n")
    spans = [(0, 0, 0, 2), (1, 0, 0, 5), (2, 0, 0, 8), (0, 1, 3, 5), (0, 1, 10, 12)]
    answer = handler_of(lambda dialogue: answer_with(spans, dialogue["sentences"]))({"inputs": text})
    starts = [0, len(sentences[0]) + 1]
    check_drawing(text, answer, {(f"C{c + 1}", starts[n] + a, starts[n] + b) for c, n, a, b in spans})
    drawn = Drawn(draw(text, read_spans(answer, text)))
    assert drawn.elements[:3] == [("C1", 0, 2, 2), ("C2", 0, 5, 1), ("C3", 0, 8, 0)]


def test_whatever_nests_is_drawn_whole():
    rng = random.Random(0)
    text = "零一二三四五六七八九"
    for _ in range(300):
        spans = _nesting(rng, 0, len(text))
        numbered = [(n % 3, 0, a, b) for n, (a, b) in enumerate(spans)]
        answer = handler_of(lambda dialogue, chosen=numbered: answer_with(chosen, dialogue["sentences"]))(text)
        kinds = sorted({c for c, *_ in numbered})
        check_drawing(text, answer, {(f"C{kinds.index(c) + 1}", a, b) for c, _, a, b in numbered})


def test_the_answer_of_a_model_is_drawn(tiny_model_folder):
    network, processor = load_model(tiny_model_folder)
    pipeline = TikTalkCorefPipeline(model=network, processor=processor)
    text = "我妈妈爱这个男生\n他是老师的儿子吗"
    answer = handler_of(pipeline)({"inputs": text})
    spans = read_spans(answer, text)
    assert len(spans) == len(answer) > 1
    assert all(text[start:end] == entry["word"] for entry, (_, start, end) in zip(answer, spans, strict=True))
    assert Drawn(draw(text, spans)).text == text


@pytest.mark.parametrize("spans", [[(0, 0, 0, 4), (1, 0, 2, 6)]])
def test_mentions_that_cross_keep_the_text_and_stay_in_the_json(spans):
    text = "零一二三四五六"
    answer = handler_of(lambda dialogue: answer_with(spans, dialogue["sentences"]))(text)
    assert [(entry["start"], entry["end"]) for entry in answer] == [(0, 4), (2, 6)]
    assert Drawn(draw(text, read_spans(answer, text))).text == text


def _nesting(rng: random.Random, start: int, end: int) -> list[tuple[int, int]]:
    """Different spans inside [start, end) of which no two cross."""
    if end - start < 1 or rng.random() < 0.2:
        return []
    first, last = sorted(rng.sample(range(start, end + 1), 2))
    inside = [span for span in _nesting(rng, first, last) if span != (first, last)]
    return [(first, last), *inside, *_nesting(rng, last, end)]
