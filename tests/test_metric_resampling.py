"""Intervals and paired tests: the same as scoring the resampled documents, and right where the answer is known."""

import inspect
import random
from itertools import product
from math import isclose

import numpy as np
import pytest

from tiktalkcoref.evaluate_metric import compare, score
from tiktalkcoref.evaluate_metric.resampling import _CHUNK, bootstrap, permute
from tiktalkcoref.evaluate_metric.scoring import _interval, collect


def corpus(documents: int, errors: float, seed: int) -> tuple[list, list]:
    """Predictions with a share of errors, and references with links, kinds and boxes."""
    rng = random.Random(seed)
    predictions, references = [], []
    for _ in range(documents):
        gold = [[[10 * c + m, 10 * c + m] for m in range(rng.choice((1, 1, 2, 3)))] for c in range(rng.randint(1, 3))]
        boxes = [[{"frame": 1, "bbox": [20 * c, 0, 20 * c + 10, 10]}] for c in range(len(gold))]
        regions = list(range(len(gold)))
        wrong = [rng.random() < errors for _ in gold]
        references.append({"clusters": gold, "links": regions, "kinds": ["name"] * len(gold), "boxes": boxes})
        predictions.append(
            {
                "clusters": [[[900 + c, 999]] if w else gold[c] for c, w in enumerate(wrong)],
                "rankings": [sorted(regions, key=lambda r, c=c, w=w: (r == c) == w) for c, w in enumerate(wrong)],
                "boxes": [[] if w else b for b, w in zip(boxes, wrong, strict=True)],
            }
        )
    return predictions, references


def test_resampling_counts_is_scoring_the_drawn_documents():
    predictions, references = corpus(12, 0.4, 0)
    resamples = 5
    found = score(predictions, references)
    drawn = np.random.default_rng(7).integers(12, size=(resamples, 12))
    for part in found.statistics:
        totals = part.scores(bootstrap(part.counts, resamples, 7))
        for i, documents in enumerate(drawn):
            again = score([predictions[d] for d in documents], [references[d] for d in documents])
            for key, values in totals.items():
                assert isclose(np.nan_to_num(values[i]), again[key], abs_tol=1e-12), key


def test_every_score_has_an_interval_around_it():
    predictions, references = corpus(60, 0.3, 1)
    found = score(predictions, references, n_resamples=300)
    assert found == score(predictions, references, n_resamples=300)
    assert found != score(predictions, references, n_resamples=300, seed=1)
    plain = score(predictions, references)
    for key, value in plain.items():
        if key.endswith(("_n", "_mean_pool")):
            assert f"{key}_low" not in found
        else:
            assert 0 <= found[f"{key}_low"] <= value <= found[f"{key}_high"] <= 1, key
    assert found["conll_f1_low"] < found["conll_f1_high"]
    narrow = score(predictions, references, n_resamples=300, confidence_level=0.5)
    assert narrow["conll_f1_high"] - narrow["conll_f1_low"] < found["conll_f1_high"] - found["conll_f1_low"]


def test_interval_is_as_wide_as_theory_says():
    """recall@1 of one query a document is a mean of 0 and 1: its interval is about 1.96 standard errors either way."""
    n, hits = 400, 100
    predictions = [{"clusters": [[[0, 0]]], "rankings": [[0, 1] if i < hits else [1, 0]]} for i in range(n)]
    references = [{"clusters": [[[0, 0]]], "links": [0]}] * n
    found = score(predictions, references, n_resamples=4000)
    error = 1.96 * (0.25 * 0.75 / n) ** 0.5
    assert isclose(found["linking_recall_at_1_low"], 0.25 - error, abs_tol=0.006)
    assert isclose(found["linking_recall_at_1_high"], 0.25 + error, abs_tol=0.006)


def test_resamples_without_queries_are_left_out():
    """One document in ten has a query, and finds it: whatever is drawn, recall is 1 or not defined."""
    references = [{"clusters": [[[0, 0]]], "links": [0 if i == 0 else -1]} for i in range(10)]
    found = score([{"clusters": [[[0, 0]]], "rankings": [[0]]}] * 10, references, n_resamples=50)
    assert found["linking_recall_at_1_low"] == found["linking_recall_at_1_high"] == 1


def test_memory_is_bounded_by_chunks():
    documents = _CHUNK // 3
    totals = bootstrap(np.ones((documents, 1)), 4, 0)
    assert totals.tolist() == [[documents]] * 4


def test_equal_systems_do_not_differ():
    predictions, references = corpus(20, 0.3, 2)
    found = compare(predictions, predictions, references, n_resamples=100)
    assert {"conll_f1", "linking_recall_at_1", "multimodal_conll_f1"} <= found.keys()
    assert "linking_n" not in found
    for result in found.values():
        assert result["p_value"] == 1
        assert result["difference"] == result["low"] == result["high"] == 0


def test_a_clear_difference_is_significant_and_its_mirror_image():
    better, references = corpus(60, 0.1, 3)
    worse, _ = corpus(60, 0.1, 3)
    for prediction in worse[:40]:
        prediction["clusters"] = [[[i, i + 5]] for i in range(500, 502)]
        prediction["boxes"] = [[], []]
    found = compare(better, worse, references, n_resamples=999)["conll_f1"]
    assert found["p_value"] == 1 / 1000
    assert 0 < found["low"] < found["difference"] < found["high"]
    other = compare(worse, better, references, n_resamples=999)["conll_f1"]
    assert other["p_value"] == found["p_value"]
    assert isclose(other["difference"], -found["difference"])
    assert isclose(other["low"], -found["high"])


def test_comparing_results_is_comparing_predictions():
    a, references = corpus(15, 0.2, 4)
    b = [{key: prediction[key] for key in prediction} for prediction in a]
    b[0] = b[0] | {"clusters": [[[700, 700]]], "boxes": [[]]}
    direct = compare(a, b, references, n_resamples=200)
    assert compare(score(a, references), score(b, references), n_resamples=200) == direct
    assert direct["conll_f1"]["a"] == score(a, references)["conll_f1"]


def test_scores_that_one_system_lacks_are_not_compared():
    a, references = corpus(5, 0.2, 5)
    text = [{"clusters": prediction["clusters"]} for prediction in a]
    found = compare(a, text, references, n_resamples=10)
    assert "conll_f1" in found
    assert not any(key.startswith(("linking", "multimodal")) for key in found)


def test_p_value_is_that_of_all_permutations():
    """Eight documents: every way to swap them, against the random draw."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, size=(2, 8, 1)).astype(float)
    observed = abs(a.sum() - b.sum())
    differences = [abs(((a - b)[:, 0] * signs).sum()) for signs in product((1, -1), repeat=8)]
    exact = np.mean(np.array(differences) >= observed)
    one, other = permute(a, b, 20_000, 0)
    assert isclose((np.abs(one - other) >= observed).mean(), exact, abs_tol=0.015)
    assert np.allclose(one + other, a.sum() + b.sum())


def test_defaults_are_the_documented_ones():
    documented = {"keep_singletons": True, "ks": (1, 2, 3), "iou_threshold": 0.5, "confidence_level": 0.95, "seed": 0}
    for function, n_resamples in ((score, 0), (compare, 10_000), (collect, None)):
        expected = documented | {"n_resamples": n_resamples}
        given = {name: p.default for name, p in inspect.signature(function).parameters.items() if name in expected}
        assert given == {name: expected[name] for name in given}
        assert len(given) == (3 if n_resamples is None else 6)


def test_interval_cuts_the_same_share_off_either_side():
    assert _interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
    assert _interval(np.array([np.nan]), 0.9) == (0, 0)


def test_one_document_of_difference_is_no_evidence():
    """However the documents are swapped, the difference is as large: p is 1."""
    a = [{"clusters": [[[0, 0], [1, 1]]]}] * 4
    b = [*a[:3], {"clusters": [[[0, 0]], [[1, 1]]]}]
    found = compare(a, b, a, n_resamples=50)["muc_recall"]
    assert found["p_value"] == 1
    assert (found["a"], found["b"], found["difference"]) == (1, 0.75, 0.25)


@pytest.mark.slow
def test_p_values_are_uniform_where_there_is_no_difference():
    """Two systems of the same quality: p < 0.05 in about one case of twenty."""
    values = []
    for seed in range(200):
        a, references = corpus(40, 0.3, seed)
        rng = random.Random(1000 + seed)
        b = []
        for reference in references:
            clusters = [[[900 + c, 999]] if rng.random() < 0.3 else g for c, g in enumerate(reference["clusters"])]
            b.append({"clusters": clusters})
        a = [{"clusters": prediction["clusters"]} for prediction in a]
        values.append(compare(a, b, references, n_resamples=200)["b_cubed_f1"]["p_value"])
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1
    assert 0.4 < np.mean(values) < 0.6
