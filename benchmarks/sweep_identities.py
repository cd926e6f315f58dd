"""The threshold from which two faces are one person: a sweep over all pairs of varied photographs, drawn.

    python benchmarks/sweep_identities.py PHOTOGRAPHS --weights FOLDER [--output sweep.png]

PHOTOGRAPHS has a folder a person. Each face is mirrored, darkened, brightened, blurred and shrunk to 100, 64, 48 and
36 px, and compressed at JPEG qualities 90 and 30; pairs of one photograph with itself are left out.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from tiktalkcoref.tracking.faces import SFaceEmbedder
from tiktalkcoref.tracking.heads import YuNetHeads
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.video import IMAGES, read_image

SIZES, QUALITIES = (100, 64, 48, 36), (90, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--output", type=Path, default=Path("sweep.png"))
    arguments = parser.parse_args()
    heads, embedder = YuNetHeads(arguments.weights), SFaceEmbedder(arguments.weights)
    embeddings, persons, photographs = [], [], []
    for path in sorted(path for path in arguments.photographs.rglob("*") if path.suffix.lower() in IMAGES):
        for picture in varied(read_image(path), heads):
            found = heads.detect(picture)
            if len(found) == 1:
                embeddings.append(embedder.embed(picture, found)[0][0])
                persons.append(path.parent.name)
                photographs.append(path)
    cosines = np.stack(embeddings) @ np.stack(embeddings).T
    pairs = [(a, b) for a, b in combinations(range(len(persons)), 2) if photographs[a] != photographs[b]]
    same = np.array([cosines[a, b] for a, b in pairs if persons[a] == persons[b]])
    other = np.array([cosines[a, b] for a, b in pairs if persons[a] != persons[b]])
    print(f"{len(set(persons))} persons, {len(persons)} faces; {len(same)} pairs of one person, {len(other)} of two")
    for threshold in (0.25, 0.3, 0.33, 0.363, 0.4, 0.45, 0.5):
        print(f"{threshold:.3f}: parted {(same < threshold).mean():.4%}, confused {(other >= threshold).mean():.4%}")
    draw(same, other, arguments.output)


def varied(picture: np.ndarray, heads: YuNetHeads) -> Iterator[np.ndarray]:
    """The largest face of a photograph in all variants."""
    found = heads.detect(picture)
    if not len(found):
        return
    best = int(found.sizes.argmax())
    x1, y1, x2, y2 = found.boxes[best]
    margin = 0.4 * max(x2 - x1, y2 - y1)
    left, top, right, bottom = (max(0, round(float(v))) for v in (x1 - margin, y1 - margin, x2 + margin, y2 + margin))
    face = picture[top:bottom, left:right]
    for size in SIZES:
        scale = size / float(found.sizes[best])
        small = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), size / 60)
        for variant in (small, small[:, ::-1], small * 0.6, np.clip(small * 1.4, 0, 255), blurred):
            for quality in QUALITIES:
                _, packed = cv2.imencode(".jpg", variant.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
                yield cv2.imdecode(packed, cv2.IMREAD_COLOR)


def draw(same: np.ndarray, other: np.ndarray, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    thresholds = np.linspace(0, 1, 401)
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.hist(other, 80, range=(-0.2, 1), density=True, alpha=0.35, color="#e15759", label="two persons")
    axes.hist(same, 80, range=(-0.2, 1), density=True, alpha=0.35, color="#4e79a7", label="one person")
    axes.set(xlabel="cosine", ylabel="density", xlim=(-0.2, 1))
    errors = axes.twinx()
    errors.plot(thresholds, [(other >= t).mean() for t in thresholds], color="#e15759", label="confused")
    errors.plot(thresholds, [(same < t).mean() for t in thresholds], color="#4e79a7", label="parted")
    errors.set(ylabel="share of pairs that go wrong", ylim=(0, 0.2))
    axes.axvline(Settings().same_person, color="#222222", linestyle="--", linewidth=1)
    axes.annotate(f" {Settings().same_person}", (Settings().same_person, axes.get_ylim()[1] * 0.94))
    axes.legend(loc="upper right", frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
