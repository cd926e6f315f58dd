"""What a score has to beat: rules that learn nothing, and gold mentions as the upper bound of the clustering."""

import random
from collections.abc import Callable, Sequence

from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.modeling.lexicon_tiktalkcoref import normalise

from .dialogues import Dialogue, text_of
from .predictions import Prediction, links_of, ranks_regions, score_predictions

Clusters = list[list[list[int]]]
COREFERENCE_SCORES = ("conll_f1", "muc_f1", "b_cubed_f1", "ceaf_e_f1", "mention_f1")
LINKING_SCORES = (
    *(f"linking_{score}_at_{k}" for k in (1, 2, 3) for score in ("recall", "chance")),
    "linking_mrr",
    "linking_mean_pool",
)


def score_baselines(dialogues: Sequence[Dialogue], predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """Scores of each baseline, by name; rules stand on the gold mentions and on those that the model found.

    Args:
        predictions: made in full.
    """
    rows: dict[str, dict[str, float]] = {}
    for source, spans in (("found mentions", _found(predictions)), ("gold mentions", _gold(dialogues))):
        for name, rule in RULES.items():
            clusters = [rule(dialogue, mentions) for dialogue, mentions in zip(dialogues, spans, strict=True)]
            rows[f"{name}, {source}"] = _coreference(clusters, dialogues)
    learned = [prediction["gold_mention_clusters"] for prediction in predictions]
    rows["learned clustering, gold mentions"] = _coreference(learned, dialogues)
    if ranks_regions(predictions, dialogues):
        rows |= {name: _linking(dialogues, rank) for name, rank in LINKING_RULES.items()}
    return rows


def singletons(dialogue: Dialogue, mentions: list[list[int]]) -> Clusters:
    """Every mention a cluster of its own."""
    return [[mention] for mention in mentions]


def same_string(dialogue: Dialogue, mentions: list[list[int]]) -> Clusters:
    """Mentions of the same normalised string together."""
    clusters: dict[str, list[list[int]]] = {}
    for mention in mentions:
        clusters.setdefault(normalise(text_of(dialogue, mention)), []).append(mention)
    return list(clusters.values())


def previous_cluster(dialogue: Dialogue, mentions: list[list[int]]) -> Clusters:
    """Every mention joins the one before it: one cluster a dialogue."""
    return [mentions] if mentions else []


RULES: dict[str, Callable[[Dialogue, list[list[int]]], Clusters]] = {
    "every mention its own cluster": singletons,
    "same string": same_string,
    "previous cluster": previous_cluster,
}

LINKING_RULES: dict[str, Callable[[random.Random, int], list[float]]] = {
    "random region": lambda generator, count: [generator.random() for _ in range(count)],
    "first region": lambda generator, count: [-float(region) for region in range(count)],
}


def _found(predictions: Sequence[Prediction]) -> list[list[list[int]]]:
    return [sorted(span for cluster in p["clusters"] for span in cluster) for p in predictions]


def _gold(dialogues: Sequence[Dialogue]) -> list[list[list[int]]]:
    return [sorted(list(span) for cluster in d["clusters"] for span in cluster) for d in dialogues]


def _coreference(clusters: Sequence[Clusters], dialogues: Sequence[Dialogue]) -> dict[str, float]:
    scores = score([{"clusters": found} for found in clusters], [{"clusters": d["clusters"]} for d in dialogues])
    return {key: scores[key] for key in COREFERENCE_SCORES}


def _linking(dialogues: Sequence[Dialogue], rank: Callable[[random.Random, int], list[float]]) -> dict[str, float]:
    generator = random.Random(0)
    predictions = []
    for dialogue in dialogues:
        rows = [rank(generator, len(dialogue.get("regions", ()))) for _ in dialogue["clusters"]]
        predictions.append(
            {"clusters": dialogue["clusters"], "gold_region_scores": rows, "gold_regions": links_of(dialogue)}
        )
    scores = score_predictions(predictions, dialogues)
    return {key: scores[key] for key in LINKING_SCORES}
