"""The dataset repository: the folder of `tiktalkcoref prepare`, without pictures unless they are asked for."""

import itertools
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track

from .kind import Kind, Sources

PICTURE_NOTICE = (
    "The annotations are MIT; the pictures are not. They are frames of videos from Douyin, whose makers hold the "
    "copyright, and show the faces of people who did not agree to this. Publish them only with a licence to do so."
)


def check(sources: Sources) -> None:
    """Refuse a folder that is not a whole prepared dataset, and one with pictures unless they are wanted."""
    folder = sources.dataset
    tables = _tables(folder)
    if not (folder / "README.md").is_file() or not tables:
        raise UserError(
            f"{folder} is no prepared dataset (README.md and Parquet files): "
            f"run `tiktalkcoref prepare --data-dir DATA --output-dir {folder}`, or name another folder with --dataset"
        )
    _check_splits(folder, {path: _count_rows(path) for path in track(tables, "checking Parquet", total=len(tables))})
    pictures = sum(map(_count_pictures, tables))
    if pictures and not sources.with_pictures:
        raise UserError(
            f"{folder} holds {pictures:,} pictures. {PICTURE_NOTICE} Then add --with-pictures; without one, prepare "
            "the folder again without --frames-dir and --regions-dir"
        )


def build(sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Copy the tables, and the card with the repository's id in its examples."""
    for path in _tables(sources.dataset):
        target = folder / path.relative_to(sources.dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    card = (sources.dataset / "README.md").read_text(encoding="utf-8")
    card = re.sub(r'(load_dataset\(")[^"]+', rf"\g<1>{ids['dataset']}", card)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return []


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def _count_rows(path: Path) -> int:
    """The rows of a Parquet file, all of it read once: what cannot be read here cannot be loaded from the Hub."""
    try:
        with pq.ParquetFile(path) as file:
            return sum(batch.num_rows for batch in file.iter_batches(batch_size=256))
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is no Parquet file that can be read ({' '.join(str(error).split())}): prepare the dataset again"
        ) from error


def _count_pictures(path: Path) -> int:
    """The pictures embedded in a Parquet file, counted from its statistics; without these, any value may be one."""
    count, metadata = 0, pq.read_metadata(path)
    for group, column in itertools.product(range(metadata.num_row_groups), range(metadata.num_columns)):
        values = metadata.row_group(group).column(column)
        if values.path_in_schema.endswith(".bytes"):
            count += values.num_values - (values.statistics.null_count if values.statistics else 0)
    return count


def _check_splits(folder: Path, rows: dict[Path, int]) -> None:
    """Hold the tables against what the card says of them: every split is there, with all its rows, and no other."""
    data = DatasetCard.load(folder / "README.md").data
    try:
        configs, infos = MetadataConfigs.from_dataset_card_data(data), DatasetInfosDict.from_dataset_card_data(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder}/README.md: {error}: prepare the dataset again") from error
    others = set(rows)
    for config, settings in configs.items():
        for entry in settings.get("data_files", []):
            found = rows.keys() & set(folder.glob(entry["path"]))
            others -= found
            info, there = infos.get(config), sum(rows[path] for path in found)
            split = info.splits.get(entry["split"]) if info is not None and info.splits else None
            expected = split.num_examples if split else None
            if not found or expected not in (None, there):
                raise UserError(
                    f"{folder}: its card names {config}/{entry['split']} with {expected or 'some'} rows, the files "
                    f"{entry['path']} have {there}: a push would delete the others; prepare the dataset again"
                )
    if others:
        raise UserError(
            f"{folder} holds {min(others).relative_to(folder).as_posix()}, which is of no config in its card: prepare "
            "the dataset again, or move it away"
        )


KIND = Kind(
    type="dataset",
    default_name="tiktalkcoref",
    check=check,
    build=build,
    unlisted=(r"README\.md", r"(all|celeb|no_celeb|textual|visual)/[a-z_]+-\d{5}-of-\d{5}\.parquet"),
    marker="all/",
)
