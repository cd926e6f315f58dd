"""From lists of dicts to arrays: what `score` reads, and every reason to refuse it.

The usual case is checked on whole arrays at once. Only when a check fails is the input searched for the culprit, so
that the message can name document and cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from .coreference import Partitions

# The fields of a dataset row, so that rows can be handed over as they come.
# fmt: off
ROW_KEYS = frozenset({
    "doc_key", "video_type", "genre", "video_title", "video_path", "sentences", "speaker_ids", "sentence_map",
    "subtoken_map", "clusters_str", "entity_labels", "entity_label", "visual_annotations", "split", "part", "speakers",
})
# fmt: on
PREDICTION_KEYS = ROW_KEYS | {"clusters", "rankings", "scores", "region_scores", "links", "boxes"}
REFERENCE_KEYS = ROW_KEYS | {"clusters", "links", "kinds", "regions", "candidates", "boxes"}
NO_COUNTERPART = ("none", "", None)


@dataclass(frozen=True)
class Side:
    """One side's documents: `name` is "predictions" or "references", `first` the number of the first document."""

    name: str
    documents: list[dict[str, Any]]
    first: int = 0

    def where(self, document: int, cluster: int | None = None) -> str:
        """The place as a message names it."""
        key = self.documents[document].get("doc_key")
        place = f"{self.name}, document {self.first + document}" + (f" (doc_key {key!r})" if key is not None else "")
        return place if cluster is None else f"{place}, cluster {cluster}"

    def refuse(self, document: int, cluster: int | None, problem: str) -> NoReturn:
        raise ValueError(f"{self.where(document, cluster)}: {problem}")

    def column(self, key: str) -> list | None:
        """One entry a document, or None where no document has the key; a key that only some have is refused."""
        values = [document.get(key) for document in self.documents]
        missing = [i for i, value in enumerate(values) if value is None]
        if len(missing) == len(values):
            return None
        if missing:
            self.refuse(
                missing[0], None, f"{key!r} is missing, though other documents have it; give it for all or none"
            )
        return values


def read_sides(predictions: Iterable[dict], references: Iterable[dict], first: int = 0) -> tuple[Side, Side]:
    """Both sides as lists of dicts with known keys, of one length, not empty. Raises ValueError otherwise."""
    predicted = _read_side("predictions", predictions, PREDICTION_KEYS, first)
    gold = _read_side("references", references, REFERENCE_KEYS, first)
    if len(predicted.documents) != len(gold.documents):
        raise ValueError(
            f"{len(predicted.documents)} predictions and {len(gold.documents)} references: expected one of each for "
            "every document, in the same order"
        )
    if not gold.documents:
        raise ValueError("predictions and references are empty: there is nothing to score; give at least one document")
    for i, documents in enumerate(zip(predicted.documents, gold.documents, strict=True)):
        key, gold_key = (document.get("doc_key") for document in documents)
        if None not in (key, gold_key) and key != gold_key:
            problem = f"the reference in the same place has doc_key {gold_key!r}; give both in one order"
            predicted.refuse(i, None, problem)
    return predicted, gold


def _read_side(name: str, documents: Iterable[dict], keys: frozenset[str], first: int) -> Side:
    if isinstance(documents, (str, bytes, dict)) or not isinstance(documents, Iterable):
        raise ValueError(f"{name}: found {type(documents).__name__}, expected a list with one dict a document")
    side = Side(name, list(documents), first)
    for i, document in enumerate(side.documents):
        if not isinstance(document, dict):
            found = f"found {type(document).__name__}, expected a dict with 'clusters'"
            raise ValueError(f"{name}, document {first + i}: {found}")
        if not document.keys() <= keys:
            unknown = next(key for key in document if key not in keys)
            near = get_close_matches(str(unknown), keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(keys - ROW_KEYS))}"
            side.refuse(i, None, f"unknown key {unknown!r}; {hint}")
        if document.get("clusters") is None:
            side.refuse(i, None, "'clusters' is missing; expected a list of clusters, each a list of [start, end]")
    return side


def read_partitions(predicted: Side, gold: Side) -> Partitions:
    """The mentions of both sides, each once, with their clusters. Raises ValueError naming document and cluster."""
    gold_mentions, gold_clusters, gold_documents = _flatten(gold)
    predicted_mentions, predicted_clusters, predicted_documents = _flatten(predicted)
    documents = np.concatenate([gold_documents[gold_clusters], predicted_documents[predicted_clusters]])
    items, n = _intern(documents, np.concatenate([gold_mentions, predicted_mentions]))
    split = len(gold_mentions)
    return Partitions(
        _assign(gold, items[:split], n, gold_mentions, gold_clusters, gold_documents),
        _assign(predicted, items[split:], n, predicted_mentions, predicted_clusters, predicted_documents),
        gold_documents,
        predicted_documents,
        len(gold.documents),
    )


def cluster_number(documents: np.ndarray, cluster: int) -> int:
    """A cluster's number within its document, from its number over all documents."""
    return int(cluster - np.searchsorted(documents, documents[cluster]))


def _flatten(side: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mentions [M, 2], their cluster [M] over all documents, and the clusters' document [C]."""
    per_document = [document["clusters"] for document in side.documents]
    try:
        clusters = list(chain.from_iterable(per_document))
        mentions = list(chain.from_iterable(clusters))
        spans = np.array(mentions) if mentions else np.zeros((0, 2), dtype=np.int64)
        well_formed = spans.shape == (len(mentions), 2) and spans.dtype.kind == "i" and all(map(len, clusters))
        # numpy takes True for 1 among integers
        well_formed = well_formed and not {bool, np.bool_} & set(map(type, chain.from_iterable(mentions)))
        well_formed = well_formed and (spans[:, 0] >= 0).all() and (spans[:, 1] >= spans[:, 0]).all()
    except (TypeError, ValueError, OverflowError):
        well_formed = False
    if not well_formed:
        _explain_clusters(side)
        spans = np.array([list(map(int, mention)) for cluster in clusters for mention in cluster], dtype=np.int64)
    counts, sizes = (np.fromiter(map(len, rows), np.int64, len(rows)) for rows in (per_document, clusters))
    documents = np.repeat(np.arange(len(per_document)), counts)
    return spans.reshape(-1, 2), np.repeat(np.arange(len(clusters)), sizes), documents


def _explain_clusters(side: Side) -> None:
    """Find what is wrong with the clusters; returns when nothing is (a cluster that holds regions alone)."""
    for i, document in enumerate(side.documents):
        clusters, boxes = document["clusters"], document.get("boxes") or []
        if not is_list(clusters):
            side.refuse(i, None, f"'clusters' is {show(clusters)}, expected a list of clusters")
        for j, cluster in enumerate(clusters):
            if not is_list(cluster):
                side.refuse(i, j, f"found {show(cluster)}, expected a list of [start, end] spans")
            if not len(cluster) and not (j < len(boxes) and boxes[j]):
                side.refuse(i, j, "it is empty, expected at least one mention; leave the cluster out")
            for span in cluster:
                if problem := _problem_of_span(span):
                    side.refuse(i, j, f"span {show(span)} {problem}")


def _problem_of_span(span: Any) -> str:
    if not is_list(span) or len(span) != 2 or not all(is_integer(value) for value in span):
        return "is not two integers [start, end] (token offsets, end inclusive)"
    if span[0] < 0:
        return "is negative; token offsets count from 0"
    if span[1] < span[0]:
        return "ends before it starts; the end is inclusive, so end >= start"
    return "is too large for a token offset" if span[1] > np.iinfo(np.int64).max else ""


def _intern(documents: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, int]:
    """A number for each (document, start, end), the same for the same three; and how many there are."""
    if not len(spans):
        return np.zeros(0, dtype=np.int64), 0
    width = int(spans.max()) + 1
    if width * width * (int(documents.max()) + 1) < 2**62:
        keys, items = np.unique((documents * width + spans[:, 0]) * width + spans[:, 1], return_inverse=True)
    else:
        keys, items = np.unique(np.column_stack([documents, spans]), axis=0, return_inverse=True)
    return items.reshape(-1), len(keys)


def _assign(
    side: Side, items: np.ndarray, n: int, spans: np.ndarray, clusters: np.ndarray, documents: np.ndarray
) -> np.ndarray:
    """The cluster of each item [n], -1 where this side lacks it.

    A mention repeated within its cluster counts once, as in the reference scorer; one in two clusters is refused.
    """
    cluster_of = np.full(n, -1)
    cluster_of[items] = clusters
    clashes = np.flatnonzero(cluster_of[items] != clusters)
    if len(clashes):
        at = clashes[0]
        first, second = (cluster_number(documents, c) for c in (clusters[at], cluster_of[items[at]]))
        document = int(documents[clusters[at]])
        side.refuse(
            document,
            first,
            f"mention {spans[at].tolist()} is also in cluster {second}; a mention belongs to one cluster",
        )
    return cluster_of


def is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """An integer or a float; neither a truth value nor NaN."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and value == value


def show(value: Any) -> str:
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
