"""`score` one system, `compare` two: input checked, counted per document, summed, divided, resampled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from . import coreference, linking, multimodal
from .inputs import is_integer, is_number, read_partitions, read_sides
from .resampling import bootstrap, permute


class Statistics(NamedTuple):
    """What one group of scores is a function of: `counts` [documents, columns], and the function from their sums over
    documents [..., columns] to {key: [...]}."""

    group: str
    counts: np.ndarray
    scores: Callable[[np.ndarray], dict[str, np.ndarray]]


class Scores(dict):
    """The scores as a plain dict of floats, with the per-document counts behind them for `compare`."""

    statistics: tuple[Statistics, ...] = ()


def score(
    predictions: Iterable[dict],
    references: Iterable[dict],
    *,
    keep_singletons: bool = True,
    ks: Sequence[int] = (1, 2, 3),
    iou_threshold: float = 0.5,
    n_resamples: int = 0,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> Scores:
    """Score predicted clusters, links and regions against gold ones, document by document in the same order.

    A prediction is a dict with

    - `clusters`: [[[start, end], ...], ...] token spans, end inclusive;
    - where the system links, one entry for each *gold* cluster: `rankings` [[region, ...], ...] best first, with or
      without `scores` parallel to it; or instead of both `region_scores` [[number, ...], ...], one for each region;
      `links` [region or -1, ...], without which a cluster with an empty ranking is taken for one without counterpart;
    - where predicted clusters hold regions, one entry for each predicted cluster: `boxes`
      [[{"frame", "bbox": [x1, y1, x2, y2]}, ...], ...].

    A reference is a dict with `clusters`, and one entry a cluster: `links` [region or -1, ...], `kinds` ["name",
    "pronoun", "noun", ...], `boxes`; and `regions`, how many the document has, of which the first `candidates` (all,
    without it) could be chosen. A dataset row is a reference as it is.

    Args:
        keep_singletons: whether clusters of one mention count; False drops them on both sides.
        ks: the cut-offs of recall@k.
        iou_threshold: the least overlap of matched regions, in (0, 1].
        n_resamples: bootstrap resamples over documents; 0 for no intervals.
        confidence_level: of the percentile intervals `<key>_low`, `<key>_high`, in (0, 1).
        seed: of the resampling.

    Returns:
        Flat keys, fractions in [0, 1] as floats: `muc_precision`, `muc_recall`, `muc_f1`, the same for `b_cubed`,
        `ceaf_e`, `ceaf_m`, `lea`, `blanc`, `mention`; `conll_f1`; `linking_*` and `multimodal_*` where there is
        something to score. `linking_n`, `linking_mean_pool` and their like are counts.

    Raises:
        ValueError: bad input, named by document and cluster.
    """
    _check_resampling(n_resamples, confidence_level, seed)
    result = Scores()
    result.statistics = collect(predictions, references, keep_singletons, ks, iou_threshold)
    for part in result.statistics:
        result |= _values(part)
    for part in result.statistics if n_resamples else ():
        for key, values in part.scores(bootstrap(part.counts, n_resamples, seed)).items():
            if not _is_count(key):
                result[f"{key}_low"], result[f"{key}_high"] = _interval(values, confidence_level)
    return result


def collect(
    predictions: Iterable[dict],
    references: Iterable[dict],
    keep_singletons: bool = True,
    ks: Sequence[int] = (1, 2, 3),
    iou_threshold: float = 0.5,
) -> tuple[Statistics, ...]:
    """The per-document counts of every score; arguments as for `score`."""
    if not isinstance(ks, Iterable):
        raise ValueError(f"ks is {ks!r}, expected a list of different positive integers, such as [1, 2, 3]")
    ks = tuple(ks)
    if not ks or not all(is_integer(k) and k > 0 for k in ks) or len(set(ks)) < len(ks):
        raise ValueError(f"ks is {list(ks)}, expected different positive integers")
    if not isinstance(keep_singletons, (bool, np.bool_)):
        raise ValueError(f"keep_singletons is {keep_singletons!r}, expected True or False")
    if not is_number(iou_threshold) or not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is {iou_threshold!r}, expected a number in (0, 1]")
    predicted, gold = read_sides(predictions, references)
    mentions = read_partitions(predicted, gold)
    keep = (lambda p: p) if keep_singletons else coreference.without_singletons
    statistics = [Statistics("coreference", coreference.count(keep(mentions)), coreference.scores)]
    links = linking.read_links(predicted, gold)
    if links is not None:
        divide = partial(linking.scores, ks=ks, kinds=links.kinds, ranked=links.ranked)
        statistics.append(Statistics("linking", linking.count(links, ks), divide))
    boxes = multimodal.read_boxes(predicted, gold)
    if boxes is not None:
        joint = keep(multimodal.add_boxes(mentions, *boxes, iou_threshold))
        divide = partial(coreference.scores, prefix="multimodal_")
        statistics.append(Statistics("multimodal", coreference.count(joint), divide))
    return tuple(statistics)


def compare(
    a: Iterable[dict] | Scores,
    b: Iterable[dict] | Scores,
    references: Iterable[dict] | None = None,
    *,
    keep_singletons: bool = True,
    ks: Sequence[int] = (1, 2, 3),
    iou_threshold: float = 0.5,
    n_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Is `a` better than `b` on these documents? A paired test of every score that both have.

    Args:
        a, b: predictions of two systems for the same `references`; or, without references, two results of `score`.

    Returns:
        {key: {"a", "b", "difference", "low", "high", "p_value"}}: the scores, a - b, its percentile interval from the
        paired bootstrap over documents, and the two-sided p-value of the paired permutation test (approximate
        randomisation: each document's outputs are swapped with probability 1/2). p >= 1 / (n_resamples + 1).

    Raises:
        ValueError: bad input, or results over different numbers of documents.
    """
    _check_resampling(n_resamples, confidence_level, seed, least=1)
    if references is not None:
        references = list(references)
        statistics = [collect(predictions, references, keep_singletons, ks, iou_threshold) for predictions in (a, b)]
    else:
        statistics = [getattr(result, "statistics", ()) for result in (a, b)]
        if not all(statistics):
            raise ValueError("compare needs the references of the predictions, or two results of `score`")
    result = {}
    for one, other in _paired(*statistics):
        values = _values(one), _values(other)
        resampled = [part.scores(bootstrap(part.counts, n_resamples, seed)) for part in (one, other)]
        swapped = [one.scores(totals) for totals in permute(one.counts, other.counts, n_resamples, seed)]
        for key in filter(lambda key: not _is_count(key), values[0]):
            difference = values[0][key] - values[1][key]
            low, high = _interval(resampled[0][key] - resampled[1][key], confidence_level)
            # A rounding error below the observed difference is still as extreme.
            extreme = np.abs(np.nan_to_num(swapped[0][key] - swapped[1][key])) >= abs(difference) - 1e-12
            result[key] = {
                **{"a": values[0][key], "b": values[1][key], "difference": difference, "low": low, "high": high},
                "p_value": float((1 + extreme.sum()) / (1 + n_resamples)),
            }
    return result


def _paired(a: Sequence[Statistics], b: Sequence[Statistics]) -> list[tuple[Statistics, Statistics]]:
    """The groups of scores that both systems have, over the same documents."""
    groups = {part.group: part for part in b}
    pairs = [(part, groups[part.group]) for part in a if part.group in groups]
    gold = coreference.COLUMNS.index("mention_recall_den")
    for one, other in pairs:
        if len(one.counts) != len(other.counts):
            raise ValueError(f"a covers {len(one.counts)} documents, b {len(other.counts)}; compare over the same ones")
        if one.group == "coreference" and (one.counts[:, gold] != other.counts[:, gold]).any():
            document = int(np.flatnonzero(one.counts[:, gold] != other.counts[:, gold])[0])
            raise ValueError(
                f"a and b were scored against different references (document {document}); use the same ones"
            )
        if one.counts.shape != other.counts.shape:
            raise ValueError(
                f"a and b were not scored alike ({one.group}): use the same `ks`, and rankings from both or none"
            )
    return pairs


def _values(part: Statistics) -> dict[str, float]:
    """A group's scores as floats, counts of queries as integers; what is undefined (no query) is 0."""
    totals = part.scores(part.counts.sum(axis=0))
    return {key: (int if key.endswith("_n") else float)(np.nan_to_num(value)) for key, value in totals.items()}


def _interval(values: np.ndarray, confidence_level: float) -> tuple[float, float]:
    """Percentile interval over the resamples in which the score is defined; (0, 0) where it never is."""
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 0.0
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _is_count(key: str) -> bool:
    return key.startswith("linking_") and key.endswith(("_n", "_mean_pool"))


def _check_resampling(n_resamples: int, confidence_level: float, seed: int, least: int = 0) -> None:
    if not is_integer(n_resamples) or n_resamples < least:
        raise ValueError(f"n_resamples is {n_resamples!r}, expected an integer >= {least}")
    if not is_number(confidence_level) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level is {confidence_level!r}, expected a number between 0 and 1, such as 0.95")
    if not is_integer(seed) or seed < 0:
        raise ValueError(f"seed is {seed!r}, expected an integer >= 0")
