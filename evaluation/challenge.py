"""Hand-made dialogues by phenomenon (kinship, nicknames, Latin names, ...): how a model does on what a user types."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import yaml

from tiktalkcoref.evaluate_metric import score

from .dialogues import Dialogue
from .predictions import predict_dialogues

SPEAKERS = ("A", "B")
MARKS = re.compile(r"\[(\d)|\]")


def load_challenge() -> list[Dialogue]:
    """The dialogues, each with its `phenomenon` and the gold `clusters` (token offsets, end INCLUSIVE)."""
    content = yaml.safe_load(files(__package__).joinpath("challenge.yaml").read_text(encoding="utf-8"))
    return [
        {"doc_key": f"{phenomenon}-{number}", "phenomenon": phenomenon, **parse_marked(text)}
        for phenomenon, texts in content.items()
        for number, text in enumerate(texts, start=1)
    ]


def parse_marked(text: str) -> Dialogue:
    """`[1他]来了 / [2[1他]妈]也来了` as a dialogue with clusters, in the order of the persons' numbers.

    Raises: ValueError for brackets that do not pair.
    """
    clusters: dict[str, list[list[int]]] = {}
    sentences, opened, count = [], [], 0
    for part in text.split(" / "):
        plain, at = "", 0
        for mark in MARKS.finditer(part):
            plain += part[at : mark.start()]
            at = mark.end()
            if mark[1]:
                opened.append((mark[1], count + len(plain)))
            elif opened:
                person, start = opened.pop()
                clusters.setdefault(person, []).append([start, count + len(plain) - 1])
            else:
                raise ValueError(f"a bracket closes nothing in {text!r}")
        plain += part[at:]
        count += len(plain)
        sentences.append(list(plain))
    if opened:
        raise ValueError(f"a bracket is not closed in {text!r}")
    found = [sorted(clusters[person]) for person in sorted(clusters)]
    return {"sentences": sentences, "speakers": list(SPEAKERS[: len(sentences)]), "title": None, "clusters": found}


def evaluate_challenge(model: Any, processor: Any, batch_size: int = 32) -> dict[str, dict[str, Any]]:
    """What a model finds in the challenge set, scored by phenomenon: see `score_challenge`."""
    dialogues = load_challenge()
    texts = [{key: dialogue[key] for key in dialogue if key != "phenomenon"} for dialogue in dialogues]
    found = predict_dialogues(model, processor, texts, batch_size=batch_size)
    return score_challenge(dialogues, [prediction["clusters"] for prediction in found])


def score_challenge(
    dialogues: Sequence[Dialogue], clusters: Sequence[list[list[list[int]]]]
) -> dict[str, dict[str, Any]]:
    """Scores of the found clusters of each dialogue, by phenomenon and for `all`.

    Returns: for each, `conll_f1`, `mention_f1`, `exact` (dialogues without any error) and `n` (dialogues).
    """
    groups = {"all": list(range(len(dialogues)))}
    for number, dialogue in enumerate(dialogues):
        groups.setdefault(dialogue["phenomenon"], []).append(number)
    result = {}
    for name, numbers in groups.items():
        system = [{"clusters": clusters[number]} for number in numbers]
        gold = [{"clusters": dialogues[number]["clusters"]} for number in numbers]
        scores = score(system, gold)
        exact = sum(_as_sets(clusters[number]) == _as_sets(dialogues[number]["clusters"]) for number in numbers)
        result[name] = {
            "conll_f1": scores["conll_f1"], "mention_f1": scores["mention_f1"], "exact": exact, "n": len(numbers)
        }  # fmt: skip
    return result


def _as_sets(clusters: list[list[list[int]]]) -> set[frozenset[tuple[int, ...]]]:
    return {frozenset(map(tuple, cluster)) for cluster in clusters}
