"""What can be wrong with an annotation whose types are right: each rule once, in one pass.

Faults come in the order of the fields. Who loads stops at the first error, who validates lists them all.
"""

from itertools import chain

from tiktalkcoref.files.errors import UserError

from .names import NO_LABELS
from .problems import Fault, error, warning
from .records import MAX_NUMBER, Annotation, Box


def check(annotation: Annotation) -> list[Fault]:
    """The faults of an annotation, whose `clusters_str` is then what the spans say."""
    if not any(annotation.sentences):
        return [error("sentences", f"found {annotation.sentences}, expected lists of tokens, one an utterance")]
    faults: list[Fault] = []
    for rule in (_check_lengths, _check_clusters, _check_labels):
        rule(annotation, faults)
    return faults


def file_name_of(path: str) -> str:
    """The file name of one of the annotators' paths, of either system.

    Raises: ValueError for a path with a `..` in it, or without a file name: it would leave the folder of pictures.
    """
    plain = path.replace("\\", "/")
    name = plain.rpartition("/")[2]
    if ".." in plain and ".." in plain.split("/"):
        raise UserError(f"refused {path!r}: `..` leaves the folder of pictures. Expected a plain file name or path")
    if name in ("", ".") or "\0" in path:
        raise UserError(f"refused {path!r}: it names no file. Expected a plain file name or path")
    return name


def _check_lengths(annotation: Annotation, faults: list[Fault]) -> None:
    lengths = [*map(len, annotation.sentences)]
    for name in ("speaker_ids", "sentence_map", "subtoken_map"):
        rows = getattr(annotation, name)
        if rows is not None and (found := [*map(len, rows)]) != lengths:
            message = f"lengths {found} differ from those of sentences, {lengths}: the arrays must be parallel"
            faults.append(error(name, message))


def _check_clusters(annotation: Annotation, faults: list[Fault]) -> None:
    tokens = list(chain.from_iterable(annotation.sentences))
    count = len(tokens)
    first_places: dict[tuple[int, int], tuple[int, int]] = {}  # mention -> its first cluster, its place in it
    readable = True
    for i, cluster in enumerate(annotation.clusters):
        if not cluster:
            faults.append(error(f"clusters[{i}]", "found [], expected a list of at least one mention"))
        for j, (start, end) in enumerate(cluster):
            here = (i, j)
            first = first_places.setdefault((start, end), here)
            inside = 0 <= start <= end < count
            if inside and first is here:
                continue
            place, mention = f"clusters[{i}][{j}]", f"[{start}, {end}]"
            if start > end:
                faults.append(error(place, f"reversed offsets {mention}: the start comes after the (inclusive) end"))
            elif not inside:
                faults.append(error(place, f"offsets {mention} out of range: the dialogue has tokens 0 to {count - 1}"))
            if first[0] != i:
                faults.append(error(place, f"mention {mention} is in two clusters, {first[0]} and {i}"))
            elif first[1] != j:
                faults.append(warning(place, f"mention {mention} is listed twice in the cluster"))
            readable = readable and inside
    if not readable:
        return
    texts = [["".join(tokens[start : end + 1]) for start, end in cluster] for cluster in annotation.clusters]
    if annotation.clusters_str not in (texts, None):
        message = f"{annotation.clusters_str!r} disagrees with the spans, which say {texts!r}: the spans are taken"
        faults.append(warning("clusters_str", message))
    annotation.clusters_str = texts


def _check_labels(annotation: Annotation, faults: list[Fault]) -> None:
    labels, boxes = annotation.labels, annotation.visual_annotations
    name = "entity_label" if annotation.entity_labels is None and annotation.entity_label else "entity_labels"
    if labels is None:
        faults.append(error(name, "missing, expected a list of texts, one a cluster"))
        return
    if len(labels) != len(annotation.clusters):
        message = f"{len(labels)} labels for {len(annotation.clusters)} clusters, expected one a cluster"
        faults.append(error(name, message))
    wanted, borne = set(labels).difference(NO_LABELS), {box.box_labels for box in boxes}
    for i, box in enumerate(boxes):
        _check_box(box, i, faults)
        if box.box_labels not in wanted:
            message = f"no cluster bears the label {box.box_labels!r} of this box"
            faults.append(warning(f"visual_annotations[{i}].box_labels", message))
    for i, label in enumerate(labels):
        if label in wanted and label not in borne:
            faults.append(error(f"{name}[{i}]", f"no box bears the label {label!r} of cluster {i}"))


def _check_box(box: Box, i: int, faults: list[Fault]) -> None:
    x1, y1, x2, y2 = bbox = box.bbox
    if not (0 <= x1 < x2 <= MAX_NUMBER and 0 <= y1 < y2 <= MAX_NUMBER):
        message = f"{bbox} is empty, expected x1 < x2 and y1 < y2"
        if min(bbox) < 0:
            message = f"{bbox} has a negative coordinate, expected [x1, y1, x2, y2] in pixels of the frame"
        elif max(bbox) > MAX_NUMBER:
            message = f"{bbox} is out of range, expected [x1, y1, x2, y2] in pixels of the frame"
        faults.append(error(f"visual_annotations[{i}].bbox", message))
    for key in ("cur_frame_path", "region_image_path"):
        try:
            file_name_of(getattr(box, key))
        except ValueError as refusal:
            faults.append(error(f"visual_annotations[{i}].{key}", str(refusal)))
