"""The scenes that the tracker must get right, of the photographs in the shared folder; each with its persons."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tracking_videos import Actor, Cutout, Shot, Truth, cutout, growing, moving, steady, still

from tiktalkcoref.tracking.entities import VideoEntities
from tiktalkcoref.tracking.scores import Boxes

Cast = Mapping[str, Cutout]


def cast_of(faces: Path) -> dict[str, Cutout]:
    """Cutouts by name; `obama2`, `obama3` are the same person's, `-` variants of them."""
    names = {"astronaut": "astronaut.png", "biden": "biden.jpg"}
    names |= {name: f"{name}.jpg" for name in ("obama", "obama2", "obama3")}
    cast = {name: cutout(faces / file) for name, file in names.items()}
    for name, file in names.items():
        cast[f"{name}-mirrored"] = cutout(faces / file, mirror=True, brightness=0.7)
        cast[f"{name}-bright"] = cutout(faces / file, brightness=1.35, tighter=0.6)
        cast[f"{name}-soft"] = cutout(faces / file, blur=HEAD_BLUR)
    return cast


def two_persons(cast: Cast) -> list[Shot]:
    """Side by side, a cut, one alone in another photograph, a cut, both again with places changed."""
    return [
        Shot(2, [_is("biden", cast["biden"], still(350, 300), 130), _is("obama", cast["obama"], still(900, 300), 130)]),
        Shot(2, [_is("obama", cast["obama2"], still(640, 330), 180)], (150, 90, 60)),
        Shot(
            2,
            [
                _is("obama", cast["obama3"], still(350, 300), 110),
                _is("biden", cast["biden-mirrored"], still(900, 320), 120),
            ],
            (60, 120, 70),
        ),
    ]


def three_persons(cast: Cast) -> list[Shot]:
    """All three, then each alone, then all three smaller, in other pictures of themselves."""
    alone = [
        Shot(1.4, [_is(name, cast[picture], still(640, 320), 150)], colour)
        for name, picture, colour in (
            ("obama", "obama3-mirrored", (160, 60, 60)),
            ("astronaut", "astronaut-mirrored", (60, 160, 60)),
            ("biden", "biden-bright", (60, 60, 160)),
        )
    ]
    first = [("astronaut", "astronaut", 250), ("biden", "biden", 640), ("obama", "obama", 1030)]
    second = [("biden", "biden-soft", 250), ("obama", "obama2-bright", 640), ("astronaut", "astronaut-bright", 1030)]
    return [
        Shot(2, [_is(name, cast[picture], still(x, 300), 100) for name, picture, x in first]),
        *alone,
        Shot(2, [_is(name, cast[picture], still(x, 360), 56) for name, picture, x in second], (190, 190, 150)),
    ]


def crossing(cast: Cast) -> list[Shot]:
    """Two walk past each other, one in front."""
    return [
        Shot(
            4,
            [
                _is("biden", cast["biden"], moving((250, 300), (1030, 300), 4), 110),
                _is("obama", cast["obama"], moving((1030, 330), (250, 330), 4), 120),
            ],
        )
    ]


def occlusion(cast: Cast) -> list[Shot]:
    """One walks behind two pillars, another stands; a third passes in front."""
    return [
        Shot(
            4,
            [
                _is("obama", cast["obama2"], moving((150, 280), (900, 280), 4), 110),
                _is("astronaut", cast["astronaut"], still(1080, 300), 110),
            ],
            bars=((380, 520), (640, 700)),
        ),
        Shot(
            4,
            [
                _is("obama", cast["obama"], still(640, 300), 120),
                _is("biden", cast["biden"], moving((60, 320), (1220, 320), 4), 130),
            ],
            (140, 120, 60),
        ),
    ]


def zoom(cast: Cast) -> list[Shot]:
    """From 30 to 300 px and, after a cut, back."""
    return [
        Shot(4, [Actor("obama", cast["obama"], still(640, 330), growing(30, 300, 4))]),
        Shot(4, [Actor("biden", cast["biden"], still(640, 330), growing(300, 30, 4))], (60, 130, 60)),
    ]


def one_person(cast: Cast) -> list[Shot]:
    """Three photographs of one person, six ways."""
    pictures = ("obama", "obama2", "obama3", "obama2-mirrored", "obama3-bright", "obama-soft")
    return [
        Shot(1.2, [_is("obama", cast[picture], still(500 + 60 * number, 320), 70 + 25 * number)], colour)
        for number, (picture, colour) in enumerate(zip(pictures, _COLOURS, strict=True))
    ]


def same_place(cast: Cast) -> list[Shot]:
    """Persons who take one another's very place, at hard cuts."""
    names = ("biden", "obama", "astronaut", "biden", "obama2", "astronaut")
    return [
        Shot(1, [_is(name.rstrip("23"), cast[name], still(640, 320), 140)]) for name in names
    ]  # fmt: skip


SCENES: dict[str, Callable[[Cast], list[Shot]]] = {
    scene.__name__: scene
    for scene in (two_persons, three_persons, crossing, occlusion, zoom, one_person, same_place)
}  # fmt: skip
HEAD_BLUR = 1 / 60
_COLOURS = ((90, 110, 130), (150, 90, 60), (60, 120, 70), (120, 60, 130), (160, 160, 90), (60, 60, 70))


def compare(truth: Truth, found: VideoEntities, min_face: float = 36.0, visible: float = 0.6) -> tuple[list, list]:
    """Annotated and found boxes of the sampled pictures, as the scores take them.

    Heads with a face below `min_face` or less of them to be seen than `visible` count neither way.
    """
    annotated, seen = [], []
    boxes: dict[int, list[tuple[int, list[float]]]] = {}
    for entity in found.entities:
        for track in entity.tracks:
            for frame, box in zip(track.frames, track.boxes, strict=True):
                boxes.setdefault(frame, []).append((entity.id, box))
    for time in found.samples:
        frame = round(time * 25)
        counts = (np.array(truth.faces[frame]) >= min_face) & (np.array(truth.visible[frame]) >= visible)
        ignored = truth.boxes[frame][~counts]
        names = [name for name, count in zip(truth.persons[frame], counts, strict=True) if count]
        annotated.append(Boxes(names, truth.boxes[frame][counts]))
        kept = [
            (entity, box)
            for entity, box in boxes.get(frame, ())
            if _best(box, annotated[-1].boxes) >= 0.5 or _best(box, ignored) < 0.3
        ]
        seen.append(Boxes([entity for entity, _ in kept], np.array([box for _, box in kept]).reshape(-1, 4)))
    return annotated, seen


def _best(box: list[float], others: np.ndarray) -> float:
    from tiktalkcoref.tracking.detections import overlaps

    return float(overlaps(np.array([box]), others).max(initial=0.0))


def _is(person: str, picture: Cutout, place: Callable, face: float) -> Actor:
    return Actor(person, picture, place, steady(face))
