"""CoNLL, linking and multimodal coreference scores as an `evaluate` metric; see README.md beside this file."""

import inspect
import json
from collections.abc import Iterable
from typing import Any

import datasets
import evaluate
import numpy as np

# `evaluate` copies the neighbours that are named here, and no others, so every module of the metric is. No comment may
# stand behind an import: the loader takes it for an address.
from .coreference import COLUMNS
from .inputs import PREDICTION_KEYS, REFERENCE_KEYS, ROW_KEYS, is_list, read_partitions, read_sides
from .linking import read_links
from .multimodal import read_boxes
from .resampling import bootstrap
from .scoring import score

_NEIGHBOURS = (COLUMNS, bootstrap)

_DESCRIPTION = """
Scores of multimodal coreference: MUC, B-cubed, CEAF-e, CEAF-m, LEA, BLANC, mention identification and their CoNLL
average with the semantics of the reference scorer (counts pooled over documents, singletons kept); recall@k and MRR of
linking a cluster to a region, beside what chance gives; the CoNLL average over mentions and regions; bootstrap
intervals.
"""

_KWARGS_DESCRIPTION = f"""{inspect.cleandoc(score.__doc__ or "")}

Examples:
    >>> metric = evaluate.load("evaluate_metric")
    >>> references = [{{"clusters": [[[0, 3], [7, 7]], [[9, 10]]], "links": [1, -1]}}]
    >>> predictions = [{{"clusters": [[[0, 3], [7, 7]], [[9, 9]]], "rankings": [[1, 0], []]}}]
    >>> scores = metric.compute(predictions=predictions, references=references)
    >>> round(scores["conll_f1"], 4), scores["linking_recall_at_1"], scores["linking_chance_at_1"]
    (0.7222, 1.0, 0.5)
"""

_CITATION = """
@inproceedings{pradhan-etal-2014-scoring,
  title = {Scoring Coreference Partitions of Predicted Mentions: A Reference Implementation},
  author = {Pradhan, Sameer and Luo, Xiaoqiang and Recasens, Marta and
            Hovy, Eduard and Ng, Vincent and Strube, Michael},
  booktitle = {Proceedings of the 52nd Annual Meeting of the Association for Computational Linguistics},
  year = {2014}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MultimodalCoreference(evaluate.Metric):
    """The metric. Documents travel through Arrow as JSON: typed columns would cast what must be refused (an int64
    column stores 1.7 and True as 1), and take a span of three. They are checked before they are stored."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://aclanthology.org/P14-2006/", "https://aclanthology.org/P14-2005/"],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add documents. Raises ValueError for bad input, naming document and cluster, before anything is stored."""
        predicted, gold = read_sides(predictions, references, first=len(self))
        for check in (read_partitions, read_links, read_boxes):
            check(predicted, gold)
        super().add_batch(
            predictions=[_to_json(document, PREDICTION_KEYS) for document in predicted.documents],
            references=[_to_json(document, REFERENCE_KEYS) for document in gold.documents],
            **kwargs,
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one document."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def _compute(self, predictions: Iterable[str], references: Iterable[str], **options: Any) -> dict[str, float]:
        """The options are those of `score`, which refuses others."""
        documents = ([json.loads(document) for document in side] for side in (predictions, references))
        return dict(score(*documents, **options))


_KEPT_OF_ROWS = ("doc_key", "entity_labels", "entity_label")
_KEPT_OF_BOXES = ("cur_frame", "bbox", "box_labels")


def _to_json(document: dict[str, Any], keys: frozenset[str]) -> str:
    """What scoring reads of a document; of a dataset row's annotations, what is no picture."""
    kept = {key: document[key] for key in document if key in keys - ROW_KEYS or key in _KEPT_OF_ROWS}
    annotations: Any = document.get("visual_annotations")
    if is_list(annotations) and all(isinstance(box, dict) for box in annotations):
        kept["visual_annotations"] = [{key: box[key] for key in _KEPT_OF_BOXES if key in box} for box in annotations]
    return json.dumps(kept, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise ValueError(f"found {type(value).__name__}, expected lists, numbers and text")
