"""The fast scores against the slow readable ones, and what must hold for any clustering."""

import json
import random
from math import isclose

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from tiktalkcoref.evaluate_metric import score

from . import metric_oracle


@st.composite
def clusterings(draw, mentions: int = 9, clusters: int = 5) -> list:
    """Clusters over a part of a few mentions, singletons among them."""
    of_mention = draw(st.lists(st.integers(-1, clusters - 1), min_size=mentions, max_size=mentions))
    members: dict[int, list] = {}
    for mention, cluster in enumerate(of_mention):
        if cluster >= 0:
            members.setdefault(cluster, []).append([mention, mention + mention % 3])
    return list(members.values())


corpora = st.lists(st.tuples(clusterings(), clusterings()), min_size=1, max_size=4)


def score_pairs(pairs: list, **options) -> dict:
    return score([{"clusters": p} for _, p in pairs], [{"clusters": g} for g, _ in pairs], **options)


def as_sets(clusters: list) -> list:
    return [{tuple(mention) for mention in cluster} for cluster in clusters]


@settings(max_examples=200, deadline=None)
@given(corpora)
def test_agrees_with_the_oracle(pairs):
    found = score_pairs(pairs)
    expected = metric_oracle.pooled([(as_sets(gold), as_sets(predicted)) for gold, predicted in pairs])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert isclose(found[key], value, abs_tol=1e-12), key


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_dropping_singletons_agrees_with_the_oracle(pairs):
    found = score_pairs(pairs, keep_singletons=False)
    sets = [[[c for c in as_sets(side) if len(c) > 1] for side in pair] for pair in pairs]
    for key, value in metric_oracle.pooled(sets).items():
        assert isclose(found[key], value, abs_tol=1e-12), key


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_bounds(pairs):
    assert all(0 <= value <= 1 and type(value) is float for value in score_pairs(pairs).values())


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_exchanging_the_sides_exchanges_recall_and_precision(pairs):
    found, exchanged = score_pairs(pairs), score_pairs([(p, g) for g, p in pairs])
    for metric in ("muc", "b_cubed", "ceaf_e", "ceaf_m", "lea", "mention"):  # BLANC: what the gold lacks is special
        assert isclose(found[f"{metric}_recall"], exchanged[f"{metric}_precision"], abs_tol=1e-12)
        assert isclose(found[f"{metric}_f1"], exchanged[f"{metric}_f1"], abs_tol=1e-12)


@settings(max_examples=60, deadline=None)
@given(corpora, st.randoms(use_true_random=False))
def test_order_does_not_matter(pairs, rng):
    def shuffled(items: list) -> list:
        return rng.sample(items, len(items))

    mixed = shuffled([tuple(shuffled([shuffled(cluster) for cluster in side]) for side in pair) for pair in pairs])
    found, other = score_pairs(pairs), score_pairs(mixed)
    assert all(isclose(found[key], other[key], abs_tol=1e-12) for key in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(clusterings(), min_size=1, max_size=4))
def test_gold_against_itself_is_exactly_one(golds):
    has_links = any(len(cluster) > 1 for gold in golds for cluster in gold)
    has_mentions = any(golds)
    found = score_pairs([(gold, gold) for gold in golds])
    for key, value in found.items():
        if key.startswith("muc"):
            assert value == has_links
        elif not key.startswith(("blanc", "conll")):
            assert value == has_mentions
    if has_links:
        assert set(found.values()) == {1.0}


def test_large_alignments_agree_with_a_dense_solution():
    """Connected parts of any size: against scipy on the whole matrix."""
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(0)
    for mentions, clusters in ((60, 12), (200, 90), (300, 20)):
        of = rng.integers(clusters, size=(2, mentions))
        sides = [[np.flatnonzero(row == c) for c in range(clusters) if (row == c).any()] for row in of]
        shared = np.array([[len(np.intersect1d(g, p)) for p in sides[1]] for g in sides[0]])
        sizes = [np.array([len(cluster) for cluster in side]) for side in sides]
        weights = {"ceaf_m": shared, "ceaf_e": 2 * shared / (sizes[0][:, None] + sizes[1][None, :])}
        gold, predicted = ([[[int(i), int(i)] for i in cluster] for cluster in side] for side in sides)
        found = score_pairs([(gold, predicted)])
        for metric, weight in weights.items():
            best = weight[linear_sum_assignment(weight, maximize=True)].sum()
            own = mentions if metric == "ceaf_m" else len(gold)
            assert isclose(found[f"{metric}_recall"], best / own, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["annotations.8d346bf.jsonl", "annotations.db84797.jsonl"])
def test_upstream_against_itself_is_exactly_one(upstream, name):
    rows = [json.loads(line) for line in (upstream / name).read_text(encoding="utf-8").splitlines()]
    predictions = []
    for row in rows:
        labels = row.get("entity_labels", row.get("entity_label"))
        boxes = [[a for a in row["visual_annotations"] if a["box_labels"] == label] for label in labels]
        order = list(range(len(row["visual_annotations"])))
        linked = [row["visual_annotations"].index(b[0]) if b else -1 for b in boxes]
        rankings = [sorted(order, key=lambda region, link=link: region != link) if link >= 0 else [] for link in linked]
        predictions.append({"clusters": row["clusters"], "boxes": boxes, "rankings": rankings})
    found = score(predictions, rows, n_resamples=100)
    perfect = {key: v for key, v in found.items() if "chance" not in key and not key.endswith(("_n", "_mean_pool"))}
    assert len(perfect) > 150
    assert set(perfect.values()) == {1.0}
    assert found["linking_n"] == 881


def test_upstream_perturbed_agrees_with_the_oracle(upstream):
    lines = (upstream / "annotations.8d346bf.jsonl").read_text(encoding="utf-8").splitlines()
    rng = random.Random(0)
    pairs = []
    for line in lines:
        gold = json.loads(line)["clusters"]
        members: dict[int, list] = {}
        for i, cluster in enumerate(gold):
            for start, end in cluster:
                if rng.random() > 0.1:
                    span = [start, end + (rng.random() < 0.1)]
                    members.setdefault(i if rng.random() > 0.3 else rng.randrange(len(gold)), []).append(span)
        predicted = [[list(m) for m in {tuple(m) for m in cluster}] for cluster in members.values()]
        seen: set = set()
        predicted = [[m for m in cluster if tuple(m) not in seen and not seen.add(tuple(m))] for cluster in predicted]
        pairs.append((gold, [cluster for cluster in predicted if cluster]))
    found = score_pairs(pairs)
    expected = metric_oracle.pooled([(as_sets(g), as_sets(p)) for g, p in pairs])
    assert 0.5 < found["conll_f1"] < 0.95
    for key, value in expected.items():
        assert isclose(found[key], value, abs_tol=1e-12), key
