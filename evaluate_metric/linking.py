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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    chosen = predicted.column("links")
    if rankings is None and chosen is None:
        return None
    links, regions = _read_gold(gold)
    kinds = gold.column("kinds")
    names = tuple(sorted({name for row in kinds or () for name in row if name is not None}))
    queries = []
    visual, visual_n = np.zeros((len(links), 3)), np.zeros(len(links))
    for i, row in enumerate(links):
        ranked = rankings[i] if rankings else [[]] * len(row)
        pool = _check_regions(predicted, gold, i, row, ranked, chosen[i] if chosen else None, regions[i])
        candidates = gold.documents[i].get("candidates")
        pool = pool if candidates is None else candidates
        for j, link in enumerate(row):
            has = chosen[i][j] >= 0 if chosen else len(ranked[j]) > 0
            visual[i] += (has and link >= 0, has, link >= 0)
            if link >= 0 and rankings:
                kind = names.index(kinds[i][j]) if kinds and kinds[i][j] is not None else -1
                queries.append((i, kind, _rank(link, ranked[j], ties[i][j] if ties else None), pool, link < pool))
        visual_n[i] = len(row)
    table = np.array(queries, dtype=float).reshape(-1, 5)
    numbers = table[:, :2].astype(int)
    rank, pool, reached = table[:, 2:].T
    document, kind = numbers.T
    return Links(document, kind, rank, pool, reached, names, visual, visual_n, bool(rankings), len(links))


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
    rankings, values = predicted.column("rankings"), predicted.column("scores")
    by_region = predicted.column("region_scores")
    if by_region is not None:
        if rankings is not None or values is not None:
            predicted.refuse(
                0, None, "'region_scores' stands instead of 'rankings' and 'scores'; give one or the other"
            )
        for i, rows in enumerate(by_region):
            _check_length(predicted, gold, i, "region_scores", rows)
            for j, row in enumerate(rows):
                _check_scores(predicted, i, j, row)
                if len(row) not in (0, max(map(len, rows))):
                    most = max(map(len, rows))
                    predicted.refuse(i, j, f"scores of {len(row)} regions, and of {most} for another cluster; give all")
        return [[list(range(len(row))) for row in rows] for rows in by_region], by_region
    if values is not None and rankings is None:
        predicted.refuse(0, None, "'scores' without 'rankings'; expected rankings that they belong to")
    for i, rows in enumerate(rankings or ()):
        _check_length(predicted, gold, i, "rankings", rows)
        for j, row in enumerate(rows):
            if not is_list(row) or not all(is_integer(region) for region in row):
                predicted.refuse(i, j, f"ranking {show(row)} is not a list of region numbers, best first")
            if len(set(row)) < len(row):
                repeated = next(region for place, region in enumerate(row) if region in row[:place])
                predicted.refuse(
                    i, j, f"region {repeated} is repeated in the ranking {show(row)}; rank each region once"
                )
    for i, (rows, ranked) in enumerate(zip(values or (), rankings or (), strict=False)):
        _check_length(predicted, gold, i, "scores", rows)
        for j, row in enumerate(rows):
            _check_scores(predicted, i, j, row)
            if len(row) != len(ranked[j]):
                predicted.refuse(i, j, f"{len(row)} scores for a ranking of {len(ranked[j])} regions; give one each")
            if any(one < other for one, other in pairwise(row)):
                predicted.refuse(i, j, f"scores {show(row)} rise along the ranking; rankings are best first")
    return rankings, values


def _read_gold(gold: Side) -> tuple[list[list[int]], list[int | None]]:
    """Gold links, and the number of regions where it is known."""
    links, regions = gold.column("links"), gold.column("regions")
    if links is None:
        links, regions = _links_of_rows(gold)
    return links, regions or [None] * len(links)


def _links_of_rows(gold: Side) -> tuple[list[list[int]], list[int]]:
    """Links of dataset rows: cluster and region share a label; regions are the row's visual annotations, in order."""
    links, regions = [], []
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
        links, kinds, regions = (document.get(key) for key in ("links", "kinds", "regions"))
        if regions is not None and (not is_integer(regions) or regions < 0):
            gold.refuse(i, None, f"'regions' is {show(regions)}, expected the number of regions of the document")
        candidates = document.get("candidates")
        if candidates is not None and (regions is None or not is_integer(candidates) or not 0 <= candidates <= regions):
            gold.refuse(
                i,
                None,
                f"'candidates' is {show(candidates)}, expected how many of the document's 'regions' can be chosen",
            )
        if links is not None:
            _check_length(gold, gold, i, "links", links)
            for j, link in enumerate(links):
                if not is_integer(link) or link < -1 or (regions is not None and link >= regions):
                    known = "a region number" if regions is None else f"below {regions}, the number of regions,"
                    gold.refuse(i, j, f"link {show(link)} is unknown; expected {known} or -1 for no visual counterpart")
        if kinds is not None:
            _check_length(gold, gold, i, "kinds", kinds)
            for j, kind in enumerate(kinds):
                if kind is not None and not (isinstance(kind, str) and kind.isidentifier()):
                    expected = "a word such as 'name', 'pronoun' or 'noun' (None: not known)"
                    gold.refuse(i, j, f"kind {show(kind)} is not {expected}")
                if kind == VISUAL:
                    gold.refuse(i, j, f"kind {kind!r} is taken: linking_{kind}_* is whether there is a counterpart")


def _check_regions(
    predicted: Side,
    gold: Side,
    document: int,
    links: Sequence[int],
    rankings: Sequence[Sequence[int]],
    chosen: Sequence[int] | None,
    regions: int | None,
) -> int:
    """Every region that the prediction names exists; returns how many the document has.

    Where the reference does not say (`regions`), the document has as many regions as the links and rankings show.
    """
    pool, source = regions, ""
    if pool is None:
        named = {region for ranking in rankings for region in ranking} | {link for link in links if link >= 0}
        pool = max(len(named), max(links, default=-1) + 1)
        source = " as far as links and rankings show; give 'regions' in the reference where it has more"
    known = f"the document has {pool} regions{source}"
    candidates = gold.documents[document].get("candidates")
    if candidates is not None:
        known += f", of which {candidates} can be chosen"
    for j, ranking in enumerate(rankings):
        for region in ranking:
            if not 0 <= region < (pool if candidates is None else candidates):
                predicted.refuse(document, j, f"unknown region {region} in the ranking {show(ranking)}; {known}")
    if chosen is not None:
        _check_length(predicted, gold, document, "links", chosen)
        for j, link in enumerate(chosen):
            if not is_integer(link) or link < -1 or (regions is not None and link >= regions):
                predicted.refuse(document, j, f"link {show(link)} is unknown; {known}; -1 is no visual counterpart")
    return pool


def _check_length(side: Side, gold: Side, document: int, key: str, rows: Any) -> None:
    expected = len(gold.documents[document]["clusters"])
    if not is_list(rows):
        side.refuse(document, None, f"{key!r} is {show(rows)}, expected a list with one entry a gold cluster")
    if len(rows) != expected:
        side.refuse(document, None, f"{key!r} has {len(rows)} entries for {expected} gold clusters; give one each")


def _check_scores(side: Side, document: int, cluster: int, row: Any) -> None:
    if not is_list(row) or not all(is_number(value) for value in row):
        side.refuse(document, cluster, f"scores {show(row)} are not a list of numbers, one a region")
