"""What the processor refuses, and what it says: where, what was found, what to do."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tiktalkcoref.modeling.inputs_tiktalkcoref import MAX_PIXELS, DialogueError
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

TEXT = {"sentences": ["我爱你", "好"]}
FRAME = Image.new("RGB", (40, 30))


@pytest.fixture
def processor(tiny_tokenizer):
    return TikTalkCorefProcessor(tiny_tokenizer, image_size=8)


def refuse(processor, dialogue, message):
    with pytest.raises(DialogueError) as caught:
        processor(dialogue)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        (
            {"sentences": []},
            "dialogue: sentences is empty; expected at least one utterance.",
        ),
        (
            {"title": "标题"},
            "dialogue: sentences: found nothing, expected a list with one string (or list of characters) an utterance.",
        ),
        (
            {"sentences": "我爱你"},
            "dialogue: sentences: found a value of type str, expected a list with one string (or list of characters) "
            "an utterance.",
        ),
        (
            {"sentences": ["我", ""]},
            "dialogue: sentences[1] is empty; leave out utterances without text.",
        ),
        (
            {"sentences": [[], ["我"]]},
            "dialogue: sentences[0] is empty; leave out utterances without text.",
        ),
        (
            {"sentences": [["我", ""]]},
            "dialogue: sentences[0][1] is an empty token; leave it out.",
        ),
        (
            {"sentences": [["我", 3]]},
            "dialogue: sentences[0][1]: found a value of type int, expected a character (or token) as a string.",
        ),
        (
            {"sentences": ["我", None]},
            "dialogue: sentences[1]: found nothing, expected a string or a list of characters.",
        ),
        (
            {"sentences": ["我", "你"], "speakers": ["A", "B", "A"]},
            "dialogue: more speakers than utterances: found 3 speakers for 2 utterances, expected one each "
            "(repeat the name of one who speaks again).",
        ),
        (
            {"sentences": ["我", "你"], "speakers": ["A"]},
            "dialogue: fewer speakers than utterances: found 1 speakers for 2 utterances, expected one each "
            "(repeat the name of one who speaks again).",
        ),
        (
            {"sentences": ["我", "你"], "speakers": "AB"},
            "dialogue: speakers: found a value of type str, expected a list with one name an utterance.",
        ),
        (
            {"sentences": ["我", "你"], "speakers": ["A", 1]},
            "dialogue: speakers[1]: found a value of type int, expected a name as a string.",
        ),
        (
            {"sentences": ["我"], "title": ["标题"]},
            "dialogue: title: found a value of type list, expected a string or None.",
        ),
        (
            {"sentences": ["我"], "speaker": ["A"]},
            "dialogue: unknown key 'speaker'. Did you mean 'speakers'? Known keys: sentences, speakers, title, "
            "regions, frames, boxes, clusters, links, region_identities, doc_key.",
        ),
        (
            {"sentences": ["我"], "emotion": "joy"},
            "dialogue: unknown key 'emotion'. Known keys: sentences, speakers, title, "
            "regions, frames, boxes, clusters, links, region_identities, doc_key.",
        ),
    ],
)
def test_text(processor, dialogue, message):
    refuse(processor, dialogue, message)


def test_not_a_dialogue(processor):
    refuse(
        processor,
        [TEXT, "我爱你"],
        "dialogue 2: found a value of type str, expected a dictionary such as "
        '{"sentences": ["…", "…"], "speakers": ["A", "B"]}.',
    )
    refuse(processor, [], "no dialogues: found an empty list, expected at least one.")


def test_messages_name_the_dialogue(processor):
    refuse(
        processor,
        [TEXT, TEXT, {"sentences": [""]}],
        "dialogue 3: sentences[0] is empty; leave out utterances without text.",
    )
    with pytest.raises(DialogueError, match=r"^video 7: sentences\[0\] is empty"):
        processor([{"sentences": [""]}], names=["video 7"])


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (
            {"regions": [FRAME], "frames": [FRAME], "boxes": []},
            "dialogue: both regions and frames with boxes are given; give one of the two.",
        ),
        (
            {"boxes": [{"frame": 0, "bbox": [0, 0, 4, 4]}]},
            "dialogue: 1 boxes but no frames to cut them from; give frames too, or regions.",
        ),
        (
            {"regions": FRAME},
            "dialogue: regions: found a value of type Image, expected a list.",
        ),
        (
            {"regions": [FRAME, 7]},
            "dialogue: regions[1]: found a value of type int, expected a PIL image, a numpy array, or a path.",
        ),
        (
            {"regions": ["no/such.jpg"]},
            "dialogue: regions[0]: no such file: 'no/such.jpg'.",
        ),
        (
            {"regions": [np.zeros((3, 8, 8), dtype=np.float32)]},
            "dialogue: regions[0]: found an array of shape (3, 8, 8) and type float32, expected [height, width, 3] of "
            "uint8; channels come last, and floats in [0, 1] are turned by (array * 255).astype('uint8').",
        ),
        (
            {"regions": [np.zeros((0, 8, 3), dtype=np.uint8)]},
            "dialogue: regions[0]: found an array of shape (0, 8, 3): it has no pixels.",
        ),
        (
            {"regions": [Image.new("RGB", (0, 5))]},
            "dialogue: regions[0]: the picture is 0 x 5: it has no pixels.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 0, "bbox": [30, 2, 41, 12]}]},
            "dialogue: boxes[0]: bbox [30, 2, 41, 12] leaves frames[0], which is 40 x 30; clip it to the frame first.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 0, "bbox": [-1, 2, 4, 12]}]},
            "dialogue: boxes[0]: bbox [-1, 2, 4, 12] leaves frames[0], which is 40 x 30; clip it to the frame first.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 0, "bbox": [5, 5, 5, 9]}]},
            "dialogue: boxes[0]: bbox [5, 5, 5, 9] is empty; expected x1 < x2 and y1 < y2, in pixels.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 0, "bbox": [9, 5, 3, 9]}]},
            "dialogue: boxes[0]: bbox [9, 5, 3, 9] is empty; expected x1 < x2 and y1 < y2, in pixels.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 0, "bbox": [1, 2, float("nan"), 9]}]},
            "dialogue: boxes[0]: bbox: found [1, 2, nan, 9], expected four numbers [x1, y1, x2, y2] in pixels.",
        ),
        (
            {"frames": [FRAME], "boxes": [{"frame": 1, "bbox": [0, 0, 3, 9]}]},
            "dialogue: boxes[0]: frame: found 1, expected an index into the 1 frames.",
        ),
        (
            {"frames": [FRAME], "boxes": [[0, 0, 3, 9]]},
            'dialogue: boxes[0]: found a value of type list, expected {"frame": index, "bbox": [x1, y1, x2, y2]}.',
        ),
        (
            {"frames": [FRAME], "boxes": [{"bbox": [0, 0, 3, 9]}]},
            'dialogue: boxes[0]: found keys [\'bbox\'], expected {"frame": index, "bbox": [x1, y1, x2, y2]}.',
        ),
        (
            {"frames": ["gone.png"], "boxes": [{"frame": 0, "bbox": [0, 0, 3, 9]}]},
            "dialogue: frames[0]: no such file: 'gone.png'.",
        ),
    ],
)
def test_pictures(processor, pictures, message):
    refuse(processor, {**TEXT, **pictures}, message)


def test_a_file_that_is_no_picture(processor, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"not a picture")
    refuse(
        processor,
        {**TEXT, "regions": [path]},
        f"dialogue: regions[0]: {str(path)!r} is not a picture that Pillow can read.",
    )


def test_a_picture_cut_short(processor, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(
        DialogueError, match=rf"^dialogue: regions\[0\]: cannot read {re.escape(repr(str(path)))}: .*trunc"
    ):
        processor({**TEXT, "regions": [path]})


def test_a_folder_is_no_picture(processor, tmp_path):
    with pytest.raises(DialogueError, match=r"^dialogue: regions\[0\]: cannot read .*: .*[Dd]irectory"):
        processor({**TEXT, "regions": [tmp_path]})


@pytest.mark.parametrize("side", [8001, 60_000])
def test_a_decompression_bomb_is_refused_from_its_header(processor, tmp_path, side):
    """Above our limit, and above the limit of Pillow itself; no pixel is decoded."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", side, 8001, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(DialogueError) as caught:
        processor({**TEXT, "regions": [path]})
    message = str(caught.value)
    assert message.startswith(f"dialogue: regions[0]: {str(path)!r} is ")
    assert f"more than the limit of {MAX_PIXELS:,}" in message
    assert message.endswith("; scale it down first.")


def test_the_limit_of_pixels_holds_for_arrays(processor, monkeypatch):
    monkeypatch.setattr("tiktalkcoref.modeling.inputs_tiktalkcoref.MAX_PIXELS", 100)
    refuse(
        processor,
        {**TEXT, "regions": [np.zeros((11, 10, 3), dtype=np.uint8)]},
        "dialogue: regions[0]: the picture is 10 x 11 = 110 pixels, more than the limit of 100; scale it down first.",
    )


@pytest.mark.timeout(10)
def test_a_pipe_or_a_device_is_no_picture(processor, tmp_path):
    """Reading either would never end."""
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        refuse(
            processor,
            {**TEXT, "regions": [path]},
            f"dialogue: regions[0]: {str(path)!r} is a pipe, socket or device, expected a picture file.",
        )


def test_a_dialogue_without_end(processor):
    refuse(
        processor,
        [TEXT, {"sentences": ["我" * 60_000, "好" * 40_000]}],
        "dialogue 2 has 100,000 characters, more than the limit of 50,000: split it, or raise the limit "
        "(processor.max_characters = 100000; it will take a while).",
    )
    processor.max_characters = 4
    processor(TEXT)
    processor.max_characters = 3
    with pytest.raises(DialogueError, match=r"^dialogue has 4 characters, more than the limit of 3"):
        processor(TEXT)


def test_boxes_may_touch_the_frame(processor):
    boxes = [{"frame": 0, "bbox": [0, 0, 40, 30]}, {"frame": 0, "bbox": np.array([0.2, 0.1, 40.3, 30.4])}]
    assert processor({**TEXT, "frames": [FRAME], "boxes": boxes})["pixel_values"].shape[0] == 2
