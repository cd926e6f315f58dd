"""Real faces: videos of known persons, a real clip, and the sweep of the threshold; needs the shared folder."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("scenedetect")
from tracking_scenes import SCENES, Cast, cast_of, compare
from tracking_videos import render, write_video

from tiktalkcoref.tracking.faces import SFaceEmbedder
from tiktalkcoref.tracking.heads import YuNetHeads
from tiktalkcoref.tracking.scores import tracking_scores
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker


@pytest.fixture(scope="module")
def cast(shared: Path) -> Cast:
    return cast_of(shared / "faces")


@pytest.fixture(scope="module", params=["full", "fast"])
def tracker(request: pytest.FixtureRequest, shared: Path) -> VideoTracker:
    settings = Settings() if request.param == "full" else Settings().fast()
    return VideoTracker(settings, shared / "weights")


@pytest.fixture(scope="module", params=sorted(SCENES))
def scene(request: pytest.FixtureRequest, cast: Cast, tmp_path_factory: pytest.TempPathFactory):
    pictures, truth = render(SCENES[request.param](cast))
    path = tmp_path_factory.mktemp("scene") / f"{request.param}.mp4"
    return write_video(path, pictures, preset="ultrafast", crf=23), truth


def test_scenes(scene, tracker: VideoTracker) -> None:
    """Everybody once, nobody mixed up, from 36 px (64 px in the fast mode)."""
    video, truth = scene
    found = tracker(video)
    assert len(found.entities) == len({person for persons in truth.persons for person in persons})
    scores = tracking_scores(*compare(truth, found, min_face=36 if tracker.settings == Settings() else 64))
    assert scores["purity"] == 1
    assert scores["identity_switches"] == 0
    assert scores["idf1"] >= 0.95
    assert scores["detection_recall"] >= 0.95
    assert scores["detection_precision"] >= 0.95


def test_the_real_clip_is_one_person(shared: Path, tracker: VideoTracker) -> None:
    found = tracker(shared / "faces" / "carphone_pristine.mp4")
    assert len(found.entities) == 1
    frames = {frame for track in found.entities[0].tracks for frame in track.frames}
    assert len(found.samples) == 20
    assert len(frames) >= 0.95 * len(found.samples)


def test_the_threshold_parts_persons_whatever_is_done_to_their_pictures(shared: Path, cast: Cast) -> None:
    """20 cutouts of three persons, each large and small, compressed at quality 30: 0.363 lies between all pairs."""
    import cv2

    heads, embedder = YuNetHeads(shared / "weights"), SFaceEmbedder(shared / "weights")
    embeddings, persons = [], []
    for name, cutout in cast.items():
        for face in (100, 48):
            scale = face / cutout.face
            size = [round(side * scale) for side in cutout.image.size]
            picture = np.asarray(cutout.image.resize(size))[..., ::-1]
            _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
            picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
            found = heads.detect(picture)
            assert len(found) == 1, (name, face)
            embeddings.append(embedder.embed(picture, found)[0][0])
            persons.append(name.partition("-")[0].rstrip("23"))
    cosines = np.stack(embeddings) @ np.stack(embeddings).T
    pairs = list(combinations(range(len(persons)), 2))
    same = [cosines[a, b] for a, b in pairs if persons[a] == persons[b]]
    other = [cosines[a, b] for a, b in pairs if persons[a] != persons[b]]
    assert max(other) < Settings().same_person < min(same)
