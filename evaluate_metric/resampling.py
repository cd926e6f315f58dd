"""Uncertainty from per-document counts: no document is scored twice.

Every score is a function of counts summed over documents, so a resample of documents is one row of weights, and all
resamples are one matrix product: weights [resamples, documents] @ counts [documents, columns].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CHUNK = 4_000_000  # weights in memory at once


def bootstrap(counts: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Counts of documents drawn with replacement: [documents, columns] -> [n_resamples, columns].

    The draw depends on `seed` and on the number of documents alone, so systems scored on the same documents are
    resampled alike (the paired bootstrap of Efron and Tibshirani 1993).
    """
    documents = len(counts)
    rng = np.random.default_rng(seed)
    totals = []
    for rows in _chunks(n_resamples, documents):
        drawn = rng.integers(documents, size=(rows, documents)) + documents * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * documents).reshape(rows, documents)
        totals.append(weights.astype(float) @ counts)
    return np.concatenate(totals)


def permute(a: np.ndarray, b: np.ndarray, n_resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of two systems whose documents are swapped at random, each with probability 1/2.

    [documents, columns] twice -> [n_resamples, columns] twice (approximate randomisation, Noreen 1989).
    """
    documents = len(a)
    rng = np.random.default_rng(seed)
    moved = np.concatenate(
        [rng.integers(2, size=(rows, documents)).astype(float) @ (b - a) for rows in _chunks(n_resamples, documents)]
    )
    return a.sum(axis=0) + moved, b.sum(axis=0) - moved


def _chunks(n_resamples: int, documents: int) -> Iterator[int]:
    step = max(1, _CHUNK // documents)
    for start in range(0, n_resamples, step):
        yield min(step, n_resamples - start)
