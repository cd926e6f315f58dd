"""Tracked entities as candidates: matched to annotated boxes, scored with those missed, told in the report."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tracking_fakes import ColourEmbedder, DiscHeads, discs, standing, walking

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("scenedetect")
from tracking_scenes import cast_of, three_persons
from tracking_videos import render, write_video

from tiktalkcoref.evaluation import evaluate, pools, tracked
from tiktalkcoref.evaluation.dialogues import DatasetError
from tiktalkcoref.evaluation.predictions import score_predictions
from tiktalkcoref.evaluation.score_files import score_files
from tiktalkcoref.evaluation.tracked import track_candidates, tracker_recall
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.tracking.tracker import VideoTracker

RESAMPLING = {"n_resamples": 20, "confidence_level": 0.95, "seed": 0}
RED_AT_13 = [40 + 240 * 13 / 50 - 24, 96, 40 + 240 * 13 / 50 + 25, 145]  # where the red disc is in picture 13
BLUE = [136, 26, 185, 75]


@pytest.fixture
def coloured_discs(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = DiscHeads(), ColourEmbedder()
    monkeypatch.setattr(
        tracked,
        "VideoTracker",
        lambda settings, weights: VideoTracker(settings, weights, *stages),
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons: red walks, blue stands."""
    pictures = discs({"red": walking(40, 280, 50), "blue": standing(160, 50)}, 50)
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, crf=12)


def box(label: str, frame: int, corners: list[float], celebrity: str = "none", picture: object = None) -> dict:
    named = {"cur_frame": frame, "cur_frame_path": f"{frame}.jpg", "bbox": corners, "box_labels": label}
    return named | {"celebrity": celebrity, "region_image_path": "", "region": None, "frame": picture}


def row(boxes: list[dict], video: Path | None, labels: tuple[str, ...] = ("C2", "C1", "none", "C3")) -> dict:
    """A dialogue of one line in which each label is spoken of by one character."""
    return {
        "doc_key": "d1",
        "sentences": [["她", "他", "我", "你"]],
        "speaker_ids": [["A"] * 4],
        "video_title": "",
        "video_path": video and str(video),
        "clusters": [[[number, number]] for number in range(len(labels))],
        "entity_labels": list(labels),
        "visual_annotations": boxes,
    }


@pytest.mark.usefixtures("coloured_discs")
def test_entities_are_matched_where_the_boxes_are_annotated(clip: Path) -> None:
    """Picture 13 is not searched (5 in a second of 25): red's box there lies between two that are. C3 is nowhere."""
    boxes = [box("C1", 13, RED_AT_13, "小明"), box("C2", 30, BLUE), box("C3", 30, [250, 150, 300, 200], "小王")]
    (found,) = track_candidates([row(boxes, clip)])
    red, blue = ([tuple(np.array(e["crop"])[20, 20] > 128) for e in found.entities].index(c) for c in (
        (True, False, False), (False, False, True)))  # fmt: skip
    assert found.dialogue["links"] == [blue, red, -1, 2]  # the third person can only be missed
    names = found.dialogue["region_identities"]
    assert (names[red], names[blue], names[2]) == ("小明", None, "小王")
    assert all(isinstance(region, list) for region in found.dialogue["regions"])
    assert (found.persons, found.reached) == (3, 2)
    about = tracker_recall([found], **RESAMPLING)
    assert about["tracker_recall"] == {"value": 2 / 3, "n": 3, "low": 2 / 3, "high": 2 / 3}


@pytest.mark.usefixtures("coloured_discs")
def test_less_than_half_an_overlap_is_a_miss(clip: Path) -> None:
    aside = [BLUE[0] + 18, BLUE[1], BLUE[2] + 18, BLUE[3]]  # 31 of 49 pixels in common: 0.46
    (found,) = track_candidates([row([box("C1", 30, aside)], clip, ("C1",))])
    assert (found.persons, found.reached, found.dialogue["links"]) == (1, 0, [2])


@pytest.mark.usefixtures("coloured_discs")
def test_one_entity_does_not_stand_for_two_persons(clip: Path) -> None:
    boxes = [box("C1", 30, [BLUE[0] + 4, *BLUE[1:]]), box("C2", 30, BLUE)]
    (found,) = track_candidates([row(boxes, clip, ("C1", "C2"))])
    assert (found.persons, found.reached) == (2, 1)
    assert found.dialogue["links"][0] == 2  # the worse of the two


@pytest.mark.usefixtures("coloured_discs")
def test_without_a_video_the_dialogue_s_own_frames_are_tracked(clip: Path) -> None:
    pictures = [Image.fromarray(p) for p in discs({"red": standing(60, 120), "blue": standing(160, 50)}, 1)]
    later = [Image.fromarray(p) for p in discs({"red": standing(200, 120)}, 1)]
    boxes = [box("C1", 7, [36, 96, 85, 145], picture=pictures[0]), box("C2", 7, BLUE, picture=pictures[0])]
    boxes += [box("C1", 90, [176, 96, 225, 145], picture=later[0])]
    (found,) = track_candidates([row(boxes, clip.parent / "gone.mp4", ("C1", "C2"))])
    assert (found.persons, found.reached, len(found.entities)) == (2, 2, 2)
    assert sorted(found.dialogue["links"]) == [0, 1]


@pytest.mark.usefixtures("coloured_discs")
def test_dialogues_with_nothing_to_track_are_counted_and_nothing_at_all_is_an_error(clip: Path) -> None:
    seen, unseen = row([box("C1", 30, BLUE)], clip, ("C1",)), row([box("C1", 30, BLUE)], None, ("C1",))
    found = track_candidates([seen, unseen, row([], clip, ("none",))])
    about = tracker_recall(found, n_resamples=0, confidence_level=0.95, seed=0)
    assert (about["tracked_dialogues"], about["untracked_dialogues"]) == (1, 1)
    assert about["tracker_recall"] == {"value": 1.0, "n": 1}
    with pytest.raises(DatasetError, match="--videos-dir"):
        track_candidates([unseen])


def test_a_missed_person_is_a_miss_without_chance() -> None:
    dialogue = {"sentences": ["她他"], "clusters": [[[0, 0]], [[1, 1]]], "links": [1, 2], "regions": [None, None]}
    prediction = {"clusters": dialogue["clusters"], "gold_region_scores": [[0.1, 0.9]] * 2, "gold_regions": [1, 1]}
    scores = score_predictions([prediction], [dialogue])
    assert (scores["linking_n"], scores["linking_mean_pool"]) == (2, 2.0)
    assert scores["linking_recall_at_1"] == scores["linking_recall_at_3"] == 0.5
    assert scores["linking_chance_at_1"] == 0.25
    nobody = dialogue | {"links": [0, 1], "regions": []}
    lost = score_predictions([prediction | {"gold_region_scores": [[], []], "gold_regions": [-1, -1]}], [nobody])
    assert (lost["linking_n"], lost["linking_recall_at_1"], lost["linking_mean_pool"]) == (2, 0.0, 0.0)


@pytest.mark.usefixtures("coloured_discs")
def test_the_command_s_files_say_which_candidates_there_were(
    tiny_model_folder: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [box("C1", 13, RED_AT_13), box("C2", 30, BLUE), box("C3", 30, [250, 150, 300, 200])]
    rows = [row(boxes, clip), row(boxes[:2], None, ("C1", "C2")) | {"doc_key": "d2"}]
    monkeypatch.setattr(evaluate, "load_rows", lambda *_: iter(rows))
    console = Console(record=True, width=200)
    options = {"resampling": evaluate.Resampling(20), "candidates": "tracked"}
    result = evaluate.main(
        str(tiny_model_folder), "made", tmp_path / "out", config="all", split="test", console=console, **options
    )
    about = result["candidates"]
    assert (about["kind"], about["tracker_recall"]["n"], about["entities"]) == ("tracked entities", 3, 2)
    assert [setting["name"] for setting in result["linking_settings"]] == list(pools.SETTINGS[pools.TRACKED])
    same, found, split = result["linking_settings"]
    assert same["n"] == found["n"] == split["n"] == 3
    assert same["mean_pool"] == split["mean_pool"] == 2
    assert same["scores"]["linking_recall_at_3"]["value"] == pytest.approx(2 / 3)  # the ceiling
    assert same["scores"]["linking_chance_at_1"]["value"] == pytest.approx(1 / 3)
    assert json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8")) == result
    note = "reaches 2 of 3 annotated persons, 66.7%"
    assert note in console.export_text()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert note in page
    assert "Candidates: tracked entities." in page
    assert "<figcaption>1 · 0.0–1.8 s</figcaption>" in page
    assert "the person was not tracked" in page
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert [entity["tracks"][0]["times"][0] for entity in first["entities"]] == [0.0, 0.0]
    (tmp_path / "gold.jsonl").write_text(
        "\n".join(json.dumps(dict(one, visual_annotations=[]), ensure_ascii=False) for one in rows), encoding="utf-8"
    )
    again = score_files(tmp_path / "gold.jsonl", tmp_path / "out" / "predictions.jsonl")["scores"]
    assert again["conll_f1"] == result["scores"]["conll_f1"]["value"]
    assert not any(key.startswith("linking") for key in again)  # entities are not the annotated regions


def test_annotated_regions_are_the_default_and_pictures_are_needed(
    tiny_model_folder: Path, sample_corpus: Path, tmp_path: Path
) -> None:
    options = {"split": "validation", "resampling": evaluate.Resampling(0)}
    result = evaluate.evaluate(tiny_model_folder, str(sample_corpus), tmp_path / "out", **options)
    assert result["candidates"] == {"kind": "annotated regions"}
    with pytest.raises(UserError, match="pictures are not looked at"):
        evaluate.evaluate(
            tiny_model_folder, str(sample_corpus), tmp_path / "o", with_pictures=False, candidates="tracked", **options
        )


def test_real_faces(shared: Path, tmp_path: Path) -> None:
    """Every person is reached, from a box in a picture that was not searched."""
    pictures, truth = render(three_persons(cast_of(shared / "faces")))
    video = write_video(tmp_path / "片 段.mp4", pictures, preset="ultrafast", crf=23)
    persons = sorted({person for persons in truth.persons for person in persons})
    boxes = []
    for person in persons:
        frame = next(n for n, there in enumerate(truth.persons) if person in there and n % 5 == 2)
        corners = truth.boxes[frame][truth.persons[frame].index(person)].round().tolist()
        boxes.append(box(person, frame, corners))
    (found,) = track_candidates([row(boxes, video, tuple(persons))], shared / "weights")
    assert (found.persons, found.reached, len(found.entities)) == (len(persons),) * 3
    assert sorted(found.dialogue["links"]) == list(range(len(persons)))
