"""The records of the corpus: a line of each file as a typed struct, and the canonical form of a dialogue.

Upstream has published its annotations in several generations. `Annotation` and `Box` hold the names of all of them;
`canonical` gives one form, the one that `DESIGN` and the dataset card describe.
"""

from collections.abc import Sequence
from itertools import chain, count
from typing import Annotated, Any, NamedTuple

import msgspec

from tiktalkcoref.files.errors import UserError

from .names import NO_LABEL, NO_LABELS

MAX_NUMBER = 2**31 - 1  # what an int32 column holds

Key = Annotated[str, msgspec.Meta(min_length=1)]
Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Span = Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)]  # first and last token (inclusive)
Record = dict[str, Any]


class Box(msgspec.Struct, gc=False):
    """A head in a frame, in any generation."""

    cur_frame: Number
    cur_frame_path: str
    bbox: Annotated[list[int], msgspec.Meta(min_length=4, max_length=4)]  # x1, y1, x2, y2 in pixels
    box_labels: str
    region_image_path: str
    celebrity: str | None = None
    if_celebrity: str | None = None  # its name in the newest generation


class Annotation(msgspec.Struct):
    """A line of the annotation file, in any generation; what may be missing is None."""

    doc_key: Key
    sentences: list[list[str]]
    speaker_ids: list[list[str]]
    clusters: list[list[Span]]
    visual_annotations: list[Box]
    genre: str | None = None
    sentence_map: list[list[Number]] | None = None
    subtoken_map: list[list[Number]] | None = None
    clusters_str: Any = None
    entity_labels: list[str] | None = None
    entity_label: list[str] | None = None  # its name in the newest generation

    @property
    def labels(self) -> list[str] | None:
        """The label of each cluster, under either name."""
        return self.entity_label if self.entity_labels is None else self.entity_labels


class SplitEntry(msgspec.Struct):
    """A line of the split file."""

    video_id: Key
    video_type: Any = None
    split: Any = None


class TitleEntry(msgspec.Struct):
    """A line of the file of video titles."""

    video_id: Key
    title: Any = None


def canonical(annotation: Annotation, video_type: str, split: str, title: str | None) -> Record:
    """The canonical record of an annotation that `check` has passed; `frame` and `region` of its boxes are None.

    Without maps of its own every token is a word of its own, in the utterance where it stands.
    """
    sentences, positions = annotation.sentences, count()
    return {
        "doc_key": annotation.doc_key,
        "video_type": video_type,
        "genre": annotation.genre or "",
        "video_title": title or "",
        "video_path": None,
        "sentences": sentences,
        "speaker_ids": annotation.speaker_ids,
        "sentence_map": annotation.sentence_map or [[i] * len(sentence) for i, sentence in enumerate(sentences)],
        "subtoken_map": annotation.subtoken_map or [[next(positions) for _ in sentence] for sentence in sentences],
        "clusters": annotation.clusters,
        "clusters_str": annotation.clusters_str,
        "entity_labels": [label or NO_LABEL for label in annotation.labels or []],
        "visual_annotations": [
            {
                "cur_frame": box.cur_frame,
                "cur_frame_path": box.cur_frame_path,
                "bbox": box.bbox,
                "box_labels": box.box_labels or NO_LABEL,
                "celebrity": box.celebrity or box.if_celebrity or NO_LABEL,
                "region_image_path": box.region_image_path,
                "frame": None,
                "region": None,
            }
            for box in annotation.visual_annotations
        ],
        "split": split,
    }


def tokens_of(record: Record) -> list[str]:
    """The tokens of the whole dialogue, in order: what the offsets in `clusters` count."""
    return list(chain.from_iterable(record["sentences"]))


def mention_text(tokens: Sequence[str], mention: Sequence[int]) -> str:
    """The text of a mention `[start, end]`, end inclusive; Chinese has no spaces between tokens."""
    return "".join(tokens[mention[0] : mention[1] + 1])


def boxes_of_clusters(record: Record) -> list[list[int]]:
    """For each cluster the numbers of its boxes: those that bear its label. A label that is none is nobody's."""
    labels = [box["box_labels"] for box in record["visual_annotations"]]
    return [
        [] if wanted in NO_LABELS else [number for number, label in enumerate(labels) if label == wanted]
        for wanted in record["entity_labels"]
    ]


class Mention(NamedTuple):
    """Tokens `start` to `end` (inclusive) of the dialogue, in the cluster with this number, counted from 0."""

    start: int
    end: int
    cluster: int


def brackets(
    clusters: Sequence[Sequence[Sequence[int]]], tokens: int
) -> tuple[list[list[Mention]], list[list[Mention]]]:
    """For each token the mentions that open before it, the longest first, and those that close behind it, the shortest
    first; of equal ones, the cluster with the lower number is the outer one. Every drawing of a dialogue goes by it.

    Args:
        clusters: mentions `[start, end]`, token offsets over the whole dialogue, end inclusive.
        tokens: how many the dialogue has.

    Raises:
        ValueError: a mention outside the dialogue.
    """
    opening: list[list[Mention]] = [[] for _ in range(tokens)]
    closing: list[list[Mention]] = [[] for _ in range(tokens)]
    for number, cluster in enumerate(clusters):
        for start, end in cluster:
            if not 0 <= start <= end < tokens:
                raise UserError(
                    f"cluster {number} has the mention [{start}, {end}], but the dialogue has {tokens} tokens"
                )
            opening[start].append(Mention(start, end, number))
            closing[end].append(Mention(start, end, number))
    return (
        [sorted(mentions, key=lambda mention: (-mention.end, mention.cluster)) for mentions in opening],
        [sorted(mentions, reverse=True) for mentions in closing],
    )
