"""The jsonlines that e2e-coref and its successors train on and predict, written and read: a document a line."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tiktalkcoref.files.jsonl import read_jsonl

from .formats import ExportError, Record, document_name


def jsonlines_line(record: Record) -> str:
    """The line of one dialogue.

    Keys: `doc_key`, `sentences`, `speakers` (one list an utterance), `clusters` (inclusive token offsets), and flat
    `sentence_map` and `subtoken_map` (one number a token) for the readers that want them.
    """
    document = {
        "doc_key": f"{document_name(record)}_0",
        "sentences": record["sentences"],
        "speakers": record["speaker_ids"],
        "clusters": record["clusters"],
        "sentence_map": list(chain.from_iterable(record["sentence_map"])),
        "subtoken_map": list(chain.from_iterable(record["subtoken_map"])),
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def read_jsonlines(path: Path | str) -> Iterator[Record]:
    """The documents of a file, as they are: such jsonlines, rows of the dataset, or predictions; all have `clusters`.

    Raises:
        ExportError: no object with `clusters`; JsonError: not JSON. Both name file and line.
    """
    for number, document in read_jsonl(path):
        if not isinstance(document, dict) or "clusters" not in document:
            found = json.dumps(document, ensure_ascii=False)
            found = found if len(found) <= 60 else f"{found[:57]}..."
            raise ExportError(f"{path}, line {number}: expected an object with 'clusters', found {found}")
        yield document
