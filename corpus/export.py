"""Other people's formats: CoNLL-2012, the jsonlines of the e2e-coref family, and Chinese-CLIP's tsv + jsonl.

The first two carry `doc_key` and genre, the tokens with their utterances and speakers, and the clusters.
"""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from tiktalkcoref.files.atomic import atomic_folder

from .chinese_clip import CLIP_FILES, ChineseClipWriter
from .conll import conll_document
from .formats import ExportError, Record
from .jsonlines import jsonlines_line
from .names import SPLITS

TEXT_FORMATS: dict[str, Callable[[Record], str]] = {"conll": conll_document, "jsonlines": jsonlines_line}
FORMATS = (*TEXT_FORMATS, "chinese-clip")


def export(records: Iterable[Record], output_dir: Path | str, file_format: str) -> dict[str, int]:
    """Write every split of the records in one of `FORMATS`; returns the dialogues (Chinese-CLIP: lines) a file.

    Args:
        records: canonical records with their `split`, in one pass: they are not all held in memory.
        output_dir: becomes `<split>.conll` or `<split>.jsonlines`, or the files of `ChineseClipWriter`.

    Raises:
        ExportError: a record that the format cannot carry, or no picture at all for Chinese-CLIP.
        FileExistsError: `output_dir` holds other files than these.
    """
    if file_format == "chinese-clip":
        return _export_pictures(records, Path(output_dir))
    if file_format in TEXT_FORMATS:
        return _export_text(records, Path(output_dir), file_format, TEXT_FORMATS[file_format])
    raise ExportError(f"unknown format {file_format!r}; one of {', '.join(FORMATS)} was expected")


def _export_pictures(records: Iterable[Record], output_dir: Path) -> dict[str, int]:
    with atomic_folder(output_dir, owned=CLIP_FILES) as folder:
        with ChineseClipWriter(folder) as writer:
            for record in records:
                writer.write(record)
        if not any(writer.counts.values()):
            raise ExportError(
                "no head region has a picture, and Chinese-CLIP needs pictures: name the folders of the authors' "
                "picture release with --regions-dir (their faces_all) or --frames-dir (their frames)"
            )
    return writer.counts


def _export_text(
    records: Iterable[Record], output_dir: Path, suffix: str, to_text: Callable[[Record], str]
) -> dict[str, int]:
    names = {split: f"{split}.{suffix}" for split in SPLITS}
    counts = dict.fromkeys(names.values(), 0)
    with atomic_folder(output_dir, owned=list(names.values())) as folder, contextlib.ExitStack() as stack:
        files = {
            split: stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n"))
            for split, name in names.items()
        }
        for record in records:
            files[record["split"]].write(to_text(record))
            counts[names[record["split"]]] += 1
    return counts
