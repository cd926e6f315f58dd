"""Coreference scores from clusterings: MUC, B-cubed, CEAF-e, CEAF-m, LEA, BLANC, mention identification, CoNLL F1.

Each score is a ratio of sums over documents, as in the reference scorer (version 8.01): counts are taken per document,
added up, and divided once. This module holds the two halves: `count`, and `scores`, which divides.

How the sides may differ: a mention is its span. Predicted mentions that the gold does not have ("twinless"), and gold
mentions that were not found, count in the sizes of their clusters and in no intersection. F1 of 0/0 is 0.

Notation: k and r are the sizes of a gold and of a predicted cluster, n the size of their intersection (a *cell*).

- MUC: Vilain et al. 1995, A Model-Theoretic Coreference Scoring Scheme.
- B-cubed: Bagga and Baldwin 1998, Algorithms for Scoring Coreference Chains.
- CEAF: Luo 2005, On Coreference Resolution Performance Metrics.
- BLANC: Recasens and Hovy 2011; Luo et al. 2014, An Extension of BLANC to System Mentions.
- LEA: Moosavi and Strube 2016, Which Coreference Evaluation Metric Do You Trust?
- Treatment of predicted mentions, pooling, CoNLL F1: Pradhan et al. 2014, Scoring Coreference Partitions of Predicted
  Mentions: A Reference Implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Pair = tuple[np.ndarray, np.ndarray]  # of the gold and of the prediction
RATIO_METRICS = ("muc", "b_cubed", "ceaf_e", "ceaf_m", "lea", "mention")
COLUMNS = (
    *(f"{m}_{part}" for m in RATIO_METRICS for part in ("recall_num", "recall_den", "precision_num", "precision_den")),
    *(f"blanc_{links}_{part}" for links in ("coreference", "other") for part in ("common", "gold", "predicted")),
)


@dataclass(frozen=True)
class Partitions:
    """Two clusterings of the same items (mentions, or mentions and regions) over all documents.

    `gold`, `predicted`: [items] number of the item's cluster, -1 where that side does not have the item.
    `gold_document`, `predicted_document`: [clusters] the document of each cluster. `documents`: how many there are.
    """

    gold: np.ndarray
    predicted: np.ndarray
    gold_document: np.ndarray
    predicted_document: np.ndarray
    documents: int


def without_singletons(partitions: Partitions) -> Partitions:
    """The same clusterings less the clusters of one item, each side by itself."""

    def drop(cluster_of: np.ndarray, clusters: int) -> np.ndarray:
        sizes = _sizes(cluster_of, clusters)
        alone = (cluster_of >= 0) & (sizes[cluster_of] == 1) if clusters else np.zeros(len(cluster_of), dtype=bool)
        return np.where(alone, -1, cluster_of)

    gold = drop(partitions.gold, len(partitions.gold_document))
    predicted = drop(partitions.predicted, len(partitions.predicted_document))
    return Partitions(gold, predicted, partitions.gold_document, partitions.predicted_document, partitions.documents)


def count(partitions: Partitions) -> np.ndarray:
    """Numerators and denominators of every score: float64 [documents, len(COLUMNS)]."""
    p, documents = partitions, partitions.documents
    sizes = _sizes(p.gold, len(p.gold_document)), _sizes(p.predicted, len(p.predicted_document))
    shared = (p.gold >= 0) & (p.predicted >= 0)
    width = max(len(p.predicted_document), 1)
    cells, n = np.unique(p.gold[shared] * width + p.predicted[shared], return_counts=True)
    row, column = cells // width, cells % width
    k, r = sizes[0][row], sizes[1][column]

    def per_cell(values: np.ndarray) -> np.ndarray:
        return np.bincount(p.gold_document[row], values, documents)

    def per_cluster(values: Pair) -> Pair:
        owners = p.gold_document, p.predicted_document
        return np.bincount(owners[0], values[0], documents), np.bincount(owners[1], values[1], documents)

    # A cluster of size 0 was dropped (or holds regions alone): it has no links and is not counted.
    present = per_cluster((sizes[0] > 0, sizes[1] > 0))
    mentions = per_cluster(sizes)
    links = per_cluster((sizes[0] - (sizes[0] > 0), sizes[1] - (sizes[1] > 0)))
    found, common_links = per_cell(n), per_cell(n - 1)
    entities, aligned = _align(row, column, (2 * n / (k + r), n.astype(float)), len(sizes[0]), len(sizes[1]))
    ceaf_e, ceaf_m = (np.bincount(p.gold_document[entities], values, documents) for values in aligned)
    # BLANC's coreference links, and the others: of the mentions that both sides have, common other links are
    # all - linked in gold - linked in prediction + linked in both.
    linked = per_cluster((_pairs(sizes[0]), _pairs(sizes[1])))
    both = per_cell(_pairs(n))
    kept = np.bincount(row, n, len(sizes[0])), np.bincount(column, n, len(sizes[1]))
    kept_links = per_cluster((_pairs(kept[0]), _pairs(kept[1])))
    other_common = _pairs(found) - kept_links[0] - kept_links[1] + both
    return np.stack(
        [
            *(common_links, links[0], common_links, links[1]),
            *(per_cell(n * n / k), mentions[0], per_cell(n * n / r), mentions[1]),
            *(ceaf_e, present[0], ceaf_e, present[1]),
            *(ceaf_m, mentions[0], ceaf_m, mentions[1]),
            *(per_cell(_resolved(n, k, r)), mentions[0], per_cell(_resolved(n, r, k)), mentions[1]),
            *(found, mentions[0], found, mentions[1]),
            *(both, *linked),
            *(other_common, _pairs(mentions[0]) - linked[0], _pairs(mentions[1]) - linked[1]),
        ],
        axis=1,
    )


def scores(totals: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """Scores from counts summed over documents, [..., len(COLUMNS)] -> {key: [...]}; see the module for the formulas.

    Recall and precision are num/den (0/0 = 0), F1 their harmonic mean; `conll_f1` is the mean of the F1 of MUC, B-cubed
    and CEAF-e.
    """
    result: dict[str, np.ndarray] = {}
    for i, metric in enumerate(RATIO_METRICS):
        recall_num, recall_den, precision_num, precision_den = np.moveaxis(totals[..., 4 * i : 4 * i + 4], -1, 0)
        recall, precision = ratio(recall_num, recall_den), ratio(precision_num, precision_den)
        result |= _named(f"{prefix}{metric}", recall, precision, harmonic(recall, precision))
    result |= _named(f"{prefix}blanc", *_blanc(totals[..., 4 * len(RATIO_METRICS) :]))
    parts = [result[f"{prefix}{metric}_f1"] for metric in ("muc", "b_cubed", "ceaf_e")]
    result[f"{prefix}conll_f1"] = np.mean(parts, axis=0)
    return result


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """numerator / denominator, and `empty` where the denominator is 0."""
    nothing = denominator == 0
    return np.where(nothing, empty, numerator / np.where(nothing, 1, denominator))


def harmonic(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """F1 = 2 R P / (R + P), 0 where both are 0."""
    return ratio(2 * recall * precision, recall + precision)


def _named(name: str, recall: np.ndarray, precision: np.ndarray, f1: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}_precision": precision, f"{name}_recall": recall, f"{name}_f1": f1}


def _sizes(cluster_of: np.ndarray, clusters: int) -> np.ndarray:
    return np.bincount(cluster_of[cluster_of >= 0], minlength=clusters)


def _resolved(n: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """LEA: a cluster's size times the share of its links that the other side has, per cell.

    own * [n(n-1)/2] / [own(own-1)/2] = n(n-1)/(own-1). A singleton has one link, to itself: the other side has it when
    the mention is a singleton there as well.
    """
    return np.where(own > 1, n * (n - 1) / np.maximum(own - 1, 1), other == 1)


def _pairs(count: np.ndarray) -> np.ndarray:
    return count * (count - 1) / 2


def _blanc(totals: np.ndarray) -> tuple[np.ndarray, ...]:
    """BLANC recall, precision and F1 from its columns [..., 6]: the mean of coreference links and other links.

    A gold without links of one kind is scored by the other kind alone; a gold without any link scores 0.
    """
    common, gold, predicted = np.moveaxis(totals.reshape(*totals.shape[:-1], 2, 3), -1, 0)  # each [..., kind of link]
    recall, precision = ratio(common, gold), ratio(common, predicted)
    has = gold > 0
    kinds = np.maximum(has.sum(axis=-1), 1)
    return tuple(np.where(has, v, 0).sum(axis=-1) / kinds for v in (recall, precision, harmonic(recall, precision)))


def _align(
    row: np.ndarray, column: np.ndarray, weights: tuple[np.ndarray, ...], rows: int, columns: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Best one-to-one alignment of gold (row) and predicted (column) clusters, which share the listed cells.

    Returns the gold clusters of the parts that the alignment falls into, and each part's weight, once for each array
    of `weights`. Clusters that share no mention weigh 0 together, so each connected part is solved by itself.
    """
    if not len(row):
        return row, [np.zeros(0) for _ in weights]
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column + rows)), shape=(rows + columns,) * 2)
    part = connected_components(graph, directed=False)[1][row]
    order = np.argsort(part, kind="stable")
    starts = np.flatnonzero(np.diff(part[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    totals = [np.maximum.reduceat(weight[order], starts) for weight in weights]
    # Where one cluster meets several (a star), the heaviest cell is the alignment; the rest need solving.
    for i in np.flatnonzero(ends - starts > 2):
        cells = order[starts[i] : ends[i]]
        _, r = np.unique(row[cells], return_inverse=True)
        _, c = np.unique(column[cells], return_inverse=True)
        if r.max() == 0 or c.max() == 0:
            continue
        matrix = np.zeros((r.max() + 1, c.max() + 1))
        for total, weight in zip(totals, weights, strict=True):
            matrix[r, c] = weight[cells]
            total[i] = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    return row[order[starts]], totals
