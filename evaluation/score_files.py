"""The command `tiktalkcoref score`: one file of documents against another. Needs no torch.

Files are jsonl with a document a line (rows of the dataset, exported jsonlines, what the metric takes, what `evaluate`
and `predict --output` write), or CoNLL-2012 with the clusters in the last column.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from tiktalkcoref.corpus.conll import read_conll
from tiktalkcoref.corpus.export import read_jsonlines
from tiktalkcoref.corpus.formats import document_name
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.files.atomic import atomic_file
from tiktalkcoref.files.errors import UserError

Document = dict[str, Any]


class ScoreError(UserError):
    """Files that cannot be scored against one another."""


def score_files(gold: Path | str, predicted: Path | str, **options: Any) -> dict[str, Any]:
    """Score one file against another; `options` as of `score`.

    Returns {"gold", "predicted", "documents", "options", "scores"}. Raises ValueError naming file, document or line.
    """
    references = read_documents(gold)
    predictions = _as_predictions(align_documents(read_documents(predicted), references), references)
    scores = dict(score(predictions, references, **options))
    files = {"gold": str(gold), "predicted": str(predicted), "documents": len(references)}
    return files | {"options": options, "scores": scores}


def check_output(output: Path, *inputs: Path) -> None:
    """Refuse to write the scores over a file that they are made from, or over a folder."""
    if output.is_dir():
        raise ScoreError(f"{output} is a folder; name the JSON file to write")
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise ScoreError(f"{output} is one of the files to score, and is not replaced; name another for the scores")


def write_scores(result: dict[str, Any], path: Path) -> None:
    """Write such a result as JSON, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_documents(path: Path | str) -> list[Document]:
    """The documents of a file, each with `clusters` and, where the file names it, `doc_key`.

    A document of a CoNLL file is called `<name>_<part>`. Raises ValueError naming file and line.
    """
    with open(path, "rb") as file:
        first = next((line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n")), b"").lstrip(b"\xef\xbb\xbf \t\r\n")
    if first.startswith(b"{"):
        return list(read_jsonlines(path))
    if first.startswith(b"#"):
        return [
            {"doc_key": f"{document_name(document)}_{document['part']}", "clusters": document["clusters"]}
            for document in read_conll(path)
        ]
    found = f"found {first[:30].decode(errors='replace').strip()!r}" if first else "it is empty"
    raise ScoreError(f"{path}: {found}, expected jsonl (one object a line) or CoNLL-2012 (#begin document ...)")


def align_documents(predicted: list[Document], gold: list[Document]) -> list[Document]:
    """The predicted documents in the order of the gold ones, found by `doc_key`; without keys they stay as they are.

    Exporters put the genre before a key and the part behind it (`wb/123_0`); where the full names do not agree, what is
    between counts. Raises ValueError where the files do not hold the same documents.
    """
    if not all(document.get("doc_key") for document in (*predicted, *gold)):
        return predicted
    problem = ""
    for name in (str, _bare_name):
        keys = [[name(document["doc_key"]) for document in documents] for documents in (predicted, gold)]
        if all(len(set(side)) == len(side) for side in keys) and set(keys[0]) == set(keys[1]):
            by_key = dict(zip(keys[0], predicted, strict=True))
            # Under the gold's own name, so that messages and checks know both as one.
            return [by_key[key] | {"doc_key": row["doc_key"]} for key, row in zip(keys[1], gold, strict=True)]
        problem = problem or _disagreement(*keys)
    raise ScoreError(f"gold and predicted files do not hold the same documents: {problem}")


def _disagreement(predicted: list[str], gold: list[str]) -> str:
    for side, keys in (("predicted", predicted), ("gold", gold)):
        repeated = sorted(key for key in set(keys) if keys.count(key) > 1)
        if repeated:
            return f"the {side} file has doc_key {repeated[0]!r} more than once"
    missing, extra = sorted(set(gold) - set(predicted)), sorted(set(predicted) - set(gold))
    parts = [f"{len(missing)} are not predicted, such as {missing[0]!r}"] if missing else []
    parts += [f"{len(extra)} are not in the gold file, such as {extra[0]!r}"] if extra else []
    return "; ".join(parts)


def _bare_name(key: str) -> str:
    genre, slash, name = str(key).partition("/")
    return re.sub(r"_\d{1,3}$", "", name if slash else genre)


# The project's own files, in the metric's form


def _as_predictions(documents: list[Document], references: list[Document]) -> list[Document]:
    """What the metric takes as it is; of lines that `evaluate` and `predict` wrote, what the metric asks for."""
    if len(documents) != len(references):
        return documents  # for the metric to say
    predictions = [_as_prediction(*pair) for pair in zip(documents, references, strict=True)]
    ranked = any(row for document in documents for row in document.get("gold_region_scores", ()))
    linked = all("links" in reference or "visual_annotations" in reference for reference in references)
    if any("gold_regions" in document for document in documents) and not (ranked and linked):
        return [{key: p[key] for key in p if key not in ("region_scores", "links")} for p in predictions]
    return predictions


def _as_prediction(document: Document, gold: Document) -> Document:
    clusters = document["clusters"]
    if isinstance(clusters, dict):
        raise ScoreError(f"doc_key {document.get('doc_key')!r}: clusters is an object, expected a list of clusters")
    if "entities" in document and "gold_regions" in document:  # of `evaluate`: its regions are not those of the gold
        return _named(document, clusters)
    if "gold_regions" in document:  # of `evaluate`; the links are those of the gold clusters, as the metric wants them
        links = {"region_scores": document["gold_region_scores"], "links": document["gold_regions"]}
        return _named(document, clusters) | links
    if isinstance(clusters, list) and any(isinstance(cluster, dict) and "mentions" in cluster for cluster in clusters):
        return _of_predict(document, gold)
    if clusters == [] and not document.keys() & {"rankings", "scores", "region_scores", "links", "boxes"}:
        return _named(document, clusters)  # `predict` found nothing
    return document


def _named(document: Document, clusters: Any) -> Document:
    return {key: document[key] for key in ("doc_key",) if key in document} | {"clusters": clusters}


def _of_predict(document: Document, gold: Document) -> Document:
    """A line of `predict --output`: characters of an utterance, end exclusive, become tokens of the dialogue.

    Its regions are those of found clusters, and the metric asks for those of the gold ones: they are left out.
    """
    utterances = ["".join(sentence) for sentence in document["sentences"]]
    sentences = gold.get("sentences") or utterances
    if ["".join(sentence) for sentence in sentences] != utterances:
        name = document.get("doc_key")
        raise ScoreError(f"doc_key {name!r}: the gold file has another text; predict and score the same dialogues")
    starts = [0, *accumulate(map(len, utterances))]  # of each utterance, in characters of the dialogue
    token_of = [number for number, token in enumerate(chain.from_iterable(sentences)) for _ in token]
    places = [
        [(starts[m["sentence"]] + m["start"], starts[m["sentence"]] + m["end"] - 1) for m in cluster["mentions"]]
        for cluster in document["clusters"]
    ]
    return _named(document, [[[token_of[first], token_of[last]] for first, last in cluster] for cluster in places])
