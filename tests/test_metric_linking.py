"""Linking scores: ranks, ties, misses, chance, kinds, null links."""

from math import isclose

import pytest

from tiktalkcoref.evaluate_metric import score


def link(*documents: dict, **options) -> dict:
    """Scores of documents given as {"links", "rankings", ...}: clusters are made up, as many as there are links."""
    predictions, references = [], []
    for document in documents:
        clusters = [[[i, i]] for i in range(len(document["links"]))]
        gold = {key: document[key] for key in ("links", "kinds", "regions", "candidates") if key in document}
        mine = {key: document[key] for key in ("rankings", "scores", "region_scores") if key in document}
        if "chosen" in document:
            mine["links"] = document["chosen"]
        references.append({"clusters": clusters} | gold)
        predictions.append({"clusters": clusters} | mine)
    found = score(predictions, references, **options)
    return {key.removeprefix("linking_"): v for key, v in found.items() if key.startswith("linking_")}


def test_recall_and_mrr_are_averages_over_queries():
    found = link(
        {"links": [0, 2, -1], "rankings": [[0, 1, 2], [0, 1, 2], [2, 1, 0]]},
        {"links": [1], "rankings": [[0, 1]]},
    )
    assert found["n"] == 3
    assert isclose(found["recall_at_1"], 1 / 3)
    assert isclose(found["recall_at_2"], 2 / 3)
    assert found["recall_at_3"] == 1
    assert isclose(found["mean_recall"], (1 / 3 + 2 / 3 + 1) / 3)
    assert isclose(found["mrr"], (1 + 1 / 3 + 1 / 2) / 3)


def test_chance_is_that_of_the_very_pools():
    found = link({"links": [0, 1], "rankings": [[0, 1, 2, 3], [1, 0, 2, 3]]}, {"links": [0], "rankings": [[0]]})
    assert isclose(found["chance_at_1"], (1 / 4 + 1 / 4 + 1) / 3)
    assert isclose(found["chance_at_3"], (3 / 4 + 3 / 4 + 1) / 3)
    assert found["mean_pool"] == 3


def test_the_reference_says_how_many_regions_there_are():
    found = link({"links": [0], "rankings": [[0]], "regions": 8})
    assert found["chance_at_2"] == 2 / 8
    assert found["mean_pool"] == 8


def test_a_region_that_is_not_ranked_is_a_miss():
    found = link({"links": [2, 0], "rankings": [[0, 1], []]})
    assert found["n"] == 2
    assert found["recall_at_3"] == found["mrr"] == 0
    assert found["mean_pool"] == 3


def test_a_region_that_could_not_be_chosen_is_a_miss_without_chance():
    """Three persons, of whom the tracker found two, and somebody who does not count: a query for the third is lost."""
    found = link({"links": [1, 3, -1], "region_scores": [[0, 1, 0]] * 3, "regions": 4, "candidates": 3})
    assert (found["n"], found["mean_pool"]) == (2, 3)
    assert found["recall_at_1"] == found["recall_at_3"] == 0.5
    assert isclose(found["chance_at_1"], (1 / 3 + 0) / 2)
    assert found["chance_at_3"] == 0.5
    nobody = link({"links": [0], "region_scores": [[]], "regions": 1, "candidates": 0})
    assert nobody["recall_at_1"] == nobody["chance_at_1"] == nobody["mean_pool"] == 0
    assert nobody["n"] == 1


@pytest.mark.parametrize(("scores", "rank"), [([3, 2, 1], 1), ([2, 2, 1], 2), ([2, 2, 2], 3), ([3, 1, 1], 1)])
def test_ties_are_resolved_against_the_system(scores, rank):
    ranked = link({"links": [0], "rankings": [[0, 1, 2]], "scores": [scores]})
    by_region = link({"links": [0], "region_scores": [scores]})
    assert ranked == by_region
    assert ranked["mrr"] == 1 / rank


def test_region_scores_need_no_order():
    assert link({"links": [2], "region_scores": [[0.1, 0.5, 0.3]]})["mrr"] == 0.5


def test_other_cut_offs():
    found = link({"links": [3], "rankings": [[0, 1, 2, 3, 4]]}, ks=(1, 4))
    assert found["recall_at_1"] == 0
    assert found["recall_at_4"] == 1
    assert found["mean_recall"] == 0.5
    assert found["chance_at_4"] == 4 / 5
    assert "recall_at_2" not in found


def test_kinds_are_scored_apart():
    found = link(
        {"links": [0, 1, 1], "kinds": ["name", "pronoun", None], "rankings": [[0, 1], [0, 1], [1, 0]]},
        {"links": [0, -1], "kinds": ["name", "noun"], "rankings": [[0], []]},
    )
    assert found["name_n"] == 2
    assert found["name_recall_at_1"] == 1
    assert isclose(found["name_chance_at_1"], 3 / 4)
    assert found["pronoun_n"] == 1
    assert found["pronoun_recall_at_1"] == 0
    assert found["pronoun_mrr"] == 0.5
    assert found["noun_n"] == found["noun_mrr"] == 0
    assert found["n"] == 4


def test_visual_counterparts():
    documents = {"links": [0, 1, -1, -1], "rankings": [[0, 1], [1, 0], [0, 1], [1, 0]], "chosen": [0, -1, 1, -1]}
    found = link(documents)
    assert found["visual_precision"] == found["visual_recall"] == found["visual_f1"] == 0.5
    assert found["visual_n"] == 4


def test_an_empty_ranking_says_no_counterpart_unless_links_are_given():
    found = link({"links": [0, -1, -1], "rankings": [[0], [0], []]})
    assert found["visual_precision"] == 0.5
    assert found["visual_recall"] == 1


def test_links_alone_score_the_counterparts_alone():
    found = link({"links": [0, -1], "chosen": [0, 0]})
    assert set(found) == {"visual_precision", "visual_recall", "visual_f1", "visual_n"}


def test_without_queries_there_is_nothing_to_recall():
    found = link({"links": [-1], "rankings": [[0, 1]]}, n_resamples=10)
    assert found["n"] == found["recall_at_1"] == found["recall_at_1_low"] == found["recall_at_1_high"] == 0


def test_nothing_is_linked_unless_the_system_ranks():
    found = score([{"clusters": [[[0, 0]]]}], [{"clusters": [[[0, 0]]], "links": [0]}])
    assert not any(key.startswith("linking") for key in found)


def test_dataset_rows_are_references_as_they_come():
    row = {
        "doc_key": "1", "genre": "wb", "sentences": [["她", "和", "他"]], "clusters": [[[0, 0]], [[2, 2]], [[1, 1]]],
        "entity_labels": ["C2", "none", "C7"],
        "visual_annotations": [
            {"cur_frame": 1, "bbox": [0, 0, 9, 9], "box_labels": "C1"},
            {"cur_frame": 1, "bbox": [20, 0, 29, 9], "box_labels": "C2"},
        ],
    }  # fmt: skip
    found = score([{"clusters": row["clusters"], "rankings": [[0, 1], [], []]}], [row])
    assert found["linking_n"] == 1  # C2 alone has a box
    assert found["linking_mrr"] == 0.5
    old = {("entity_label" if key == "entity_labels" else key): value for key, value in row.items()}
    assert score([{"clusters": row["clusters"], "rankings": [[0, 1], [], []]}], [old]) == found


ONE = {"clusters": [[[0, 0]]]}


def test_a_miss_counts_in_the_mean_of_the_reciprocal_ranks():
    links = [ONE | {"links": [0], "regions": 2}] * 2
    found = score([ONE | {"rankings": [[0]]}, ONE | {"rankings": [[1]]}], links)
    assert found["linking_mrr"] == found["linking_recall_at_1"] == 0.5
    assert type(found["linking_n"]) is int
    assert type(found["linking_mrr"]) is float


@pytest.mark.parametrize(("link", "ranking", "pool"), [(2, [2], 3), (0, [1], 2), (0, [], 1)])
def test_the_pool_is_what_links_and_rankings_show(link, ranking, pool):
    found = score([ONE | {"rankings": [ranking]}], [ONE | {"links": [link]}])
    assert found["linking_mean_pool"] == pool


def test_the_pool_of_a_row_is_its_annotations():
    boxes = [{"cur_frame": 1, "bbox": [0, 0, 5, 5], "box_labels": label} for label in ("none", "C1", "", "C2", "C1")]
    row = ONE | {"entity_labels": ["C1"], "visual_annotations": boxes}
    found = score([ONE | {"rankings": [[0, 1]]}], [row])
    assert (found["linking_mean_pool"], found["linking_mrr"]) == (5, 0.5)
    for label in ("none", ""):
        assert score([ONE | {"rankings": [[0]]}], [row | {"entity_labels": [label]}])["linking_n"] == 0


def test_a_document_may_have_no_region():
    assert score([ONE | {"links": [-1]}], [ONE | {"links": [-1], "regions": 0}])["linking_visual_n"] == 1
