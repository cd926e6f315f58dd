"""What can be wrong with an annotation whose types are right: each rule once, in one pass.

Faults come in the order of the fields. Who loads stops at the first error, who validates lists them all.
"""

import re
from collections.abc import Iterator

from .names import NO_LABELS
from .problems import Fault
from .records import MAX_NUMBER, Annotation, Box, cluster_texts


def check(annotation: Annotation) -> Iterator[Fault]:
    """The faults of an annotation."""
    sentences = annotation.sentences
    lengths = [len(sentence) for sentence in sentences]
    if not any(lengths):
        yield Fault("error", "sentences", f"found {sentences}, expected lists of tokens, one an utterance")
        return
    for name in ("speaker_ids", "sentence_map", "subtoken_map"):
        rows = getattr(annotation, name)
        if rows is not None and [len(row) for row in rows] != lengths:
            found = [len(row) for row in rows]
            message = f"lengths {found} differ from those of sentences, {lengths}: the arrays must be parallel"
            yield Fault("error", name, message)
    yield from _check_clusters(annotation, sum(lengths))
    yield from _check_boxes(annotation)


def file_name_of(path: str) -> str:
    """The file name of one of the annotators' paths, of either system.

    Raises: ValueError for a path with a `..` in it, or without a file name: it would leave the folder of pictures.
    """
    parts = re.split(r"[/\\]", path)
    if ".." in parts:
        raise ValueError(f"refused {path!r}: `..` leaves the folder of pictures. Expected a plain file name or path")
    if parts[-1] in ("", ".") or "\0" in path:
        raise ValueError(f"refused {path!r}: it names no file. Expected a plain file name or path")
    return parts[-1]


def _check_clusters(annotation: Annotation, n_tokens: int) -> Iterator[Fault]:
    owner: dict[tuple[int, int], tuple[int, int]] = {}  # mention -> where it stands first
    readable = True
    for i, cluster in enumerate(annotation.clusters):
        if not cluster:
            yield Fault("error", f"clusters[{i}]", "found [], expected a list of at least one mention")
        for j, mention in enumerate(cluster):
            start, end = mention
            if not 0 <= start <= end < n_tokens:
                readable = False
                message = (
                    f"reversed offsets [{start}, {end}]: the start comes after the (inclusive) end"
                    if start > end
                    else f"offsets [{start}, {end}] out of range: the dialogue has tokens 0 to {n_tokens - 1}"
                )
                yield Fault("error", f"clusters[{i}][{j}]", message)
            first, position = owner.setdefault(mention, (i, j))
            if first != i:
                message = f"mention [{start}, {end}] is in two clusters, {first} and {i}"
                yield Fault("error", f"clusters[{i}][{j}]", message)
            elif position != j:
                message = f"mention [{start}, {end}] is listed twice in the cluster"
                yield Fault("warning", f"clusters[{i}][{j}]", message)
    texts = annotation.clusters_str
    if readable and texts is not None:
        expected = cluster_texts(annotation.sentences, annotation.clusters)
        if texts != expected:
            message = f"{texts!r} disagrees with the spans, which say {expected!r}: the spans are taken"
            yield Fault("warning", "clusters_str", message)


def _check_boxes(annotation: Annotation) -> Iterator[Fault]:
    labels, boxes = annotation.labels, annotation.visual_annotations
    name = "entity_label" if annotation.entity_labels is None and annotation.entity_label else "entity_labels"
    if labels is None:
        yield Fault("error", name, "missing, expected a list of texts, one a cluster")
        return
    if len(labels) != len(annotation.clusters):
        message = f"{len(labels)} labels for {len(annotation.clusters)} clusters, expected one a cluster"
        yield Fault("error", name, message)
    wanted, borne = set(labels).difference(NO_LABELS), {box.box_labels for box in boxes}
    for i, box in enumerate(boxes):
        yield from _check_box(box, f"visual_annotations[{i}]")
        if box.box_labels not in wanted:
            message = f"no cluster bears the label {box.box_labels!r} of this box"
            yield Fault("warning", f"visual_annotations[{i}].box_labels", message)
    for i, label in enumerate(labels):
        if label in wanted and label not in borne:
            yield Fault("error", f"{name}[{i}]", f"no box bears the label {label!r} of cluster {i}")


def _check_box(box: Box, name: str) -> Iterator[Fault]:
    x1, y1, x2, y2 = box.bbox
    if not (0 <= x1 < x2 <= MAX_NUMBER and 0 <= y1 < y2 <= MAX_NUMBER):
        message = f"{list(box.bbox)} is empty, expected x1 < x2 and y1 < y2"
        if min(box.bbox) < 0:
            message = f"{list(box.bbox)} has a negative coordinate, expected [x1, y1, x2, y2] in pixels of the frame"
        elif max(box.bbox) > MAX_NUMBER:
            message = f"{list(box.bbox)} is out of range, expected [x1, y1, x2, y2] in pixels of the frame"
        yield Fault("error", f"{name}.bbox", message)
    for key, path in (("cur_frame_path", box.cur_frame_path), ("region_image_path", box.region_image_path)):
        try:
            file_name_of(path)
        except ValueError as error:
            yield Fault("error", f"{name}.{key}", str(error))
