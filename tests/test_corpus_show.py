"""Coloured dialogues: brackets, numbers, colours; and the choice of a dialogue."""

from pathlib import Path

import pytest
from rich.console import Console

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.corpus.show import choose_record, cluster_style, colour_dialogue, show_record

RECORDS = [{"doc_key": str(number)} for number in range(100, 120)]


def test_mentions_are_bracketed_and_numbered() -> None:
    text = colour_dialogue(["小王的妈妈来了", "她呢"], [[[0, 4], [7, 7]], [[0, 1]]], ["A", "B"])
    assert text.plain == "A  [[小王]₂的妈妈]₁来了\nB  [她]₁呢"


def test_tokens_may_be_lists_and_markup_is_text() -> None:
    text = colour_dialogue([["[red]", "她", "[/red]"]], [[[0, 1]], [[0, 1]]])
    assert text.plain == "[[[red]她]₂]₁[/red]"
    assert colour_dialogue([], []).plain == ""


def test_a_token_has_the_colour_of_its_innermost_mention() -> None:
    text = colour_dialogue(["小王的妈"], [[[0, 3]], [[0, 1]]])
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["小"] == cluster_style(1)
    assert styles["的"] == cluster_style(0)
    assert len({cluster_style(number) for number in range(24)}) == 24


def test_a_mention_outside_the_dialogue() -> None:
    with pytest.raises(ValueError, match=r"cluster 1 has the mention \[2, 3\], but the dialogue has 3 tokens"):
        colour_dialogue(["小王的"], [[[0, 1]], [[2, 3]]])


def test_every_sample_dialogue_is_shown(sample_corpus: Path) -> None:
    for record in read_corpus(find_files(sample_corpus), problems=[]):
        console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(show_record(record))
        shown = console.export_text()
        assert record["doc_key"] in shown
        assert record["video_title"] in shown
        for texts in record["clusters_str"]:
            assert " · ".join(texts) in shown
        for box in record["visual_annotations"]:
            named = box["celebrity"] != "none" and box["box_labels"] in record["entity_labels"]
            assert not named or box["celebrity"] in shown


def test_choice() -> None:
    assert choose_record(RECORDS)["doc_key"] == "100"
    assert choose_record(RECORDS, "107")["doc_key"] == "107"
    drawn = [choose_record(RECORDS, draw=True, seed=seed)["doc_key"] for seed in range(200)]
    assert set(drawn) == {record["doc_key"] for record in RECORDS}
    assert drawn[3] == choose_record(RECORDS, draw=True, seed=3)["doc_key"]
    with pytest.raises(
        ValueError, match=r"none of the 20 dialogues has the doc_key '1077'; there are for instance 107"
    ):
        choose_record(RECORDS, "1077")
    with pytest.raises(ValueError, match="no dialogue to choose from"):
        choose_record([])
