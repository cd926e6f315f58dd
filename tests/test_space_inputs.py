"""What visitors give to the Space: what is read, and what is refused where and why, in both languages."""

import re

import pytest
from PIL import Image

from tiktalkcoref.space.heads import detector
from tiktalkcoref.space.inputs import (
    LIMITS,
    InputError,
    Visit,
    read_boxes,
    read_chat,
    read_rows,
    read_visit,
    split_chat,
)
from tiktalkcoref.space.texts import TEXTS, say


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "head.png")
    return str(tmp_path / "head.png")


@pytest.mark.parametrize(
    ("text", "sentences", "speakers"),
    [
        ("甲：你好\n\n乙: 再见 ", ["你好", "再见"], ["甲", "乙"]),
        ("甲：你好\n在吗", ["你好", "在吗"], ["甲", "甲"]),
        ("你好\n他说：再见", ["你好", "他说：再见"], []),
        ("他昨天在直播间里面说过的话：再见", ["他昨天在直播间里面说过的话：再见"], []),
        (" \n", [], []),
    ],
)
def test_a_chat_is_read_line_by_line(text, sentences, speakers):
    assert read_chat(text) == (sentences, speakers)


def test_rows_of_the_page_are_the_chat():
    assert split_chat("甲：你好\n在吗\n乙:再见") == [["甲", "你好"], ["甲", "在吗"], ["乙", "再见"]]
    assert split_chat("你好\n再见\n在吗") == [["A", "你好"], ["B", "再见"], ["A", "在吗"]]
    assert read_rows([["甲 ", "你好"], ["乙", " "], ["", " 在吗 "]]) == (["你好", "在吗"], ["甲", "甲"])
    assert read_rows([["", "你好"]]) == (["你好"], ["A"])
    assert read_rows([]) == read_rows([["A", ""]]) == ([], [])


def test_heads_of_a_frame_without_boxes_are_looked_for(shared, tmp_path, monkeypatch):
    pytest.importorskip("cv2", reason="needs the extra tracking")
    monkeypatch.setenv("TIKTALKCOREF_TRACKING_WEIGHTS", str(shared / "weights"))
    detector.cache_clear()
    dialogue = read_visit(Visit(["你好"], frame=str(shared / "faces" / "obama.jpg")))
    ((x1, y1, x2, y2),) = (box["bbox"] for box in dialogue["boxes"])
    width, height = dialogue["frames"][0].size
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 < height / 2
    assert all(isinstance(value, int) for value in (x1, y1, x2, y2))
    Image.new("RGB", (400, 300)).save(tmp_path / "nobody.png")
    with pytest.raises(InputError, match="No head was found in the frame"):
        read_visit(Visit(["你好"], frame=str(tmp_path / "nobody.png")))
    detector.cache_clear()


def test_pictures_and_boxes_become_a_dialogue(picture):
    dialogue = read_visit(Visit(["你好"], ["甲"], " 标题 ", [picture]))
    assert (dialogue["speakers"], dialogue["title"], dialogue["regions"][0].size) == (["甲"], "标题", (40, 30))
    dialogue = read_visit(Visit(["你好"], frame=picture, boxes="1, 2, 10, 20\n\n0 0 40 30"))
    assert dialogue["boxes"] == [{"frame": 0, "bbox": [1, 2, 10, 20]}, {"frame": 0, "bbox": [0, 0, 40, 30]}]


@pytest.mark.parametrize(
    "line", ["1, 2, 3", "10, 2, 10, 20", "0, 0, 41, 30", "-1, 0, 5, 5", "a, b, c, d", "1.5, 2, 3, 4"]
)
def test_what_is_no_box_in_the_frame_is_refused_with_its_line(line):
    with pytest.raises(InputError, match=r"Line 2: .* no box in a frame of 40 x 30"):
        read_boxes(f"0,0,1,1\n{line}", (40, 30))


def test_what_is_refused_names_the_field_and_the_reason(picture, tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTALKCOREF_TRACKING_WEIGHTS", str(tmp_path))  # none: heads are not looked for
    damaged = tmp_path / "<img src=x onerror=alert(1)>.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    large = tmp_path / "large.png"
    Image.new("1", (6000, 5000)).save(large)
    heavy = tmp_path / "heavy.mp4"
    with heavy.open("wb") as file:
        file.truncate((LIMITS.video_megabytes + 1) * 1_000_000)
    says = ["你好"]
    cases = [
        (Visit([]), "chat", "nothing to read"),
        (Visit([" "]), "chat", "nothing to read"),
        (Visit(["你"] * (LIMITS.utterances + 1)), "chat", "101 utterances"),
        (Visit(["你" * (LIMITS.characters + 1)]), "chat", "4,001 characters"),
        (Visit(says, ["甲", "乙"]), "chat", "2 speakers for 1"),
        (Visit(says, pictures=[picture] * 13), "pictures", "13 pictures"),
        (Visit(says, pictures=[str(damaged)]), "pictures", "cannot be read as a picture"),
        (Visit(says, pictures=[str(large)]), "pictures", "30.0 megapixels"),
        (Visit(says, pictures=[str(tmp_path / "gone.png")]), "pictures", "has been deleted"),
        (Visit(says, frame=picture), "frame", "where the heads are"),
        (Visit(says, boxes="1,1,2,2"), "frame", "no frame"),
        (Visit(says, video=str(heavy)), "video", "51.0 MB"),
        (Visit(says, pictures=[picture], video=str(heavy)), "video", "one of the three"),
    ]
    for visit, field, reason in cases:
        with pytest.raises(InputError, match=re.escape(reason)) as caught:
            read_visit(visit)
        assert caught.value.field == field
        assert caught.value.message("zh") == say(caught.value.key, "zh", **caught.value.values) != str(caught.value)


def test_both_languages_have_the_same_places_to_fill():
    for english, chinese in TEXTS.values():
        assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", chinese))
