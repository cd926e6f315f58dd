"""What can be wrong with an annotation whose types are right: each rule once, in one pass.

Faults come in the order of the fields. Who loads stops at the first error, who validates lists them all.
"""

from tiktalkcoref.files.errors import UserError

from .names import NO_LABELS
from .problems import Fault
from .records import MAX_NUMBER, Annotation, Box


def check(annotation: Annotation) -> list[Fault]:
    """The faults of an annotation, whose `clusters_str` is then what the spans say."""
    sentences, faults = annotation.sentences, list[Fault]()
    lengths = list(map(len, sentences))
    if not any(lengths):
        return [Fault("error", "sentences", f"found {sentences}, expected lists of tokens, one an utterance")]
    for name in ("speaker_ids", "sentence_map", "subtoken_map"):
        rows = getattr(annotation, name)
        if rows is not None and list(map(len, rows)) != lengths:
            found = list(map(len, rows))
            message = f"lengths {found} differ from those of sentences, {lengths}: the arrays must be parallel"
            faults.append(Fault("error", name, message))
    _check_clusters(annotation, sum(lengths), faults)
    _check_labels(annotation, faults)
    return faults


def file_name_of(path: str) -> str:
    """The file name of one of the annotators' paths, of either system.

    Raises: ValueError for a path with a `..` in it, or without a file name: it would leave the folder of pictures.
    """
    parts = path.replace("\\", "/").split("/")
    if ".." in parts:
        raise UserError(f"refused {path!r}: `..` leaves the folder of pictures. Expected a plain file name or path")
    if parts[-1] in ("", ".") or "\0" in path:
        raise UserError(f"refused {path!r}: it names no file. Expected a plain file name or path")
    return parts[-1]


def _check_clusters(annotation: Annotation, n_tokens: int, faults: list[Fault]) -> None:
    owner: dict[tuple[int, int], int] = {}  # mention -> the first cluster that holds it
    readable = True
    for i, cluster in enumerate(annotation.clusters):
        if not cluster:
            faults.append(Fault("error", f"clusters[{i}]", "found [], expected a list of at least one mention"))
        for j, mention in enumerate(cluster):
            start, end = mention
            if not 0 <= start <= end < n_tokens:
                readable = False
                message = f"offsets [{start}, {end}] out of range: the dialogue has tokens 0 to {n_tokens - 1}"
                if start > end:
                    message = f"reversed offsets [{start}, {end}]: the start comes after the (inclusive) end"
                faults.append(Fault("error", f"clusters[{i}][{j}]", message))
            first = owner.setdefault(mention, i)
            if first != i:
                message = f"mention [{start}, {end}] is in two clusters, {first} and {i}"
                faults.append(Fault("error", f"clusters[{i}][{j}]", message))
            elif j and cluster.index(mention) < j:
                message = f"mention [{start}, {end}] is listed twice in the cluster"
                faults.append(Fault("warning", f"clusters[{i}][{j}]", message))
    if readable and annotation.clusters_str != (texts := annotation.texts()):
        if annotation.clusters_str is not None:
            message = f"{annotation.clusters_str!r} disagrees with the spans, which say {texts!r}: the spans are taken"
            faults.append(Fault("warning", "clusters_str", message))
        annotation.clusters_str = texts


def _check_labels(annotation: Annotation, faults: list[Fault]) -> None:
    labels, boxes = annotation.labels, annotation.visual_annotations
    name = "entity_label" if annotation.entity_labels is None and annotation.entity_label else "entity_labels"
    if labels is None:
        faults.append(Fault("error", name, "missing, expected a list of texts, one a cluster"))
        return
    if len(labels) != len(annotation.clusters):
        message = f"{len(labels)} labels for {len(annotation.clusters)} clusters, expected one a cluster"
        faults.append(Fault("error", name, message))
    wanted, borne = set(labels).difference(NO_LABELS), set[str]()
    for i, box in enumerate(boxes):
        _check_box(box, i, faults)
        borne.add(box.box_labels)
        if box.box_labels not in wanted:
            message = f"no cluster bears the label {box.box_labels!r} of this box"
            faults.append(Fault("warning", f"visual_annotations[{i}].box_labels", message))
    for i, label in enumerate(labels):
        if label in wanted and label not in borne:
            faults.append(Fault("error", f"{name}[{i}]", f"no box bears the label {label!r} of cluster {i}"))


def _check_box(box: Box, i: int, faults: list[Fault]) -> None:
    x1, y1, x2, y2 = box.bbox
    if not (0 <= x1 < x2 <= MAX_NUMBER and 0 <= y1 < y2 <= MAX_NUMBER):
        message = f"{list(box.bbox)} is empty, expected x1 < x2 and y1 < y2"
        if min(box.bbox) < 0:
            message = f"{list(box.bbox)} has a negative coordinate, expected [x1, y1, x2, y2] in pixels of the frame"
        elif max(box.bbox) > MAX_NUMBER:
            message = f"{list(box.bbox)} is out of range, expected [x1, y1, x2, y2] in pixels of the frame"
        faults.append(Fault("error", f"visual_annotations[{i}].bbox", message))
    for key in ("cur_frame_path", "region_image_path"):
        try:
            file_name_of(getattr(box, key))
        except ValueError as error:
            faults.append(Fault("error", f"visual_annotations[{i}].{key}", str(error)))
