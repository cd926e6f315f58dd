"""The processor: alignment of characters and tokens, speakers, titles, windows, pictures, labels."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from tiktalkcoref.modeling.inputs_tiktalkcoref import DialogueError, open_picture
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor


@pytest.fixture
def processor(tiny_tokenizer):
    return TikTalkCorefProcessor(tiny_tokenizer, window_size=64, window_stride=24, max_title_length=8, use_title=True)


def tokens(processor, batch, row=0):
    ids = batch["input_ids"][row][batch["attention_mask"][row] == 1]
    return processor.tokenizer.convert_ids_to_tokens(ids.tolist())


def states(processor, batch, number=0):
    """The token that each character of a dialogue is read from."""
    index = batch["character_index"][number]
    ids = batch["input_ids"].flatten()[index[index >= 0]]
    return processor.tokenizer.convert_ids_to_tokens(ids.tolist())


def test_the_layout_of_one_window(processor):
    batch = processor({"sentences": ["我爱你", "好吗"], "speakers": ["B", "A"], "title": " 老师 "})
    assert tokens(processor, batch) == ["[CLS]", "老", "师", "[SEP]", "我", "爱", "你", "[SEP]", "好", "吗", "[SEP]"]
    assert batch["token_type_ids"][0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert batch["token_speaker"][0].tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 0]
    assert batch["character_index"].tolist() == [[4, 5, 6, 8, 9]]
    assert batch["character_utterance"].tolist() == [[0, 0, 0, 1, 1]]
    assert batch["character_speaker"].tolist() == [[0, 0, 0, 1, 1]]
    assert batch["characters"] == [list("我爱你好吗")]
    assert batch["sentence_lengths"] == [[3, 2]]
    assert "pixel_values" not in batch
    assert "clusters" not in batch


def test_padding_of_a_batch(processor):
    batch = processor([{"sentences": ["我"]}, {"sentences": ["他是老师", "了"]}])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 8)
    assert batch["attention_mask"].sum(1).tolist() == [3, 8]
    assert (batch["input_ids"][0, 3:] == processor.tokenizer.pad_token_id).all()
    assert batch["character_index"].tolist() == [[1, -1, -1, -1, -1], [9, 10, 11, 12, 14]]
    assert batch["character_utterance"].tolist() == [[0, -1, -1, -1, -1], [0, 0, 0, 0, 1]]
    assert batch["character_speaker"].tolist() == [[0, -1, -1, -1, -1], [0, 0, 0, 0, 1]]
    assert all(value.dtype == torch.int64 for value in batch.values() if isinstance(value, torch.Tensor))


def test_every_character_keeps_its_place(processor):
    """Spaces, a joined emoji, full-width letters, combining marks, unknown ones, half a surrogate pair."""
    text = "我 你\t👩\u200d👩Ａe\u0301龘\ud83d\n他"
    batch = processor({"sentences": [text]})
    assert batch["characters"] == [list(text)]
    known = {"我", "你", "👩", "Ａ", "他"}
    assert states(processor, batch) == [c if c in known else "[UNK]" for c in text]
    assert batch["character_index"][0].tolist() == list(range(1, len(text) + 1))


def test_a_token_of_several_characters_is_one_unit_read_from_its_last_piece(processor):
    batch = processor({"sentences": [["我", "abc", "好"], ["ab"]]})
    assert tokens(processor, batch) == ["[CLS]", "我", "a", "##b", "##c", "好", "[SEP]", "a", "##b", "[SEP]"]
    assert states(processor, batch) == ["我", "##c", "好", "##b"]
    assert batch["sentence_lengths"] == [[3, 1]]
    assert batch["token_speaker"][0].tolist() == [0, 1, 1, 1, 1, 1, 0, 2, 2, 0]


def test_strings_and_lists_of_characters_read_alike(processor):
    text = ["我 爱 Ａabc", "👩\u200d👩好"]
    one, other = processor({"sentences": text}), processor({"sentences": [list(sentence) for sentence in text]})
    assert all(torch.equal(one[key], other[key]) for key in one if isinstance(one[key], torch.Tensor))


def test_text_that_spells_a_special_token_stays_text(processor):
    batch = processor({"sentences": [["[SEP]", "我", "[CLS]"]]})
    assert tokens(processor, batch) == ["[CLS]", "[UNK]", "我", "[UNK]", "[SEP]"]


def test_an_endless_token_becomes_unknown(processor):
    batch = processor({"sentences": [["a" + "b" * 200, "我"]]})
    assert states(processor, batch) == ["[UNK]", "我"]


def test_speakers(processor):
    batch = processor(
        [
            {"sentences": ["我", "你", "他"], "speakers": ["乙", "甲", "乙"]},
            {"sentences": ["我", "你", "他"]},  # none given: two who take turns
            {"sentences": ["我", "你", "他"], "speakers": ["甲", "丙", "丁"]},
        ]
    )
    assert batch["character_speaker"].tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 2]]
    assert batch["token_type_ids"][2].tolist() == [0, 0, 0, 1, 1, 0, 0]


def test_an_encoder_of_one_token_type(tiny_tokenizer):
    processor = TikTalkCorefProcessor(tiny_tokenizer, token_types=1)
    assert processor({"sentences": ["我", "你"]})["token_type_ids"].sum() == 0


def test_titles(processor, tiny_tokenizer):
    batch = processor({"sentences": ["我"], "title": "老师" * 20})
    assert tokens(processor, batch) == ["[CLS]", *"老师" * 4, "[SEP]", "我", "[SEP]"]
    without = TikTalkCorefProcessor(tiny_tokenizer, use_title=False)
    for title in ("老师", "  ", "", None):
        used = without if title == "老师" else processor
        assert tokens(used, used({"sentences": ["我"], "title": title})) == ["[CLS]", "我", "[SEP]"]


def test_a_short_dialogue_reads_the_same_with_and_without_windows(tiny_tokenizer):
    dialogue = {"sentences": ["我爱他的小明老师", "好吗 ab"], "title": "老师"}
    one, other = (
        TikTalkCorefProcessor(tiny_tokenizer, window_size=size, window_stride=8, max_title_length=4)(dialogue)
        for size in (24, 512)
    )
    assert all(torch.equal(one[key], other[key]) for key in one if isinstance(one[key], torch.Tensor))


@pytest.mark.parametrize("seed", range(30))
def test_windows_cover_every_character_where_it_is_most_central(tiny_tokenizer, seed):
    """Random long dialogues, some with tokens of several pieces, against a plain loop over windows."""
    chance = random.Random(seed)
    size, title = chance.randint(16, 40), chance.choice(["", "老师小明"])
    stride = chance.randint(1, size - 8)
    processor = TikTalkCorefProcessor(tiny_tokenizer, size, stride, use_title=True, max_title_length=4)
    units = ["我", "你", "abc", "abcbc", " ", "a"]
    sentences = [chance.choices(units, k=chance.choice([1, 3, 9, 80])) for _ in range(chance.randint(3, 12))]
    batch = processor({"sentences": sentences, "title": title})
    width = batch["input_ids"].shape[1]
    assert width <= size
    flat = [unit for sentence in sentences for unit in sentence]
    lengths = [len(processor.pieces([unit])[0]) for unit in flat]
    assert [processor.pieces([unit])[0][-1] for unit in flat] == batch["input_ids"].flatten()[
        batch["character_index"][0]
    ].tolist()
    # where each token of each window stands in the dialogue: utterances closed by [SEP]
    body = []
    last_pieces = []
    for i in range(len(flat)):
        body += [f"{i}"] * lengths[i]
        last_pieces.append(len(body) - 1)
        if i + 1 in np.cumsum([len(sentence) for sentence in sentences]):
            body.append("[SEP]")
    ids = [i for sentence in sentences for unit in sentence for i in processor.pieces([unit])[0]]
    assert len(ids) + len(sentences) == len(body)
    prefix = len(title) + 2 if title else 1
    windows = processor._encode(_text(sentences, title)).windows
    assert windows[0][0] == 0
    assert windows[-1][1] == len(body)
    for (start, stop), (next_start, next_stop) in itertools.pairwise(windows):
        assert start < next_start <= start + max(stride, 6)  # a unit of five pieces and its [SEP] may be one step
        assert next_start <= stop <= next_stop

    def depth(position, window):
        start, stop = windows[window]
        left = position - start if start > 0 else len(body)
        right = stop - 1 - position if stop < len(body) else len(body)
        return min(left, right)

    for position, index in zip(last_pieces, batch["character_index"][0].tolist(), strict=True):
        window, offset = divmod(index, width)
        assert windows[window][0] + offset - prefix == position
        inside = [w for w, (start, stop) in enumerate(windows) if start <= position < stop]
        assert window == max(inside, key=lambda w: depth(position, w))
    closing = batch["attention_mask"].sum(1) - 1
    assert (batch["input_ids"][torch.arange(len(windows)), closing] == tiny_tokenizer.sep_token_id).all()
    assert batch["token_speaker"][torch.arange(len(windows)), closing].sum() == 0
    assert ((batch["token_speaker"] > 0).sum(1) > 0).all()


def _text(sentences, title):
    from tiktalkcoref.modeling.inputs_tiktalkcoref import read_text

    return read_text({"sentences": sentences, "title": title})


def test_windows_grow_linearly(tiny_tokenizer):
    processor = TikTalkCorefProcessor(tiny_tokenizer, window_size=512, window_stride=256)
    counts = [len(processor({"sentences": ["我你好"] * n})["input_ids"]) for n in (1000, 2000, 4000)]
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.1)
    assert counts[2] / counts[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_size": 20, "max_title_length": 18}, "window_size 20 leaves 0 tokens for the dialogue beside a title"),
        ({"window_size": 64, "window_stride": 256, "max_title_length": 8}, "window_stride 256: expected at least 1"),
        ({"window_stride": 0}, "window_stride 0: expected at least 1 and less than the 446 tokens"),
    ],
)
def test_wrong_windows(tiny_tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        TikTalkCorefProcessor(tiny_tokenizer, use_title=True, **settings)


def test_a_tokenizer_without_specials_is_refused(tiny_tokenizer):
    import copy

    other = copy.deepcopy(tiny_tokenizer)
    other.unk_token = None
    with pytest.raises(ValueError, match="has no unk_token"):
        TikTalkCorefProcessor(other)


# pictures


def test_pictures_in_every_form_give_the_same_pixels(tiny_tokenizer, tmp_path):
    processor = TikTalkCorefProcessor(tiny_tokenizer, image_size=8, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 1])
    array = np.random.default_rng(0).integers(0, 256, (20, 12, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.save(tmp_path / "头像.png")
    frame = Image.new("RGB", (40, 50))
    frame.paste(image, (7, 9))
    sentences = ["我"]
    ways = [
        {"sentences": sentences, "regions": [image, array, tmp_path / "头像.png", str(tmp_path / "头像.png")]},
        {"sentences": sentences},
        {
            "sentences": sentences,
            "frames": [Image.new("L", (9, 9)), np.asarray(frame)],
            "boxes": [{"frame": 1, "bbox": [7, 9, 19, 29]}, {"frame": 0, "bbox": (0.2, 0, 9, 9.4)}],
        },
    ]
    batch = processor(ways)
    pixels = batch["pixel_values"]
    assert pixels.shape == (6, 3, 8, 8)
    assert pixels.dtype == torch.float32
    assert batch["region_dialogue"].tolist() == [0, 0, 0, 0, 2, 2]
    assert all(torch.equal(pixels[0], pixels[i]) for i in range(1, 5))
    resized = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    expected = (resized - [0.1, 0.2, 0.3]) / [0.5, 0.6, 1]
    assert np.allclose(pixels[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)
    black = torch.tensor([-0.2, -1 / 3, -0.3])
    assert torch.allclose(pixels[5], black[:, None, None].expand(3, 8, 8), atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_picture_modes(tiny_tokenizer, mode):
    processor = TikTalkCorefProcessor(tiny_tokenizer, image_size=4)
    batch = processor({"sentences": ["我"], "regions": [Image.new(mode, (5, 6))]})
    assert batch["pixel_values"].shape == (1, 3, 4, 4)


GREY = np.linspace(0, 1, 64).reshape(8, 8)
DEEP = {
    "sixteen.png": (GREY * 65_535).round().astype(np.uint16),
    "sixteen.tif": (GREY * 65_535).round().astype(np.uint16),
    "thirty-two.tif": (GREY * 65_535).round().astype(np.int32),
    "full.tif": (GREY * (2**31 - 1)).astype(np.int32),
    "float.tif": GREY.astype(np.float32),
    "float-255.tif": (GREY * 255).astype(np.float32),
    "small.tif": (GREY * 255).round().astype(np.int32),
}


@pytest.mark.parametrize("name", DEEP)
def test_pictures_of_more_than_eight_bits_are_scaled(tmp_path, name):
    """Pillow would clip them: white for 16 bits, black for floats."""
    Image.fromarray(DEEP[name]).save(tmp_path / name)
    found = np.asarray(open_picture(tmp_path / name)).astype(int)
    assert found.shape == (8, 8, 3)
    assert np.abs(found[..., 0] - GREY * 255).max() <= 1
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("value", [float("nan"), -1.0, 1e6])
def test_floats_of_no_range_are_refused(tmp_path, value):
    values = GREY.astype(np.float32)
    values[3, 3] = value
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DialogueError, match=r"^picture: .* holds values from .* in mode F; expected 0 to 1"):
        open_picture(tmp_path / "a.tif")


def test_a_picture_is_turned_as_its_exif_says(tiny_tokenizer, tmp_path):
    upright = Image.new("RGB", (8, 8))
    upright.paste((255, 255, 255), (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    processor = TikTalkCorefProcessor(tiny_tokenizer, image_size=8)
    pixels = processor({"sentences": ["我"], "regions": [upright, tmp_path / "a.png"]})["pixel_values"]
    assert torch.equal(pixels[0], pixels[1])


def test_a_text_only_model_leaves_pictures_out(processor):
    batch = processor({"sentences": ["我"], "regions": ["missing.png"], "clusters": [], "links": []}, labels=True)
    assert "pixel_values" not in batch
    assert batch["links"] == [None]
    with pytest.raises(ValueError, match="reads text only"):
        processor.process_images([Image.new("RGB", (2, 2))])


# labels


def test_labels_pass_through(tiny_tokenizer):
    processor = TikTalkCorefProcessor(tiny_tokenizer, image_size=4)
    image = Image.new("RGB", (5, 6))
    labelled = {
        "sentences": ["我爱小明", "好"],
        "regions": [image, image],
        "clusters": [[[0, 0]], [[2, 3], [4, 4]]],
        "links": [-1, 1],
        "region_identities": [None, "小明"],
        "doc_key": "1",
    }
    batch = processor([labelled, {"sentences": ["我"], "clusters": []}], labels=True)
    assert batch["clusters"] == [[[(0, 0)], [(2, 3), (4, 4)]], []]
    assert batch["links"] == [[-1, 1], None]
    assert batch["region_identities"] == [[None, "小明"], None]
    assert "clusters" not in processor(labelled)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "dialogue: clusters: found nothing, expected a list of clusters"),
        ({"clusters": [[[0, 5]]]}, r"clusters\[0\]\[0\]: found \[0, 5\] in a dialogue of 5 tokens; .* 0 <= start"),
        ({"clusters": [[[3, 2]]]}, r"clusters\[0\]\[0\]: found \[3, 2\]"),
        ({"clusters": [[3]]}, r"clusters\[0\]\[0\]: found 3, expected \[start, end\]"),
        ({"clusters": [[[0, 1]]], "links": []}, "links: found 0 for 1 clusters"),
        ({"clusters": [[[0, 1]]], "links": [1]}, r"links\[0\]: found 1, expected an index into the 1 regions, or -1"),
        ({"clusters": [], "region_identities": []}, "region_identities: found 0 for 1 regions"),
    ],
)
def test_wrong_labels(tiny_tokenizer, labels, message):
    processor = TikTalkCorefProcessor(tiny_tokenizer, image_size=4)
    dialogue = {"sentences": ["我爱小明", "好"], "regions": [Image.new("RGB", (5, 6))], **labels}
    with pytest.raises(DialogueError, match=message):
        processor(dialogue, labels=True)


# saving


def test_saved_and_loaded(tiny_tokenizer, tmp_path):
    processor = TikTalkCorefProcessor(
        tiny_tokenizer, 64, 32, True, 7, 1, image_size=12, image_mean=[0.1, 0.2, 0.3], image_std=(1, 2, 3)
    )
    dialogue = {"sentences": ["我爱 小明", "好"], "title": "老师", "regions": [Image.new("RGB", (5, 6), (9, 8, 7))]}
    before = processor(dialogue)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["auto_map"] == {"AutoProcessor": "processing_tiktalkcoref.TikTalkCorefProcessor"}
    assert {"processing_tiktalkcoref.py", "inputs_tiktalkcoref.py"} <= {path.name for path in tmp_path.iterdir()}
    loaded = TikTalkCorefProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == {key: value for key, value in processor.to_dict().items() if key != "auto_map"}
    after = loaded(dialogue)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before if isinstance(before[key], torch.Tensor))


def test_tokenising_is_remembered_and_bounded(processor, monkeypatch):
    calls = []
    real = processor._tokenize
    monkeypatch.setattr(processor, "_tokenize", lambda unit: calls.append(unit) or real(unit))
    for _ in range(3):
        processor({"sentences": ["我爱我", "我"]})
    assert sorted(calls) == ["我", "爱"]
    monkeypatch.setattr("tiktalkcoref.modeling.processing_tiktalkcoref.MAX_CACHED", 5)
    for number in range(100):
        processor({"sentences": [[f"x{number}", "我"]]})
    assert len(processor._pieces) <= 8


def test_the_corpus_is_aligned(upstream, backbone):
    """Each of the corpus's characters is read from its own token, or from [UNK]."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(backbone)
    processor = TikTalkCorefProcessor(tokenizer, use_title=False)
    for name in ("annotations.8d346bf.jsonl", "annotations.db84797.jsonl"):
        records = [json.loads(line) for line in (upstream / name).open(encoding="utf-8")]
        batch = processor([{"sentences": record["sentences"]} for record in records])
        flat = [[unit for sentence in record["sentences"] for unit in sentence] for record in records]
        assert batch["characters"] == flat
        index = batch["character_index"]
        read = tokenizer.convert_ids_to_tokens(batch["input_ids"].flatten()[index[index >= 0]].tolist())
        characters = [unit for units in flat for unit in units]
        assert len(read) == len(characters)
        wrong = [(c, token) for c, token in zip(characters, read, strict=True) if token not in (c, "[UNK]")]
        assert wrong == []
        assert read.count("[UNK]") / len(read) < 0.01
