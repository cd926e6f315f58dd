"""Dialogues with their labels, from any form of the dataset: what a model learns from and is scored against."""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import datasets
import pyarrow
from PIL import Image, UnidentifiedImageError

from tiktalkcoref.corpus.names import NO_LABELS, SPLITS
from tiktalkcoref.corpus.prepared import check_parquet
from tiktalkcoref.corpus.problems import CorpusError
from tiktalkcoref.corpus.records import boxes_of_clusters
from tiktalkcoref.files.errors import UserError

from .folds import split_fold
from .hub_names import without_waiting

Dialogue = dict[str, Any]
SAMPLE_DIALOGUES = 3000
PICTURES = ("regions", "links", "region_identities")  # of a dialogue: what a model that only reads does without
LABELS = ("clusters", "links", "region_identities")  # what a model is to find


class DatasetError(UserError):
    """A dataset that cannot be found, opened, or used for what the recipe asks."""


# Opening a dataset


def load_dialogues(dataset: str, config: str, split: str, fold: str | None = None) -> list[Dialogue]:
    """The dialogues of one split.

    Args:
        dataset: `sample` (generated on first use), `upstream` (downloaded at a pinned commit), a folder written by
            `tiktalkcoref prepare`, a folder with upstream's own files, or the Hub id of a dataset.
        config: `all`, `celeb` or `no_celeb`.
        split: `train`, `validation` or `test`.
        fold: like `2/5`: the splits of this fold of a cross-validation over all dialogues (see `split_fold`).

    Raises:
        DatasetError: says what was looked for where, and what to give instead.
    """
    return [to_dialogue(row) for row in load_rows(dataset, config, split, fold)]


def load_rows(dataset: str, config: str, split: str, fold: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows behind `load_dialogues`, pictures still encoded."""
    if fold is None:
        yield from open_split(dataset, config, split)
        return
    parts = {name: open_split(dataset, "all", name) for name in SPLITS}
    chosen = split_fold([key for rows in parts.values() for key in rows["doc_key"]], fold)[split]
    if config != "all":
        chosen &= {key for name in SPLITS for key in open_split(dataset, config, name)["doc_key"]}
    yield from (row for rows in parts.values() for row in rows if row["doc_key"] in chosen)


def sample_folder() -> Path:
    """The embedded sample in upstream's own files, generated once into the user's cache."""
    from tiktalkcoref import sample

    sources = b"".join(path.read_bytes() for path in sorted(Path(sample.__file__).parent.glob("*.py")))
    folder = cache_folder() / f"sample-{SAMPLE_DIALOGUES}-{hashlib.sha256(sources).hexdigest()[:12]}"
    if not folder.is_dir():
        sample.write_sample(folder, dialogues=SAMPLE_DIALOGUES)
    return folder


def cache_folder() -> Path:
    """Where generated data is kept: TIKTALKCOREF_CACHE, or `tiktalkcoref` in the user's cache folder."""
    given = os.environ.get("TIKTALKCOREF_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiktalkcoref"


def open_split(dataset: str, config: str, split: str) -> datasets.Dataset:
    """One split with its pictures still encoded, any stretch of which can be read.

    Raises:
        DatasetError: as `load_dialogues`.
    """
    place = f"dataset {dataset!r}, config {config!r}, split {split!r}"
    load = _loader(dataset)
    try:
        rows = load(config, split)
    except DatasetError:
        raise
    except (datasets.exceptions.DatasetsError, pyarrow.ArrowException, FileNotFoundError) as error:
        raise DatasetError(
            f"{place} cannot be read: {_reason(error)}. Write it again by `tiktalkcoref prepare`"
        ) from error
    except ValueError as error:
        if type(error) is not ValueError:
            raise  # of the builder: names file and line
        raise DatasetError(f"{place}: {error}") from error  # of `datasets`: no such config or split
    if not len(rows):
        raise DatasetError(f"{place} holds no dialogue")
    missing = [name for name in ("sentences", "clusters") if name not in rows.column_names]
    if missing:
        raise DatasetError(
            f"dataset {dataset!r}, config {config!r} has no column {', '.join(missing)}; columns found: "
            f"{', '.join(rows.column_names)}. Use config all, celeb or no_celeb"
        )
    return _leave_pictures_encoded(rows)


def _loader(dataset: str) -> Callable[[str, str], datasets.Dataset]:
    """How a dataset is read, as a function of config and split: by what its name stands for."""
    if dataset == "upstream":
        return lambda config, split: _build_from_upstream(None, config, split)
    folder = sample_folder() if dataset == "sample" else Path(dataset)
    if folder.is_dir():
        if not next(folder.rglob("*.parquet"), None):
            return lambda config, split: _build_from_upstream(folder, config, split)
        return lambda config, split: _load_prepared(folder, config, split)
    if folder.exists():
        raise DatasetError(f"{dataset} is a file: the folder around it was expected")
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", dataset) and not dataset.endswith((".jsonl", ".parquet")):
        return lambda config, split: _load_from_hub(dataset, config, split)
    raise DatasetError(
        f"no dataset {dataset!r}: there is no such folder. Write one with `tiktalkcoref prepare`, or give a "
        "folder with upstream's files, the Hub id of a dataset (owner/name), `upstream` (downloaded), or `sample`"
    )


def _load_prepared(folder: Path, config: str, split: str) -> datasets.Dataset:
    try:
        check_parquet(folder)
    except CorpusError as error:
        raise DatasetError(f"dataset {str(folder)!r}, config {config!r}, split {split!r}: {error}") from error
    return datasets.load_dataset(str(folder), config, split=split)


def _build_from_upstream(folder: Path | None, config: str, split: str) -> datasets.Dataset:
    """From a folder of upstream's files, with its pictures where they lie beside them; without one, downloaded."""
    from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

    given: dict[str, str] = {}
    if folder is not None:
        places = {"data_dir": folder, "frames_dir": folder / "frames", "regions_dir": folder / "faces_all"}
        given = {name: str(path) for name, path in places.items() if path.is_dir()}
    builder = TikTalkCoref(config_name=config, **given)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _load_from_hub(dataset: str, config: str, split: str) -> datasets.Dataset:
    try:
        with without_waiting() as answers:
            return datasets.load_dataset(dataset, config, split=split)
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = _reason(error) if answers else "the Hub does not answer, and it is not in the local cache"
        raise DatasetError(
            f"no folder {dataset!r} here, and the Hub dataset of that name cannot be had ({reason}). Offline, "
            "give a folder: `tiktalkcoref prepare` writes one from upstream's files"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: `datasets` wraps it in errors that say nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _leave_pictures_encoded(rows: datasets.Dataset) -> datasets.Dataset:
    """The frames are whole video pictures: only those that are needed are decoded (in `to_dialogue`)."""

    def encoded(feature: Any) -> Any:
        if isinstance(feature, datasets.Image):
            return datasets.Image(decode=False)
        if isinstance(feature, dict):
            return {name: encoded(below) for name, below in feature.items()}
        if isinstance(feature, list):
            return [encoded(below) for below in feature]
        if isinstance(feature, datasets.List | datasets.LargeList):
            return type(feature)(encoded(feature.feature))
        return feature

    features = datasets.Features({name: encoded(feature) for name, feature in rows.features.items()})
    if features == rows.features:
        return rows
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return rows.cast(features)
    finally:
        if shown:
            datasets.enable_progress_bars()


# A row as a dialogue


def to_dialogue(row: dict[str, Any]) -> Dialogue:
    """A dataset row as the dialogue that processor and model take.

    Returns:
        `doc_key`, `sentences`, `speakers` (one an utterance), `title`, `clusters`; and where every box has a
        picture also `regions` (PIL images), `links` (one a cluster: index into regions, -1 for none) and
        `region_identities`. A region is the row's own crop, else (or where that shows others
        too) the box cut from its frame. Where one box has
        neither, the dialogue has no regions at all: a link to the missing one would read as "no visual counterpart".

    Raises:
        DatasetError: a picture that is none; names the dialogue.
    """
    dialogue = text_dialogue(row)
    boxes = row.get("visual_annotations") or []
    with _naming_pictures_of(dialogue):
        regions = [_region(box) for box in boxes]
    if regions and all(region is not None for region in regions):
        dialogue["regions"] = regions
        dialogue["region_identities"] = [celebrity(box) for box in boxes]
        dialogue["links"] = [numbers[0] if numbers else -1 for numbers in boxes_of_clusters(row)]
    return dialogue


def text_dialogue(row: dict[str, Any]) -> Dialogue:
    """The text of a dataset row and its clusters, as `to_dialogue` gives them."""
    return {
        "doc_key": row.get("doc_key", ""),
        "sentences": row["sentences"],
        "speakers": [ids[0] if isinstance(ids, list) else ids for ids in row.get("speaker_ids") or []],
        "title": row.get("video_title") or None,
        "clusters": row["clusters"],
    }


def frames_of(row: dict[str, Any]) -> list[tuple[Image.Image, list[tuple[int, list[int]]]]]:
    """The frames of a row, each with the numbers of its regions and their boxes in pixels. Raises: DatasetError."""
    frames: dict[str, tuple[Image.Image, list[tuple[int, list[int]]]]] = {}
    with _naming_pictures_of(row):
        for number, box in enumerate(row.get("visual_annotations") or []):
            picture = _picture(box.get("frame"))
            if picture is not None:
                frames.setdefault(box["cur_frame_path"], (picture, []))[1].append((number, list(box["bbox"])))
    return list(frames.values())


def without_pictures(dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    """The dialogues as a model sees them that only reads."""
    return [{key: value for key, value in dialogue.items() if key not in PICTURES} for dialogue in dialogues]


def without_labels(dialogues: Iterable[Dialogue]) -> list[Dialogue]:
    """The dialogues as a model is given them that is to find the labels."""
    return [{key: value for key, value in dialogue.items() if key not in LABELS} for dialogue in dialogues]


def names_of(dialogues: Sequence[Dialogue]) -> list[str]:
    """What messages call the dialogues: by `doc_key`, or by their place, counted from 1."""
    return [f"dialogue {dialogue.get('doc_key') or number}" for number, dialogue in enumerate(dialogues, start=1)]


def text_of(dialogue: Dialogue, span: Sequence[int]) -> str:
    """The text of a mention [start, end], end inclusive, over the flattened sentences."""
    characters = [character for sentence in dialogue["sentences"] for character in sentence]
    return "".join(characters[span[0] : span[1] + 1])


def shows_others(box: dict[str, Any]) -> bool:
    """Whether the box's own crop shows other persons too: its file is named after several labels (`..._C1C2.jpg`), and
    the box is of one of them. Upstream has 16 dialogues with such files."""
    stem = PurePath(box.get("region_image_path") or "").stem
    named = re.findall(r"C\d+", stem.rpartition("_")[2])
    return len(named) > 1 and box["box_labels"] != "".join(named)


def _region(box: dict[str, Any]) -> Image.Image | None:
    region = None if shows_others(box) else _picture(box.get("region"))
    if region is not None:
        return region
    frame = _picture(box.get("frame"))
    if frame is None:
        return None
    left, top, right, bottom = box["bbox"]
    left, top = max(0, int(left)), max(0, int(top))
    right, bottom = min(frame.width, max(int(right), left + 1)), min(frame.height, max(int(bottom), top + 1))
    return frame.crop((left, top, right, bottom)) if left < right and top < bottom else None


def _picture(value: Any) -> Image.Image | None:
    """A picture as `datasets` gives it, not yet decoded; its file is read and closed (a corpus has thousands)."""
    if not isinstance(value, dict):
        return value
    if value.get("bytes"):
        return Image.open(io.BytesIO(value["bytes"]))
    return Image.open(io.BytesIO(Path(value["path"]).read_bytes())) if value.get("path") else None


@contextlib.contextmanager
def _naming_pictures_of(dialogue: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"dialogue {dialogue['doc_key']}: {error}: a picture was expected. Replace it, or leave out the pictures"
        ) from error


def celebrity(box: dict[str, Any]) -> str | None:
    """The name of the person in an annotated box; None: not known."""
    name = box.get("celebrity")
    return None if name in NO_LABELS else name
