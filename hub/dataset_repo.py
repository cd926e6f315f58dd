"""The dataset repository: the folder of `tiktalkcoref prepare`, without pictures unless they are asked for."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tiktalkcoref.files.errors import UserError

if TYPE_CHECKING:
    from .kinds import Sources

PICTURE_NOTICE = (
    "The annotations are MIT; the pictures are not. They are frames of videos from Douyin, whose makers hold the "
    "copyright, and show the faces of people who did not agree to this. Publish them only with a licence to do so."
)


def check(sources: "Sources") -> None:
    """Refuse a folder that is not a prepared dataset, and one with pictures unless they are wanted.

    Raises:
        ValueError: what is missing and how to make it.
    """
    folder = sources.dataset
    if not (folder / "README.md").is_file() or not _tables(folder):
        raise UserError(
            f"{folder} is no prepared dataset (README.md and Parquet files): "
            f"run `tiktalkcoref prepare --data-dir DATA --output-dir {folder}`, or name another folder with --dataset"
        )
    pictures = count_pictures(folder)
    if pictures and not sources.with_pictures:
        raise UserError(
            f"{folder} holds {pictures:,} pictures. {PICTURE_NOTICE} Then add --with-pictures; without one, prepare "
            "the folder again without --frames-dir and --regions-dir"
        )


def count_pictures(folder: Path) -> int:
    """The pictures embedded in the Parquet files, counted from their statistics without reading them."""
    count = 0
    for path in _tables(folder):
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                if column.path_in_schema.endswith(".bytes"):
                    statistics = column.statistics
                    # without statistics: not known to be empty
                    count += column.num_values - (statistics.null_count if statistics else 0)
    return count


def build(sources: "Sources", ids: dict[str, str], folder: Path) -> None:
    """Copy the tables, and the card with the repository's id in its examples."""
    for path in _tables(sources.dataset):
        target = folder / path.relative_to(sources.dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    card = (sources.dataset / "README.md").read_text(encoding="utf-8")
    card = re.sub(r'(load_dataset\(")[^"]+', rf"\g<1>{ids['dataset']}", card)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))
