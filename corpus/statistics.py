"""The figures of the corpus: the table of upstream's README, measured, beside what was published; histograms."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tiktalkcoref.files.atomic import atomic_folder

from .names import SPLITS, VIDEO_TYPES
from .records import boxes_of_clusters
from .videos import check_videos_dir, find_video, video_seconds

GROUPS = (*VIDEO_TYPES, "all")
COLUMNS = ("dialogues", "minutes", "mentions", "clusters", "singletons", "boxes")
HISTOGRAMS = {  # file: what is drawn, and the names of its axes
    "cluster_sizes.png": ("cluster_sizes", "mentions in a cluster", "clusters"),
    "mentions.png": ("mentions_a_dialogue", "mentions in a dialogue", "dialogues"),
    "mention_lengths.png": ("mention_lengths", "characters in a mention", "mentions"),
    "boxes.png": ("boxes_a_dialogue", "boxes of clusters in a dialogue", "dialogues"),
}

# Upstream's README: its table, whose boxes agree neither with its own text (958) nor with a released file (881 that
# belong to a cluster).
PUBLISHED: dict[str, dict[str, float]] = {
    "celeb": {"dialogues": 338, "mentions": 731, "clusters": 488, "boxes": 426},
    "all": {"dialogues": 1012, "minutes": 519.65, "mentions": 2179, "clusters": 1435, "boxes": 955},
}


@dataclass
class Counts:
    """What is counted over a set of dialogues; the counters are histograms (value -> how often)."""

    dialogues: int = 0
    seconds: float | None = None  # of the videos found; None where no video folder was named
    videos: int = 0
    tokens: int = 0
    mentions: int = 0
    clusters: int = 0
    singletons: int = 0
    boxes: int = 0  # that belong to a cluster
    boxes_of_no_cluster: int = 0
    cluster_sizes: Counter[int] = field(default_factory=Counter)
    mentions_a_dialogue: Counter[int] = field(default_factory=Counter)
    mention_lengths: Counter[int] = field(default_factory=Counter)
    boxes_a_dialogue: Counter[int] = field(default_factory=Counter)

    def add(self, record: dict[str, Any], seconds: float | None) -> None:
        """Count one canonical record in; `seconds` is the length of its video, if known."""
        lengths = [end - start + 1 for cluster in record["clusters"] for start, end in cluster]
        boxes = len(set(chain.from_iterable(boxes_of_clusters(record))))  # two clusters may bear one label
        self.dialogues += 1
        self.tokens += sum(len(sentence) for sentence in record["sentences"])
        self.mentions += len(lengths)
        self.clusters += len(record["clusters"])
        self.singletons += sum(len(cluster) == 1 for cluster in record["clusters"])
        self.boxes += boxes
        self.boxes_of_no_cluster += len(record["visual_annotations"]) - boxes
        self.cluster_sizes.update(len(cluster) for cluster in record["clusters"])
        self.mentions_a_dialogue[len(lengths)] += 1
        self.mention_lengths.update(lengths)
        self.boxes_a_dialogue[boxes] += 1
        if seconds is not None:
            self.videos += 1
            self.seconds = (self.seconds or 0.0) + seconds

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers as they are, histograms by ascending value."""
        return {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }


def measure(records: Iterable[dict[str, Any]], videos_dir: Path | str | None = None) -> dict[tuple[str, str], Counts]:
    """Count the records by group (`celeb`, `no_celeb`, `all`) and split (`train`, `validation`, `test`, `all`).

    Args:
        records: canonical records with their `split`, read in one pass.
        videos_dir: folder of `<doc_key>.mp4`, to measure how long they are.

    Raises:
        FileNotFoundError: `videos_dir` does not exist.
        MissingExtraError: videos cannot be measured without the extra `tracking`.
    """
    if videos_dir is not None:
        check_videos_dir(videos_dir)
    counts = {(group, split): Counts() for group in GROUPS for split in (*SPLITS, "all")}
    for record in records:
        seconds = video_seconds(find_video(videos_dir, record["doc_key"]))
        for group in (record["video_type"], "all"):
            for split in (record["split"], "all"):
                counts[group, split].add(record, seconds)
    return counts


def statistics_table(counts: dict[tuple[str, str], Counts]) -> Table:
    """What was measured, and under the rows of `celeb` and `all` what was published: yellow where the two differ."""
    table = Table(
        header_style="dim",
        caption=_caption(counts["all", "all"]),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True, min_width=12)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for group in GROUPS:
        whole = _figures(counts[group, "all"])
        table.add_row(group, *map(_cell, whole), style="bold")
        if group in PUBLISHED:
            published = [PUBLISHED[group].get(name) for name in COLUMNS]
            pairs = zip(published, whole, strict=True)
            styles = ["" if value is None else "green" if value == measured else "yellow" for value, measured in pairs]
            table.add_row("  published", *map(_cell, published, styles))
        for split in SPLITS:
            table.add_row(f"  {split}", *map(_cell, _figures(counts[group, split])))
        table.add_section()
    return table


def write_statistics(counts: dict[tuple[str, str], Counts], output_dir: Path | str) -> Path:
    """Write `statistics.json` and four histograms as PNG (celeb and no_celeb stacked); returns the folder.

    Raises:
        FileExistsError: the folder holds other files than these.
    """
    with atomic_folder(output_dir, owned=["statistics.json", *HISTOGRAMS]) as folder:
        values = [{"group": group, "split": split, **part.to_dict()} for (group, split), part in counts.items()]
        (folder / "statistics.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        for name, (values_of, xlabel, ylabel) in HISTOGRAMS.items():
            celeb, no_celeb = (getattr(counts[video_type, "all"], values_of) for video_type in VIDEO_TYPES)
            _draw_histogram(celeb, no_celeb, xlabel, ylabel, folder / name)
    return Path(output_dir)


def _figures(part: Counts) -> list[float | None]:
    minutes = None if part.seconds is None else round(part.seconds / 60, 2)
    return [minutes if name == "minutes" else getattr(part, name) for name in COLUMNS]


def _cell(value: float | None, style: str = "") -> Text:
    return Text("–" if value is None else f"{value:,}", style=style)


def _caption(whole: Counts) -> str:
    more = f" ({whole.boxes_of_no_cluster:,} more belong to no cluster)" if whole.boxes_of_no_cluster else ""
    note = f"Boxes: those whose label a cluster bears{more}; published: the table of upstream's README"
    note += ", whose text says 958."
    if whole.seconds is None:
        return f"{note} Minutes: no videos at hand (--videos-dir)."
    if whole.videos < whole.dialogues:
        return f"{note} Minutes: of the {whole.videos:,} videos found for {whole.dialogues:,} dialogues."
    return note


def _draw_histogram(celeb: Counter[int], no_celeb: Counter[int], xlabel: str, ylabel: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    total = celeb + no_celeb
    axis = range(min(total), max(total) + 1) if total else range(1)
    figure = Figure(figsize=(6, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no display, no global state
    axes = figure.add_subplot()
    below = [celeb[value] for value in axis]
    axes.bar(axis, below, color="#c44e52", label="celeb")
    axes.bar(axis, [no_celeb[value] for value in axis], bottom=below, color="#4c72b0", label="no_celeb")
    if len(axis) <= 32:  # rare values have bars too low to see
        for value, count in total.items():
            axes.annotate(f"{count:,}", (value, count), ha="center", va="bottom", fontsize=6, color="#444444")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
