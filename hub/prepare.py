"""The folder that goes on the Hub: Parquet a config and split, and a dataset card that tells `load_dataset` so."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets import DatasetInfo
from datasets.exceptions import DatasetGenerationError
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from tiktalkcoref import corpus
from tiktalkcoref.corpus import pictures
from tiktalkcoref.corpus.files import CorpusFiles
from tiktalkcoref.corpus.names import CITATION, CONFIGS, DEFAULT_CONFIG, SPLITS, VIDEO_TYPES
from tiktalkcoref.corpus.problems import CorpusError, Problem
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.corpus.statistics import Counts, measure
from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.progress import track
from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

TEMPLATE = Path(__file__).parent / "dataset_card.md"
OWNED = ["README.md", ".gitattributes", *(f"{config}/*.parquet" for config in CONFIGS)]
MAX_SHARD_SIZE = "500MB"
ROW_GROUP_SIZE = 100  # rows, with their pictures: who reads one row of Parquet reads its group


def prepare(
    files: CorpusFiles,
    output_dir: Path | str = "tiktalkcoref",
    frames_dir: Path | str | None = None,
    regions_dir: Path | str | None = None,
    *,
    videos_dir: Path | str | None = None,
    repo_id: str = "tiktalkcoref",
    check_pictures: bool = True,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write the Hub-ready folder; from its parent, `load_dataset("tiktalkcoref", "celeb")` then works offline.

    Args:
        files: the corpus.
        output_dir: becomes `<config>/<split>-00000-of-00001.parquet` (more parts for many pictures) and `README.md`.
        frames_dir, regions_dir: pictures found there are embedded in the Parquet files; missing ones are null.
        videos_dir: folder of `<doc_key>.mp4`; `video_path` names those that are there.
        repo_id: the name that the card's examples load.
        check_pictures: whether each picture is opened and decoded first (see `survey`).
        facts: what `survey` said of the same files, if it has been asked already.

    Returns:
        The folder.

    Raises:
        CorpusError: the corpus has errors, or a picture is none.
        FileExistsError: `output_dir` holds files that are not of such a folder.
        OSError: the folder cannot be written (a disk that is full); nothing is left of it.
    """
    if facts is None:
        facts = survey(files, frames_dir, regions_dir, check_pictures, videos_dir)
    sources = {
        "annotations": files.annotations,
        "splits": files.splits,
        "titles": files.titles,
        "frames_dir": frames_dir,
        "regions_dir": regions_dir,
        "videos_dir": videos_dir,
    }
    given = {name: None if path is None else str(path) for name, path in sources.items()}
    # A kind of video of which there is no dialogue has no config: `load_dataset` could not open it.
    configs = [name for name in CONFIGS if name not in VIDEO_TYPES or facts["counts"][name, "all"].dialogues]
    infos: dict[str, DatasetInfo] = {}
    with atomic_folder(output_dir, owned=OWNED) as folder, tempfile.TemporaryDirectory() as cache:
        for config in track(configs, "writing Parquet", total=len(configs)):
            builder = TikTalkCoref(config_name=config, cache_dir=cache, writer_batch_size=ROW_GROUP_SIZE, **given)
            infos[config] = _write_config(builder, folder / config, folder / "build")
        shutil.rmtree(folder / "build")
        (folder / "README.md").write_text(dataset_card(infos, facts, repo_id), encoding="utf-8", newline="\n")
    return Path(output_dir)


def survey(
    files: CorpusFiles,
    frames_dir: Path | str | None = None,
    regions_dir: Path | str | None = None,
    check_pictures: bool = True,
    videos_dir: Path | str | None = None,
) -> dict[str, Any]:
    """What the card tells of the corpus beyond its rows: counts, pictures, defects; one pass over all records.

    Raises:
        CorpusError: the corpus has errors; or, with `check_pictures`, a picture cannot be decoded or is too large.
    """
    problems: list[Problem] = []
    embedded: dict[str, Counter[bool]] = {"frame": Counter(), "region": Counter()}
    region_names: set[str] = set()
    owners: dict[str, str] = {}  # path of a picture -> doc_key

    def counted() -> Iterator[dict[str, Any]]:
        records = read_corpus(files, problems=problems, frames_dir=frames_dir, regions_dir=regions_dir)
        for record in track(records, "reading"):
            for box in record["visual_annotations"]:
                region_names.add(os.path.basename(box["region_image_path"]))
                for kind, found in embedded.items():
                    found[box[kind] is not None] += 1
                    if box[kind] is not None:
                        owners.setdefault(box[kind], record["doc_key"])
            yield record

    counts = measure(counted(), videos_dir)
    if check_pictures:
        _refuse_broken(owners)
    return {
        "counts": counts,
        "published": files.are_published(),
        # by field, without its numbers: `visual_annotations.box_labels`
        "warnings": Counter(re.sub(r"\[\d+\]", "", problem.field or "file") for problem in problems),
        "pictures": {kind: {"found": found[True], "missing": found[False]} for kind, found in embedded.items()},
        "region_names": len(region_names),
    }


def _refuse_broken(owners: dict[str, str]) -> None:
    """Open and decode every picture. Raises: CorpusError, which names the first that fail."""
    checked = track(pictures.check_pictures(owners), "checking pictures", total=len(owners))
    broken = [f"{path} (doc_key {owners[path]}): {fault}" for path, fault in checked if fault]
    if broken:
        more = f"\n  and {len(broken) - 5:,} more" if len(broken) > 5 else ""
        raise CorpusError(
            f"{len(broken):,} of {len(owners):,} pictures cannot be embedded. Mend them, or take them away (the column "
            "is then null); --no-check-pictures embeds whatever the files hold:\n  " + "\n  ".join(broken[:5]) + more
        )


def dataset_card(infos: dict[str, DatasetInfo], facts: dict[str, Any], repo_id: str) -> str:
    """The card of a prepared corpus: YAML (configs, features, sizes) and text, from `dataset_card.md`.

    Args:
        infos: config -> its `datasets.DatasetInfo`, with splits and sizes.
        facts: what `survey` returned.
        repo_id: the name that the examples load.
    """
    counts: dict[tuple[str, str], Counts] = facts["counts"]
    whole = counts["all", "all"]
    data = DatasetCardData(
        pretty_name="TikTalkCoref",
        language=["zh"],
        license="mit",
        task_categories=["token-classification"],
        task_ids=["coreference-resolution"],
        annotations_creators=["expert-generated"],
        language_creators=["found"],
        multilinguality=["monolingual"],
        source_datasets=["extended"],
        size_categories=[
            "n<1K" if whole.dialogues < 1000 else "1K<n<10K" if whole.dialogues < 10_000 else "10K<n<100K"
        ],
        tags=["coreference", "multimodal", "dialogue", "social-media", "visual-grounding"],
    )
    configs: dict[str, Any] = {
        name: {"data_files": [{"split": split, "path": f"{name}/{split}-*"} for split in info.splits]}
        for name, info in infos.items()
    }
    configs[DEFAULT_CONFIG]["default"] = True
    MetadataConfigs(configs).to_dataset_card_data(data)
    DatasetInfosDict(infos).to_dataset_card_data(data)
    parts = [*((group, split) for group in VIDEO_TYPES for split in SPLITS), *((group, "all") for group in VIDEO_TYPES)]
    card = DatasetCard.from_template(
        data,
        template_path=str(TEMPLATE),
        repo_id=repo_id,
        default_config=DEFAULT_CONFIG,
        configs={
            name: {split.name: split.num_examples for split in info.splits.values()} for name, info in infos.items()
        },
        counts=[(*part, counts[part]) for part in (*parts, ("all", "all"))],
        is_upstream=facts["published"],
        citation=CITATION,
        without_box=whole.boxes_a_dialogue[0],
        warnings=dict(sorted(facts["warnings"].items())),
        pictures=facts["pictures"],
        region_names=facts["region_names"],
    )
    return str(card)


def _write_config(builder: TikTalkCoref, folder: Path, build: Path) -> DatasetInfo:
    """Build a config as Parquet in `build`, move the files to `folder`; returns what the card says of it."""
    try:
        with _quiet():
            builder.download_and_prepare(str(build / folder.name), file_format="parquet", max_shard_size=MAX_SHARD_SIZE)
    except DatasetGenerationError as error:  # `datasets` hides what the disk said
        if isinstance(error.__cause__, OSError):
            raise OSError(f"the config {folder.name} could not be written: {error.__cause__}") from error
        raise
    folder.mkdir()
    for path in (build / folder.name).glob("*.parquet"):
        # `tiktalk_coref-train-00000-of-00002`, which has numbers if it needs them, without the builder's name
        _, split, *numbers = path.stem.split("-")
        path.rename(folder / ("-".join([split, *(numbers or ["00000", "of", "00001"])]) + ".parquet"))
    info = builder.info
    info.download_size = sum(path.stat().st_size for path in folder.iterdir())  # what `load_dataset` fetches
    return info


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Five builders would each draw their bars and repeat the warnings that `survey` has counted."""
    log = logging.getLogger(corpus.__name__)
    shown, level = datasets.is_progress_bar_enabled(), log.level
    datasets.disable_progress_bars()
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        if shown:
            datasets.enable_progress_bars()
