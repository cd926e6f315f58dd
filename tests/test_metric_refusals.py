"""Bad input is refused, naming document and cluster; every message is fixed here."""

import re
from contextlib import AbstractContextManager

import numpy as np
import pytest

from tiktalkcoref.evaluate_metric import compare, score
from tiktalkcoref.evaluate_metric.inputs import show

GOOD = [[[0, 0], [2, 3]], [[5, 5]]]
BOX = {"frame": 1, "bbox": [0, 0, 5, 5]}


def refuses(message: str, whole: bool = True) -> AbstractContextManager:
    """Expects a ValueError with exactly this message, or one that begins with it."""
    return pytest.raises(ValueError, match=f"^{re.escape(message)}{'$' if whole else ''}")


def refused(message: str, prediction: dict | None = None, reference: dict | None = None, **options) -> None:
    """The second of two documents is bad; its message is exactly this."""
    good = {"clusters": GOOD}
    others = [{} for _ in range(2)]
    for other, document in zip(others, (prediction, reference), strict=True):
        # the first document has the same optional fields, so that the second is not refused for having them
        empty = {key: [[], []] for key in ("rankings", "scores", "region_scores", "boxes")}
        empty |= {"links": [-1, -1], "kinds": ["noun", None], "regions": 3}
        other.update({key: empty[key] for key in empty.keys() & (document or {}).keys()})
    with refuses(message):
        score([good | others[0], good | (prediction or {})], [good | others[1], good | (reference or {})], **options)


SPAN = "is not two integers [start, end] (token offsets, end inclusive)"


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ([[0, 0], [1, 2, 3]], f"span [1, 2, 3] {SPAN}"),
        ([[1]], f"span [1] {SPAN}"),
        ([7], f"span 7 {SPAN}"),
        ([[0, 1.5]], f"span [0, 1.5] {SPAN}"),
        ([["0", "1"]], f"span ['0', '1'] {SPAN}"),
        ([[True, True]], f"span [True, True] {SPAN}"),
        ([[0, None]], f"span [0, None] {SPAN}"),
        ([[3, 1]], "span [3, 1] ends before it starts; the end is inclusive, so end >= start"),
        ([[-2, 1]], "span [-2, 1] is negative; token offsets count from 0"),
        ([[0, 2**63]], f"span [0, {2**63}] is too large for a token offset"),
        ([], "it is empty, expected at least one mention; leave the cluster out"),
        ("ab", "found 'ab', expected a list of [start, end] spans"),
    ],
)
def test_spans(cluster, problem):
    refused(f"predictions, document 1, cluster 1: {problem}", {"clusters": [[[9, 9]], cluster]})
    refused(
        f"references, document 1 (doc_key 'b'), cluster 0: {problem}", None, {"clusters": [cluster], "doc_key": "b"}
    )


def test_a_mention_in_two_clusters():
    message = (
        "predictions, document 1, cluster 0: mention [2, 3] is also in cluster 2; a mention belongs to one cluster"
    )
    refused(message, {"clusters": [[[2, 3]], [[4, 4]], [[2, 3]]]})


def test_clusters_of_another_shape():
    refused("predictions, document 1: 'clusters' is 3, expected a list of clusters", {"clusters": 3})
    missing = "predictions, document 1: 'clusters' is missing; expected a list of clusters, each a list of [start, end]"
    refused(missing, {"clusters": None})


def test_lists_of_different_lengths():
    with refuses("1 predictions and 2 references: expected one of each for every document, in", whole=False):
        score([{"clusters": GOOD}], [{"clusters": GOOD}] * 2)
    for key in ("rankings", "scores", "links", "region_scores"):
        value = [0] if key == "links" else [[]]
        extra = {"rankings": [[], []]} if key == "scores" else {}
        message = f"predictions, document 1: {key!r} has 1 entries for 2 gold clusters; give one each"
        refused(message, {key: value} | extra, {"links": [-1, -1]})
    for key in ("links", "kinds"):
        message = f"references, document 1: {key!r} has 1 entries for 2 gold clusters; give one each"
        links = {"links": [-1, -1]} if key == "kinds" else {}
        refused(message, {"rankings": [[], []]}, links | {key: [-1] if key == "links" else ["noun"]})
    boxes = "'boxes' has 1 entries for 2 clusters; give a list of boxes for each"
    refused(f"predictions, document 1: {boxes}", {"boxes": [[]]}, {"boxes": [[], []]})
    refused(f"references, document 1: {boxes}", {"boxes": [[], []]}, {"boxes": [[]]})


def test_unknown_keys():
    refused("predictions, document 1: unknown key 'rankigns'; did you mean 'rankings'?", {"rankigns": [[], []]})
    known = "known keys: boxes, candidates, clusters, kinds, links, regions"
    refused(f"references, document 1: unknown key 'zzz'; {known}", None, {"zzz": 1})


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "predictions and references are empty: there is nothing to score; give at least one document"),
        ({"clusters": []}, "predictions: found dict, expected a list with one dict a document"),
        (None, "predictions: found NoneType, expected a list with one dict a document"),
        ([[]], "predictions, document 0: found list, expected a dict with 'clusters'"),
    ],
)
def test_batches(predictions, message):
    with refuses(message):
        score(predictions, [])


def test_documents_out_of_order():
    message = (
        "predictions, document 1 (doc_key 'x'): the reference in the same place has doc_key 'y'; give both in one order"
    )
    refused(message, {"doc_key": "x"}, {"doc_key": "y"})


def test_a_field_that_only_some_documents_have():
    good = {"clusters": GOOD}
    linked = good | {"links": [-1, -1]}
    message = "predictions, document 1: 'rankings' is missing, though other documents have it; give it for all or none"
    with refuses(message):
        score([good | {"rankings": [[], []]}, good], [linked, linked])


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        (
            {"rankings": [[0, 1, 0], []]},
            "cluster 0: region 0 is repeated in the ranking [0, 1, 0]; rank each region once",
        ),
        ({"rankings": [[], [3]]}, "cluster 1: unknown region 3 in the ranking [3]; the document has 3 regions"),
        ({"rankings": [[-1], []]}, "cluster 0: unknown region -1 in the ranking [-1]; the document has 3 regions"),
        ({"rankings": [["a"], []]}, "cluster 0: ranking ['a'] is not a list of region numbers, best first"),
        ({"rankings": [0, []]}, "cluster 0: ranking 0 is not a list of region numbers, best first"),
        (
            {"rankings": [[0, 1], []], "scores": [[1], []]},
            "cluster 0: 1 scores for a ranking of 2 regions; give one each",
        ),
        (
            {"rankings": [[0, 1], []], "scores": [[1, 2], []]},
            "cluster 0: scores [1, 2] rise along the ranking; rankings are best first",
        ),
        ({"region_scores": [[float("nan")], []]}, "cluster 0: scores [nan] are not a list of numbers, one a region"),
        (
            {"region_scores": [[0.5, 0.2, 0.1], [0.5]]},
            "cluster 1: scores of 1 regions, and of 3 for another cluster; give all",
        ),
        ({"links": [3, 0]}, "cluster 0: link 3 is unknown; the document has 3 regions; -1 is no visual counterpart"),
    ],
)
def test_rankings(prediction, problem):
    refused(f"predictions, document 1, {problem}", prediction, {"links": [0, -1], "regions": 3})


def test_a_ranking_of_a_region_that_could_not_be_chosen():
    message = "cluster 0: unknown region 2 in the ranking [0, 2]; the document has 3 regions, of which 2 can be chosen"
    reference = {"clusters": GOOD, "links": [0, -1], "regions": 3, "candidates": 2}
    with refuses(f"predictions, document 0, {message}"):
        score([{"clusters": GOOD, "rankings": [[0, 2], []]}], [reference])


def test_an_unknown_region_where_the_reference_does_not_count_them():
    message = (
        "predictions, document 1, cluster 0: unknown region 9 in the ranking [0, 9]; the document has 2 regions as far "
        "as links and rankings show; give 'regions' in the reference where it has more"
    )
    refused(message, {"rankings": [[0, 9], []]}, {"links": [0, -1]})


def test_scores_in_two_forms_or_without_rankings():
    links = {"links": [0, -1]}
    message = "'region_scores' stands instead of 'rankings' and 'scores'; give one or the other"
    refused(f"predictions, document 0: {message}", {"rankings": [[], []], "region_scores": [[], []]}, links)
    message = "predictions, document 0: 'scores' without 'rankings'; expected rankings that they belong to"
    refused(message, {"scores": [[], []]}, links)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (
            {"links": [3, -1]},
            ", cluster 0: link 3 is unknown; expected below 3, the number of regions, or -1 for no visual",
        ),
        ({"links": [0, -2]}, ", cluster 1: link -2 is unknown; expected below 3, the number of regions, or -1 for no"),
        (
            {"links": [0, -1], "regions": 2, "candidates": 3},
            ": 'candidates' is 3, expected how many of the document's 'regions' can be chosen",
        ),
        (
            {"links": [0, -1], "candidates": 1, "regions": None},
            ": 'candidates' is 1, expected how many of the document",
        ),
        ({"links": [0, -1], "regions": -1}, ": 'regions' is -1, expected the number of regions of the document"),
        (
            {"links": [0, -1], "kinds": ["a b", None]},
            ", cluster 0: kind 'a b' is not a word such as 'name', 'pronoun' or",
        ),
        (
            {"links": [0, -1], "kinds": ["name", "visual"]},
            ", cluster 1: kind 'visual' is taken: linking_visual_* is whether there is a counterpart",
        ),
    ],
)
def test_gold_links(reference, problem):
    good = {"clusters": GOOD}
    reference = good | {"regions": 3} | reference
    with refuses(f"references, document 0{problem}", whole=False):
        score([good | {"rankings": [[], []]}], [reference])
    with refuses(f"references, document 0{problem}", whole=False):
        score([good], [reference])  # also where no links are predicted


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        (
            [{"cur_frame": 1, "bbox": [0, 0, 5, 5]}],
            "visual annotation 0 has the keys cur_frame, bbox; expected 'box_",
        ),
        ([7], "visual annotation 0 is no dict; expected 'box_labels' among them"),
        ("C1", "'visual_annotations' is 'C1', expected a list of boxes"),
    ],
)
@pytest.mark.parametrize("prediction", [{"rankings": [[], []]}, {"boxes": [[], []]}])
def test_annotations_of_rows(prediction, annotations, problem):
    row = {"clusters": GOOD, "entity_labels": ["C1", "none"], "visual_annotations": annotations}
    with refuses(f"references, document 0: {problem}", whole=False):
        score([{"clusters": GOOD} | prediction], [row])


def test_links_or_boxes_without_gold():
    message = (
        "references, document 0: 'links' is missing, and the predictions rank regions; give one region or -1 a cluster"
    )
    refused(message, {"rankings": [[], []]})
    message = (
        "references, document 0: 'boxes' is missing, and the predictions have boxes; give a list of boxes a cluster"
    )
    refused(message, {"boxes": [[], []]})


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        ([[1], []], "0: box 1 is not {'frame': number, 'bbox': [x1, y1, x2, y2]}"),
        ([[{"frame": 1}], []], "0: box {'frame': 1} is not {'frame': number, 'bbox': [x1, y1, x2, y2]}"),
        ([[], [BOX | {"frame": 1.5}]], "1: frame 1.5 is not an integer"),
        ([[], [BOX | {"bbox": [0, 0, 5]}]], "1: bbox [0, 0, 5] is not four numbers x1, y1, x2, y2"),
        ([[], [BOX | {"bbox": [5, 0, 5, 5]}]], "1: bbox [5, 0, 5, 5] has no area; expected x1 < x2 and y1 < y2"),
        ([[], [BOX | {"bbox": [0, 5, 5, 5]}]], "1: bbox [0, 5, 5, 5] has no area; expected x1 < x2 and y1 < y2"),
        ([[], [BOX | {"bbox": 7}]], "1: bbox 7 is not four numbers x1, y1, x2, y2"),
        ([[], [BOX | {"bbox": [0, 0, 5, float("inf")]}]], "1: bbox [0, 0, 5, inf] is not four numbers x1, y1, x2, y2"),
        (
            [[], [{"bbox": [0, 0, 5, 5]}]],
            "1: box {'bbox': [0, 0, 5, 5]} is not {'frame': number, 'bbox': [x1, y1, x2, y2]}",
        ),
        ([[], 7], "1: boxes 7 are not a list of {'frame', 'bbox'}"),
        ([[BOX], [BOX]], "1: box [0.0, 0.0, 5.0, 5.0] of frame 1 is also in cluster 0; give it once"),
        ([[BOX, BOX], []], "0: box [0.0, 0.0, 5.0, 5.0] of frame 1 is also in cluster 0; give it once"),
    ],
)
def test_boxes(boxes, problem):
    refused(f"predictions, document 1, cluster {problem}", {"boxes": boxes}, {"boxes": [[], []]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": (0, 1)}, "ks is [0, 1], expected different positive integers"),
        ({"ks": ()}, "ks is [], expected different positive integers"),
        ({"ks": (1, 1)}, "ks is [1, 1], expected different positive integers"),
        ({"ks": "123"}, "ks is ['1', '2', '3'], expected different positive integers"),
        ({"ks": 3}, "ks is 3, expected a list of different positive integers, such as [1, 2, 3]"),
        ({"ks": None}, "ks is None, expected a list of different positive integers, such as [1, 2, 3]"),
        ({"keep_singletons": "no"}, "keep_singletons is 'no', expected True or False"),
        ({"iou_threshold": 0}, "iou_threshold is 0, expected a number in (0, 1]"),
        ({"iou_threshold": 1.5}, "iou_threshold is 1.5, expected a number in (0, 1]"),
        ({"iou_threshold": "0.5"}, "iou_threshold is '0.5', expected a number in (0, 1]"),
        ({"iou_threshold": float("nan")}, "iou_threshold is nan, expected a number in (0, 1]"),
        ({"n_resamples": 10.0}, "n_resamples is 10.0, expected an integer >= 0"),
        ({"confidence_level": None}, "confidence_level is None, expected a number between 0 and 1, such as 0.95"),
        ({"confidence_level": 0}, "confidence_level is 0, expected a number between 0 and 1, such as 0.95"),
        ({"confidence_level": 1}, "confidence_level is 1, expected a number between 0 and 1, such as 0.95"),
        ({"n_resamples": -1}, "n_resamples is -1, expected an integer >= 0"),
        ({"confidence_level": 95}, "confidence_level is 95, expected a number between 0 and 1, such as 0.95"),
        ({"seed": -1}, "seed is -1, expected an integer >= 0"),
    ],
)
def test_options(options, message):
    refused(message, **options)


def test_comparisons():
    one = [{"clusters": GOOD}]
    with refuses("compare needs the references of the predictions, or two results of `score`"):
        compare(one, one)
    with refuses("a covers 1 documents, b 2; compare over the same ones"):
        compare(score(one, one), score(one * 2, one * 2))
    other = [{"clusters": [[[0, 0]]]}]
    with refuses("a and b were scored against different references (document 0)", whole=False):
        compare(score(one, one), score(one, other))
    with refuses("n_resamples is 0, expected an integer >= 1"):
        compare(one, one, one, n_resamples=0)
    linked = [{"clusters": GOOD, "links": [0, -1]}]
    a, b = (score([one[0] | {"rankings": [[0], []]}], linked, ks=ks) for ks in ((1,), (1, 2)))
    with refuses("a and b were not scored alike (linking): use the same `ks`", whole=False):
        compare(a, b)


def test_arrays_and_tuples_are_lists():
    arrays = [{"clusters": [np.array([[0, 0], [2, 3]]), np.array([[5, 5]])]}]
    tuples = ({"clusters": (((0, 0), (2, 3)), ((np.int32(5), 5),))},)
    assert score(arrays, tuples)["conll_f1"] == 1


def test_offsets_of_any_size():
    far = [{"clusters": [[[10**12, 10**12 + 1], [3, 3]]]}]
    assert score(far, far)["conll_f1"] == 1
    assert score(far, [{"clusters": [[[10**12, 10**12 + 2], [3, 3]]]}])["mention_f1"] == 0.5


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        ({"rankings": 7}, {"links": [0, -1]}, "'rankings' is 7, expected a list with one entry a gold cluster"),
        ({"boxes": 7}, {"boxes": [[], []]}, "'boxes' has 7 for 2 clusters; give a list of boxes for each"),
        ({"links": [1.5, -1]}, {"links": [0, -1], "regions": 3}, "cluster 0: link 1.5 is unknown; the document has 3"),
        ({"links": [-2, -1]}, {"links": [0, -1], "regions": 3}, "cluster 0: link -2 is unknown; the document has 3"),
        ({"rankings": [[0], []], "scores": [["x"], []]}, {"links": [0, -1]}, "cluster 0: scores ['x'] are not a list"),
        ({"region_scores": [[True], [0.5]]}, {"links": [0, -1]}, "cluster 0: scores [True] are not a list of numbers"),
        ({"rankings": [[1, 0, 0], []]}, {"links": [0, -1]}, "cluster 0: region 0 is repeated in the ranking [1, 0, 0]"),
    ],
)
def test_other_forms(prediction, reference, message):
    good = {"clusters": GOOD}
    with pytest.raises(ValueError, match=f"^predictions, document 0(: |, ){re.escape(message)}"):
        score([good | prediction], [good | reference])


def test_gold_links_that_are_no_regions():
    good = {"clusters": GOOD}
    expected = (
        "references, document 0, cluster 0: link 1.5 is unknown; expected a region number or -1 for no visual count"
    )
    with refuses(expected, whole=False):
        score([good], [good | {"links": [1.5, -1]}])


def test_rows_without_annotations_or_with_labels_missing():
    good = {"clusters": GOOD}
    with refuses("references, document 0: 'links' is missing", whole=False):
        score([good | {"rankings": [[], []]}], [good | {"entity_labels": ["C1", "none"]}])
    with refuses("references, document 0: 'entity_labels' has 1 entries for 2 gold clusters; give one each"):
        score([good | {"rankings": [[], []]}], [good | {"entity_labels": ["C1"], "visual_annotations": []}])


def test_what_is_shown_of_a_value_is_short():
    assert show("x" * 58) == f"'{'x' * 58}'"
    assert show("x" * 59) == f"'{'x' * 56}..."
    assert show(np.array([1, 2])) == "[1, 2]"


def test_a_key_on_one_side_alone_and_any_field_of_a_row():
    row = dict.fromkeys(("video_type", "genre", "video_title", "video_path", "split", "part", "speakers"))
    row |= {key: [] for key in ("sentences", "speaker_ids", "sentence_map", "subtoken_map", "clusters_str")}
    for prediction, reference in (({"doc_key": "a"}, {}), ({}, {"doc_key": "a"}), ({"doc_key": "a"}, {"doc_key": "a"})):
        assert score([row | {"clusters": GOOD} | prediction], [row | {"clusters": GOOD} | reference])["conll_f1"] == 1


def test_the_largest_offsets_do_not_collide():
    """Packed into 64 bits, the starts 0 and 2**31 would be one."""
    last, far = [2**33 - 1, 2**33 - 1], 2**31 + 5
    found = score([{"clusters": [[[0, far], last]]}], [{"clusters": [[[2**31, far], last]]}])
    assert found["mention_f1"] == 0.5
    largest = [{"clusters": [[[0, 2**63 - 1]]]}]
    assert score(largest, largest)["conll_f1"] == pytest.approx(2 / 3)


def test_spans_of_three_are_refused_where_all_are():
    """The whole array is then of one shape, and a wrong one."""
    three = [{"clusters": [[[0, 1, 2], [3, 4, 5]]]}]
    with refuses("predictions, document 0, cluster 0: span [0, 1, 2] is not two integers", whole=False):
        score(three, [{"clusters": GOOD}])


def test_the_largest_offset_beside_a_cluster_of_regions_alone():
    document = {"clusters": [[[0, 2**63 - 1]], []], "boxes": [[], [BOX]]}
    assert score([document], [document])["multimodal_mention_f1"] == 1


def test_a_mention_is_its_document_and_both_offsets():
    documents = [{"clusters": [[[0, 1]]]}, {"clusters": [[[0, 0]], [[1, 1]]]}, {"clusters": [[[1, 2]]]}]
    assert score(documents, documents)["mention_f1"] == 1
    assert score(documents, documents[1:] + documents[:1])["mention_f1"] == 0
