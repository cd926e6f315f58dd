"""TikTalkCoref as a `datasets` builder: upstream's annotation files in, five typed configs out.

As a class (every version of `datasets` from 3.6):

    builder = TikTalkCoref(config_name="celeb", data_dir="TikTalkCoref/data")
    builder.download_and_prepare()
    dataset = builder.as_dataset(split="train")

and as a loading script (`datasets` 3, which still runs scripts), with the package installed:

    load_dataset("tiktalkcoref_dataset.py", "celeb", data_dir="TikTalkCoref/data", trust_remote_code=True)

Without `data_dir` the three files are downloaded from the upstream repository at a pinned commit and verified. Files,
pictures, reading and checks are in `corpus/`. The data are those of Xingyu Li, Chen Gong and Guohong Fu, "Multimodal
Coreference Resolution for Chinese Social Media Dialogues: Dataset and Benchmark Approach" (ACL 2025, pages 31513-31525,
https://aclanthology.org/2025.acl-long.1520/).
"""

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

try:
    from tiktalkcoref import corpus
    from tiktalkcoref.corpus.files import UPSTREAM_FILES, CorpusFiles, download_files, file_digest, find_files
    from tiktalkcoref.corpus.names import CITATION, DEFAULT_CONFIG, RECORD_CONFIGS, SIX_SPLITS, SPLITS, VIDEO_TYPES
    from tiktalkcoref.corpus.pictures import Pictures
    from tiktalkcoref.corpus.problems import CorpusError, Tally
    from tiktalkcoref.corpus.reading import Block, Corpus, Place, Reader
    from tiktalkcoref.corpus.records import Record
    from tiktalkcoref.corpus.videos import check_videos_dir, find_video, list_videos
except ImportError as error:  # this file was copied, or is run as a loading script, where the package is not
    raise ImportError(
        f"{Path(__file__).name} needs the package around it, which cannot be imported here ({error}): "
        "`pip install tiktalkcoref`. Offline: run `pip download tiktalkcoref -d wheels` where there is a network, "
        "bring the folder here, and run `pip install --no-index --find-links wheels tiktalkcoref`"
    ) from error

TEXTUAL_FIELDS = (
    "doc_key",
    "genre",
    "sentences",
    "speaker_ids",
    "sentence_map",
    "subtoken_map",
    "clusters",
    "clusters_str",
    "entity_labels",
)
VISUAL_FIELDS = ("doc_key", "video_title", "video_path", "visual_annotations")

DESCRIPTION = "Chinese dialogues under short videos: coreference clusters linked to the persons' heads in the video."
HOMEPAGE = "https://github.com/lxystaruni/TikTalkCoref"
LICENSE = "MIT"


def corpus_features() -> datasets.Features:
    """The typed columns of a whole record (configs `all`, `celeb`, `no_celeb`).

    `sentences`, `speaker_ids`, `sentence_map` and `subtoken_map` are parallel: one list an utterance, one entry a
    token (a character). `clusters` hold [start, end] token offsets over the flattened dialogue, end INCLUSIVE;
    `entity_labels` has one label a cluster, which boxes repeat as `box_labels` ("none": no visual counterpart).
    `bbox` is [x1, y1, x2, y2] in pixels. `frame` and `region` are pictures, null where none was found.
    """
    text, number = datasets.Value("string"), datasets.Value("int32")
    return datasets.Features(
        {
            "doc_key": text,
            "video_type": datasets.ClassLabel(names=list(VIDEO_TYPES)),
            "genre": text,
            "video_title": text,
            "video_path": text,
            "sentences": [[text]],
            "speaker_ids": [[text]],
            "sentence_map": [[number]],
            "subtoken_map": [[number]],
            "clusters": [[[number]]],
            "clusters_str": [[text]],
            "entity_labels": [text],
            "visual_annotations": [
                {
                    "cur_frame": number,
                    "cur_frame_path": text,
                    "bbox": [number],
                    "box_labels": text,
                    "celebrity": text,
                    "region_image_path": text,
                    "frame": datasets.Image(),
                    "region": datasets.Image(),
                }
            ],
        }
    )


def config_features(config_name: str) -> datasets.Features:
    """The typed columns of one config. Raises: KeyError for a name that is no config."""
    features = corpus_features()
    whole = dict.fromkeys(RECORD_CONFIGS, tuple(features))
    columns = {**whole, "textual": TEXTUAL_FIELDS, "visual": VISUAL_FIELDS}[config_name]
    return datasets.Features({name: features[name] for name in columns})


@dataclass(eq=False)  # equality is BuilderConfig's own
class CorpusConfig(datasets.BuilderConfig):
    """Which corpus to build, and how.

    annotations, splits, titles: paths of the three files (or names in `data_dir`), where `data_dir` alone does not say.
    frames_dir, regions_dir: the folders `frames/` and `faces_all/` of the authors' picture release.
    videos_dir: folder of `<doc_key>.mp4`: `video_path` of those that are there.
    require_images: a picture that is missing from one of these folders is an error instead of null.
    strict: warnings are errors.
    """

    version: datasets.Version = field(default_factory=lambda: datasets.Version("1.0.0"))
    annotations: str | None = None
    splits: str | None = None
    titles: str | None = None
    frames_dir: str | None = None
    regions_dir: str | None = None
    videos_dir: str | None = None
    require_images: bool = False
    strict: bool = False

    def files(self) -> CorpusFiles | None:
        """The local files of the corpus, None where it is to be downloaded. Raises: CorpusError as `find_files`."""
        given = {"annotations": self.annotations, "splits": self.splits, "titles": self.titles}
        if self.data_dir is None and not any(given.values()):
            return None
        return find_files(self.data_dir, **given)

    def pictures(self) -> Pictures:
        """The pictures that are at hand. Raises: CorpusError where a folder is missing."""
        return Pictures.open(self.frames_dir, self.regions_dir, self.require_images)

    def stamps(self) -> list[str]:
        """Change with any edit of the files and with any picture or video that comes or goes; cheap."""
        try:
            files = self.files()
            parts = [digest for _, digest in UPSTREAM_FILES.values()] if files is None else files.stamps()
            return [*parts, *(folder.digest() for folder in self.pictures().folders), *list_videos(self.videos_dir)]
        except (CorpusError, OSError) as error:
            return ["unreadable", str(error)]  # building says what is wrong; nothing is ever stored under this

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: datasets.Features | None = None) -> str:
        """The name of the cache folder: `datasets` builds anew where it is another one.

        It changes with anything that the result depends on: files, pictures, videos, options, this code.
        """
        kwargs = {name: str(value) for name, value in config_kwargs.items() if value is not None}
        fingerprint = hashlib.sha256("\n".join([*self.stamps(), *_code_digests()]).encode(errors="surrogateescape"))
        return super().create_config_id({**kwargs, "fingerprint": fingerprint.hexdigest()[:32]}, custom_features)


@cache
def _code_digests() -> list[str]:
    code: list[str | Path] = [__file__, *sorted(Path(corpus.__file__).parent.glob("*.py"))]
    return [file_digest(path) for path in code]


class TikTalkCoref(datasets.ArrowBasedBuilder):
    """The builder. Configs: `all` (default), `celeb`, `no_celeb`, `textual`, `visual`; see `corpus_features`.

    `all`, `celeb` and `no_celeb` have the splits train, validation and test; `textual` and `visual` have the same
    three of each video type, `celeb_train` to `no_celeb_test`. A split without a dialogue is left out.
    A build checks every record of the file, whatever the config; streaming checks the records that it reads.
    Raises: CorpusError for anything that the files have wrong, and where they cannot be found or downloaded.
    """

    BUILDER_CONFIG_CLASS = CorpusConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 (as `datasets` declares it)
        CorpusConfig(name="all", description="Whole records, all dialogues."),
        CorpusConfig(name="celeb", description="Whole records, dialogues about celebrities."),
        CorpusConfig(name="no_celeb", description="Whole records, dialogues about other people."),
        CorpusConfig(name="textual", description="The textual fields alone."),
        CorpusConfig(name="visual", description="The boxes and pictures alone."),
    ]
    DEFAULT_CONFIG_NAME = DEFAULT_CONFIG
    DEFAULT_WRITER_BATCH_SIZE = 1000  # rows; `datasets` takes 100 where there are pictures, but these are paths

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stamps = self.config.stamps()

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=DESCRIPTION,
            features=config_features(self.config.name),
            homepage=HOMEPAGE,
            license=LICENSE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if self.config.videos_dir is not None:
            check_videos_dir(self.config.videos_dir)
        building = isinstance(dl_manager, datasets.DownloadManager)  # else streaming, which stores nothing
        files = self.config.files() or download_files(dl_manager if building else None)
        pictures = self.config.pictures() if self.config.name != "textual" else Pictures()
        if building and self.config.stamps() != self._stamps:
            raise CorpusError(
                f"{files.annotations} or its neighbours changed after this builder was made: make another."
            )
        tally, splits = Tally(self.config.strict), self._splits()
        with collector_paused():
            opened, problems = Corpus.open(files, pictures)
            tally.take(problems)
            blocks = opened.survey(splits, check_others=building, tally=tally)
        tally.log()
        pictures.log()
        if not blocks:  # `datasets` cannot open an empty split
            types = dict.fromkeys(video_type for video_type, _ in splits)
            raise CorpusError(f"{files.annotations}: no dialogue of video type {' or '.join(types)}.")
        # Lists are what `datasets` deals out to processes and streaming workers: the blocks, nothing else.
        return [
            datasets.SplitGenerator(name, {"reader": Reader(files, pictures), "blocks": blocks[name]})
            for name in dict.fromkeys(splits.values())
            if name in blocks
        ]

    def _splits(self) -> dict[Place, str]:
        """Video type and split -> the split of this config that holds its dialogues, those of other types left out."""
        places = [(video_type, split) for video_type in VIDEO_TYPES for split in SPLITS]
        if self.config.name not in RECORD_CONFIGS:
            return dict(zip(places, SIX_SPLITS, strict=True))
        return {place: place[1] for place in places if self.config.name in ("all", place[0])}

    def _generate_tables(self, reader: Reader, blocks: list[Block]) -> Iterator[tuple[int, pa.Table]]:
        tally, schema = Tally(self.config.strict), pa.schema(self.info.features.type)
        for number, block in enumerate(blocks):
            with collector_paused():  # which ends after the records do
                rows = [self._to_row(record) for record in reader.read_block(block, tally)]
                table = pa.Table.from_pylist(rows, schema)
                del rows
            yield number, table
        tally.log()

    def _to_row(self, record: Record) -> Record:
        """The canonical record, which is changed, with the values that the columns take."""
        video = find_video(self.config.videos_dir, record["doc_key"])
        record["video_path"] = None if video is None else str(video)
        record["video_type"] = VIDEO_TYPES.index(record["video_type"])
        for box in record["visual_annotations"]:  # an `Image` column stores a path, which is read when asked for
            for name in ("frame", "region"):
                box[name] = box[name] and {"bytes": None, "path": box[name]}
        return record


@contextmanager
def collector_paused() -> Iterator[None]:
    """For a block of records, which hold no cycles: the garbage collector would walk the whole process again and again.

    `benchmarks/bench_dataset.py` prints what it is worth: 64 ms against 69 for upstream's file, and 4.6 s against 6.3
    for a hundred times as many records, all of them time in which the collector finds nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
