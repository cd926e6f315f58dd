"""Which tracks are one person's: agglomerative clustering with average linkage."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .detections import Array
from .tracks import Track


def group_tracks(tracks: Sequence[Track], same_person: float) -> list[list[Track]]:
    """Tracks of one person each.

    The two most alike groups are joined as long as the mean cosine between their tracks is at least `same_person`.
    Tracks seen in the same picture are never joined: nobody is there twice. A track without a face stays alone.

    Returns:
        The groups, the one seen most often first; each in the order of time.
    """
    known = [track for track in tracks if track.embedding is not None]
    groups: list[list[Track]] = [[track] for track in tracks if track.embedding is None]
    if known:
        labels = _agglomerate(_similarities(known), same_person)
        groups += [[known[member] for member in np.flatnonzero(labels == label)] for label in np.unique(labels)]
    for group in groups:
        group.sort(key=lambda track: track.times[0])
    return sorted(groups, key=lambda group: (-sum(len(track.times) for track in group), group[0].times[0]))


def _similarities(tracks: Sequence[Track]) -> Array:
    """[N, N] cosines; minus infinity where two tracks share a picture."""
    embeddings = np.stack([track.embedding for track in tracks if track.embedding is not None])
    alike = embeddings @ embeddings.T
    seen: dict[int, list[int]] = {}
    for number, track in enumerate(tracks):
        for frame in track.frames:
            seen.setdefault(frame, []).append(number)
    for together in {tuple(numbers) for numbers in seen.values() if len(numbers) > 1}:
        alike[np.ix_(together, together)] = -np.inf
    np.fill_diagonal(alike, -np.inf)
    return alike.astype(np.float32)


def _agglomerate(alike: Array, threshold: float) -> NDArray[np.intp]:
    """Labels [N] after joining, by average linkage, the closest pair again and again down to `threshold`."""
    alike = alike.copy()
    labels = np.arange(len(alike))
    sizes = np.ones(len(alike), np.float32)
    best = alike.argmax(1)  # of each row; kept, so that a step costs N and not N x N
    while True:
        first = int(alike[np.arange(len(alike)), best].argmax())
        second = int(best[first])
        if not alike[first, second] >= threshold:
            return labels
        # Lance & Williams: the mean over all pairs; minus infinity stays so.
        joined = (sizes[first] * alike[first] + sizes[second] * alike[second]) / (sizes[first] + sizes[second])
        joined[[first, second]] = -np.inf
        alike[first] = alike[:, first] = joined
        alike[second] = alike[:, second] = -np.inf
        sizes[first] += sizes[second]
        labels[labels == second] = first
        stale = np.isin(best, (first, second))
        stale[first] = True
        best[stale] = alike[stale].argmax(1)
