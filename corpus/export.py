"""Other people's formats: CoNLL-2012, the jsonlines of the e2e-coref family, and Chinese-CLIP's tsv + jsonl.

The first two carry `doc_key` and genre, the tokens with their utterances and speakers, and the clusters.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from tiktalkcoref.files.jsonl import read_jsonl

from .chinese_clip import CLIP_FILES, chinese_clip_lines
from .conll import conll_document
from .formats import ExportError, Record, document_name, json_line, write_files
from .names import SPLITS


def jsonlines_line(record: Record) -> str:
    """The line of one dialogue, as e2e-coref and its successors train on and predict.

    Keys: `doc_key`, `sentences`, `speakers` (one list an utterance), `clusters` (inclusive token offsets), and flat
    `sentence_map` and `subtoken_map` (one number a token) for the readers that want them.
    """
    return json_line(
        {
            "doc_key": f"{document_name(record)}_0",
            "sentences": record["sentences"],
            "speakers": record["speaker_ids"],
            "clusters": record["clusters"],
            "sentence_map": list(chain.from_iterable(record["sentence_map"])),
            "subtoken_map": list(chain.from_iterable(record["subtoken_map"])),
        }
    )


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


TEXT_FORMATS: dict[str, Callable[[Record], str]] = {"conll": conll_document, "jsonlines": jsonlines_line}
FORMATS = (*TEXT_FORMATS, "chinese-clip")


def export(records: Iterable[Record], output_dir: Path | str, file_format: str) -> dict[str, int]:
    """Write every split of the records in one of `FORMATS`; returns the dialogues (Chinese-CLIP: lines) a file.

    Args:
        records: canonical records with their `split`, in one pass: they are not all held in memory.
        output_dir: becomes `<split>.conll` or `<split>.jsonlines`, or the files of `chinese_clip_lines`.

    Raises:
        ExportError: a record that the format cannot carry, or no picture at all for Chinese-CLIP.
        FileExistsError: `output_dir` holds other files than these.
    """
    if file_format == "chinese-clip":
        return write_files(output_dir, CLIP_FILES, chinese_clip_lines(records))
    if file_format not in TEXT_FORMATS:
        raise ExportError(f"unknown format {file_format!r}; one of {', '.join(FORMATS)} was expected")
    to_text = TEXT_FORMATS[file_format]
    texts = ((f"{record['split']}.{file_format}", to_text(record)) for record in records)
    return write_files(output_dir, [f"{split}.{file_format}" for split in SPLITS], texts)
