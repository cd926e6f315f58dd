"""Linking scores: does a gold cluster find its region among the regions of its video?

A query is a gold cluster that has a gold region. Its rank is the place of that region in the system's ranking; regions
of equal score all count as ranked before it, so a tie never helps. A region that is not ranked is a miss.

    recall@k = share of queries with rank <= k     MRR = mean of 1/rank (0 for a miss)
    chance@k = mean of min(k, pool)/pool           pool = number of regions of the video

Where the system could choose only among the first `candidates` of a document's regions (a tracker missed the others),
these are the pool, and a query for one of the others is a miss whose chance is 0.

All are micro averages over queries. "Has a visual counterpart" is scored over all gold clusters, linked ones being the
positives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np

from .coreference import harmonic, ratio
from .inputs import NO_COUNTERPART, Side, is_integer, is_list, is_number, show

VISUAL = "visual"  # what the scores of "has a visual counterpart" are called; no kind of cluster may be


@dataclass(frozen=True)
class Links:
    """What linking is scored from; `documents` many documents.

    One entry a query: `document`, `kind` (index into `kinds`, -1 unknown), `rank` (inf: a miss), `pool`, `reached` (0
    where the region is no candidate, else 1).
    `visual`: [documents, 3] clusters with a counterpart: in both, in the prediction, in the gold; `visual_n`:
    [documents] all gold clusters. `ranked`: whether the system gave rankings at all.
    """

    document: np.ndarray
    kind: np.ndarray
    rank: np.ndarray
    pool: np.ndarray
    reached: np.ndarray
    kinds: tuple[str, ...]
    visual: np.ndarray
    visual_n: np.ndarray
    ranked: bool
    documents: int


def read_links(predicted: Side, gold: Side) -> Links | None:
    """The queries of all documents; None where the predictions say nothing about regions.

    Raises ValueError naming document and cluster.
    """
    _check_gold(gold)
    rankings, ties = _read_rankings(predicted, gold)
    chosen = _rows(predicted, gold, "links")
    if rankings is None and chosen is None:
        return None
    links, regions = _read_gold(gold)
    kinds = gold.column("kinds")
    names = tuple(sorted({name for _, _, name in _each(kinds) if name is not None}))
    queries = []
    visual, visual_n = np.zeros((len(links), 3)), np.zeros(len(links))
    for i, row in enumerate(links):
        ranked = rankings[i] if rankings else [[]] * len(row)
        own = chosen[i] if chosen else None
        pool = _check_regions(predicted, i, row, ranked, own, regions[i], gold.documents[i].get("candidates"))
        for j, link in enumerate(row):
            has = own[j] >= 0 if own is not None else len(ranked[j]) > 0
            visual[i] += (has and link >= 0, has, link >= 0)
            if link >= 0 and rankings:
                kind = names.index(kinds[i][j]) if kinds and kinds[i][j] is not None else -1
                queries.append((i, kind, _rank(link, ranked[j], ties[i][j] if ties else None), pool, link < pool))
        visual_n[i] = len(row)
    table = np.array(queries, dtype=float).reshape(-1, 5)
    documents, query_kinds = table[:, :2].astype(int).T
    rank, pools, reached = table[:, 2:].T
    return Links(documents, query_kinds, rank, pools, reached, names, visual, visual_n, bool(rankings), len(links))


def count(links: Links, ks: Sequence[int]) -> np.ndarray:
    """Sums per document, float64 [documents, columns]; the columns are those that `scores` takes apart."""
    columns = []
    if links.ranked:
        for group in (None, *range(len(links.kinds))):
            mask = np.ones(len(links.document), dtype=bool) if group is None else links.kind == group
            document, rank, pool = links.document[mask], links.rank[mask], links.pool[mask]
            values = [np.ones(len(rank)), 1 / rank, pool, *(rank <= k for k in ks)]
            values += [links.reached[mask] * np.minimum(k, pool) / np.maximum(pool, 1) for k in ks]
            columns += [np.bincount(document, value, links.documents) for value in values]
    return np.column_stack([*columns, links.visual, links.visual_n])


def scores(totals: np.ndarray, ks: Sequence[int], kinds: Sequence[str], ranked: bool) -> dict[str, np.ndarray]:
    """Scores from summed counts [..., columns] -> {key: [...]}; not a number where there are no queries."""
    result: dict[str, np.ndarray] = {}
    width = 3 + 2 * len(ks)
    for i, name in enumerate(("", *kinds) if ranked else ()):
        part = np.moveaxis(totals[..., i * width : (i + 1) * width], -1, 0)
        prefix, n = f"linking_{name}_" if name else "linking_", part[0]
        recalls = [ratio(part[3 + j], n, np.nan) for j in range(len(ks))]
        result |= {f"{prefix}recall_at_{k}": recall for k, recall in zip(ks, recalls, strict=True)}
        result |= {f"{prefix}chance_at_{k}": ratio(part[3 + len(ks) + j], n, np.nan) for j, k in enumerate(ks)}
        result[f"{prefix}mean_recall"] = np.mean(recalls, axis=0)
        result[f"{prefix}mrr"] = ratio(part[1], n, np.nan)
        result[f"{prefix}mean_pool"] = ratio(part[2], n, np.nan)
        result[f"{prefix}n"] = n
    common, predicted, gold, n = np.moveaxis(totals[..., -4:], -1, 0)
    precision, recall = ratio(common, predicted), ratio(common, gold)
    return result | {
        f"linking_{VISUAL}_precision": precision,
        f"linking_{VISUAL}_recall": recall,
        f"linking_{VISUAL}_f1": harmonic(recall, precision),
        f"linking_{VISUAL}_n": n,
    }


def _rank(region: int, ranking: Sequence[int], values: Sequence[float] | None) -> float:
    """1 for the best; ties are resolved against the system; infinity where the region is not ranked."""
    where = [place for place, other in enumerate(ranking) if other == region]
    if not where:
        return math.inf
    return where[0] + 1 if values is None else sum(value >= values[where[0]] for value in values)


def _read_rankings(predicted: Side, gold: Side) -> tuple[list | None, list | None]:
    """Rankings [documents][gold clusters][regions] and, where given, the scores parallel to them."""
    rankings, values, by_region = (_rows(predicted, gold, key) for key in ("rankings", "scores", "region_scores"))
    for i, j, row in chain(_each(values), _each(by_region)):
        if not is_list(row) or not all(is_number(value) for value in row):
            predicted.refuse(i, j, f"scores {show(row)} are not a list of numbers, one a region")
    if by_region is not None:
        if rankings is not None or values is not None:
            predicted.refuse(
                0, None, "'region_scores' stands instead of 'rankings' and 'scores'; give one or the other"
            )
        for i, j, row in _each(by_region):
            if len(row) not in (0, most := max(map(len, by_region[i]))):
                predicted.refuse(i, j, f"scores of {len(row)} regions, and of {most} for another cluster; give all")
        return [[list(range(len(row))) for row in rows] for rows in by_region], by_region
    if values is not None and rankings is None:
        predicted.refuse(0, None, "'scores' without 'rankings'; expected rankings that they belong to")
    for i, j, row in _each(rankings):
        if not is_list(row) or not all(is_integer(region) for region in row):
            predicted.refuse(i, j, f"ranking {show(row)} is not a list of region numbers, best first")
        if len(set(row)) < len(row):
            repeated = next(region for place, region in enumerate(row) if region in row[:place])
            predicted.refuse(i, j, f"region {repeated} is repeated in the ranking {show(row)}; rank each region once")
    for i, j, row in _each(values):
        count = len(rankings[i][j]) if rankings else 0
        if len(row) != count:
            predicted.refuse(i, j, f"{len(row)} scores for a ranking of {count} regions; give one each")
        if any(one < other for one, other in pairwise(row)):
            predicted.refuse(i, j, f"scores {show(row)} rise along the ranking; rankings are best first")
    return rankings, values


def _read_gold(gold: Side) -> tuple[list[list[int]], list[int | None]]:
    """Gold links, and the number of regions where it is known.

    Of dataset rows: cluster and region share a label; regions are the row's visual annotations, in their order.
    """
    links = gold.column("links")
    if links is not None:
        return links, gold.column("regions") or [None] * len(links)
    links, regions = [], list[int | None]()
    for i in range(len(gold.documents)):
        labels, annotations = read_labels(
            gold, i, "'links' is missing, and the predictions rank regions; give one region or -1 a cluster"
        )
        boxed = [annotation["box_labels"] for annotation in annotations]
        links.append([boxed.index(n) if n not in NO_COUNTERPART and n in boxed else -1 for n in labels])
        regions.append(len(annotations))
    return links, regions


def read_labels(gold: Side, document: int, missing: str) -> tuple[Sequence[str | None], Sequence[dict]]:
    """A dataset row's labels, one a cluster (either generation's name), and its annotations; refused if `missing`."""
    row = gold.documents[document]
    labels, annotations = row.get("entity_labels"), row.get("visual_annotations")
    labels = row.get("entity_label") if labels is None else labels
    if labels is None or annotations is None:
        gold.refuse(document, None, missing)
    _check_length(gold, gold, document, "entity_labels", labels)
    if not is_list(annotations):
        gold.refuse(document, None, f"'visual_annotations' is {show(annotations)}, expected a list of boxes")
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict) or "box_labels" not in annotation:
            found = f"has the keys {', '.join(map(str, annotation))}" if isinstance(annotation, dict) else "is no dict"
            gold.refuse(document, None, f"visual annotation {number} {found}; expected 'box_labels' among them")
    return labels, annotations


def _check_gold(gold: Side) -> None:
    """What the references say about regions is well formed, whether or not it is needed."""
    for i, document in enumerate(gold.documents):
        links, kinds, regions, candidates = (document.get(key) for key in ("links", "kinds", "regions", "candidates"))
        if regions is not None and (not is_integer(regions) or regions < 0):
            gold.refuse(i, None, f"'regions' is {show(regions)}, expected the number of regions of the document")
        if candidates is not None and (regions is None or not is_integer(candidates) or not 0 <= candidates <= regions):
            expected = "expected how many of the document's 'regions' can be chosen"
            gold.refuse(i, None, f"'candidates' is {show(candidates)}, {expected}")
        for key, rows in (("links", links), ("kinds", kinds)):
            if rows is not None:
                _check_length(gold, gold, i, key, rows)
        for j, link in enumerate(links if links is not None else ()):
            if not _is_link(link, regions):
                known = "a region number" if regions is None else f"below {regions}, the number of regions,"
                gold.refuse(i, j, f"link {show(link)} is unknown; expected {known} or -1 for no visual counterpart")
        for j, kind in enumerate(kinds if kinds is not None else ()):
            if kind is not None and not (isinstance(kind, str) and kind.isidentifier()):
                expected = "a word such as 'name', 'pronoun' or 'noun' (None: not known)"
                gold.refuse(i, j, f"kind {show(kind)} is not {expected}")
            if kind == VISUAL:
                gold.refuse(i, j, f"kind {kind!r} is taken: linking_{kind}_* is whether there is a counterpart")


def _check_regions(
    predicted: Side,
    document: int,
    links: Sequence[int],
    rankings: Sequence[Sequence[int]],
    chosen: Sequence[int] | None,
    regions: int | None,
    candidates: int | None,
) -> int:
    """Every region that the prediction names is there to be chosen; returns how many are.

    Where the reference does not say (`regions`), the document has as many regions as the links and rankings show.
    """
    pool, source = regions, ""
    if pool is None:
        named = {region for ranking in rankings for region in ranking} | {link for link in links if link >= 0}
        pool = max(len(named), max(links, default=-1) + 1)
        source = " as far as links and rankings show; give 'regions' in the reference where it has more"
    known = f"the document has {pool} regions{source}"
    if candidates is not None:
        pool, known = candidates, f"{known}, of which {candidates} can be chosen"
    for j, ranking in enumerate(rankings):
        for region in ranking:
            if not 0 <= region < pool:
                predicted.refuse(document, j, f"unknown region {region} in the ranking {show(ranking)}; {known}")
    for j, link in enumerate(() if chosen is None else chosen):
        if not _is_link(link, regions):
            predicted.refuse(document, j, f"link {show(link)} is unknown; {known}; -1 is no visual counterpart")
    return pool


def _is_link(link: Any, regions: int | None) -> bool:
    """Whether it is -1 or the number of one of the regions, where it is known how many there are."""
    return is_integer(link) and link >= -1 and (regions is None or link < regions)


def _rows(side: Side, gold: Side, key: str) -> list | None:
    """A column that has one entry a gold cluster; None where no document has it."""
    column = side.column(key)
    for i, rows in enumerate(column or ()):
        _check_length(side, gold, i, key, rows)
    return column


def _each(column: list | None) -> Iterator[tuple[int, int, Any]]:
    """The entries of a column with the numbers of their documents and clusters."""
    return ((i, j, entry) for i, rows in enumerate(column or ()) for j, entry in enumerate(rows))


def _check_length(side: Side, gold: Side, document: int, key: str, rows: Any) -> None:
    expected = len(gold.documents[document]["clusters"])
    if not is_list(rows):
        side.refuse(document, None, f"{key!r} is {show(rows)}, expected a list with one entry a gold cluster")
    if len(rows) != expected:
        side.refuse(document, None, f"{key!r} has {len(rows)} entries for {expected} gold clusters; give one each")
