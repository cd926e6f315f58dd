"""Documents from files: jsonl with one document a line, or CoNLL-2012 with the clusters in the last column.

The CoNLL reader wants what the reference scorer wants: `#begin document`, a line a token whose last cell holds the
brackets, `#end document`. How many columns stand before it does not matter.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .scoring import score

Document = dict[str, Any]
_BEGIN = re.compile(r"#\s*begin document\s+\(?(.*?)\)?;?\s*(?:part\s+0*(\d+))?\s*$")


def score_files(gold: Path | str, predicted: Path | str, **options: Any) -> dict[str, Any]:
    """Score one file against another; `options` as of `score`.

    Returns {"gold", "predicted", "documents", "options", "scores"}. Raises ValueError naming file, document or line.
    """
    references = read_documents(gold)
    predictions = align_documents(read_documents(predicted), references)
    scores = dict(score(predictions, references, **options))
    files = {"gold": str(gold), "predicted": str(predicted), "documents": len(references)}
    return files | {"options": options, "scores": scores}


def write_scores(result: dict[str, Any], path: Path) -> None:
    """Write such a result as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_documents(path: Path | str) -> list[Document]:
    """The documents of a file, each with `clusters` and, where the file names it, `doc_key`.

    A document of a CoNLL file is called `<name>_<part>`. Raises ValueError naming file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    # A line ends with a line feed alone: tokens may hold odd separators.
    lines = text.removeprefix("\ufeff").split("\n")
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start not in ("{", "#"):
        found = f"found {text.strip()[:30]!r}" if start else "it is empty"
        raise ValueError(f"{path}: {found}, expected jsonl (one object a line) or CoNLL-2012 (#begin document ...)")
    return _read_jsonl(lines, path) if start == "{" else _read_conll(lines, path)


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
    raise ValueError(f"gold and predicted files do not hold the same documents: {problem}")


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
    genre, slash, name = key.partition("/")
    return re.sub(r"_\d{1,3}$", "", name if slash else genre)


def _read_jsonl(lines: Iterable[str], path: Path | str) -> list[Document]:
    documents = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: broken JSON ({error}); expected one object a line") from None
        if not isinstance(document, dict) or "clusters" not in document:
            raise ValueError(f"{path}:{number}: expected an object with 'clusters', found {line.strip()[:60]}")
        documents.append(document)
    return documents


def _read_conll(lines: Iterable[str], path: Path | str) -> list[Document]:
    documents: list[Document] = []
    reading: _ConllDocument | None = None
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        begin = _BEGIN.match(line.strip())
        if begin:
            if reading:
                raise ValueError(f"{where}: a document begins before {reading.name!r} has ended (#end document)")
            reading = _ConllDocument(f"{begin[1]}_{begin[2] or 0}")
        elif re.match(r"#\s*end document", line):
            if not reading:
                raise ValueError(f"{where}: #end document without #begin document")
            documents.append(reading.finish(where))
            reading = None
        elif line.strip() and not line.startswith("#"):
            if not reading:
                raise ValueError(f"{where}: text outside a document; expected '#begin document (name); part 000'")
            reading.add_token(line.split()[-1], where)
    if reading:
        raise ValueError(f"{path}: document {reading.name!r} does not end (#end document)")
    return documents


class _ConllDocument:
    """A document being read: `add_token` line by line, then `finish`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tokens = 0
        self.clusters: dict[int, list[list[int]]] = {}
        self.open: dict[int, list[int]] = {}  # starts of open mentions; the last one opened closes first

    def add_token(self, cell: str, where: str) -> None:
        for part in cell.split("|") if cell not in ("-", "_", "*") else ():
            bracket = re.fullmatch(r"(\()?(\d+)(\))?", part)
            if not bracket or not (bracket[1] or bracket[3]):
                raise ValueError(f"{where}: {part!r} in the last column, expected '(3', '3)', '(3)' or '-'")
            cluster = int(bracket[2])
            if bracket[1]:
                self.open.setdefault(cluster, []).append(self.tokens)
            if bracket[3]:
                if not self.open.get(cluster):
                    raise ValueError(f"{where}: a mention of cluster {cluster} closes that was never opened")
                self.clusters.setdefault(cluster, []).append([self.open[cluster].pop(), self.tokens])
        self.tokens += 1

    def finish(self, where: str) -> Document:
        unclosed = sorted(cluster for cluster, starts in self.open.items() if starts)
        if unclosed:
            raise ValueError(f"{where}: document {self.name!r} ends while a mention of cluster {unclosed[0]} is open")
        return {"doc_key": self.name, "clusters": [mentions for _, mentions in sorted(self.clusters.items())]}
