"""Where a run starts: the model and the processor that a recipe asks for."""

import inspect
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertTokenizer

from tiktalkcoref.evaluation import registry  # noqa: F401 (importing it is its use)
from tiktalkcoref.evaluation.dialogues import Dialogue
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.hints import closest
from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

from .recipe import Recipe, RecipeError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PUNCTUATION = "，。！？、；：…—～·‘’“”（）《》〈〉【】「」『』％￥＠＃＆＋－＝／｜"


class BackboneError(UserError):
    """A backbone that cannot be had; the message names the way that needs no network."""


def check_model_fields(recipe: Recipe) -> None:
    """Raise RecipeError for a field in `model` that TikTalkCorefConfig does not have (it would be kept and ignored)."""
    known = [
        name for name in inspect.signature(TikTalkCorefConfig.__init__).parameters if name not in ("self", "kwargs")
    ]
    given_elsewhere = {"text_config": "initial.text_encoder", "vision_config": "initial.vision_encoder"}
    for name in recipe.model:
        if name in given_elsewhere:
            raise RecipeError(f"recipe {recipe.name}: model.{name} is set by {given_elsewhere[name]}")
        if name not in known:
            raise RecipeError(f"recipe {recipe.name}: unknown field model.{name}{closest(name, known)}")


def build(recipe: Recipe, dialogues: Sequence[Dialogue]) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    """The model and its processor. `dialogues`, of the train split, give a tokenizer from scratch its rare characters.

    Raises:
        BackboneError: a folder that is missing or holds no model, a name that cannot be downloaded.
    """
    initial = recipe.initial
    if initial.checkpoint:
        return _from_checkpoint(initial.checkpoint, recipe.model)
    if initial.chinese_clip:
        with _naming("Chinese-CLIP", initial.chinese_clip, "initial.chinese_clip"):
            tokenizer = AutoTokenizer.from_pretrained(initial.chinese_clip)
            model = TikTalkCorefModel.from_chinese_clip(initial.chinese_clip, **recipe.model)
        return model, TikTalkCorefProcessor.from_config(model.config, tokenizer)
    if isinstance(initial.text_encoder, str):
        with _naming("text encoder", initial.text_encoder, "initial.text_encoder"):
            tokenizer = AutoTokenizer.from_pretrained(initial.text_encoder)
            model = TikTalkCorefModel.from_encoders(initial.text_encoder, initial.vision_encoder, **recipe.model)
        return model, TikTalkCorefProcessor.from_config(model.config, tokenizer)
    tokenizer = character_tokenizer(dialogues)
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    specials = {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "pad_token_id")}
    model = TikTalkCorefModel.from_encoders(
        text | (initial.text_encoder or {}), initial.vision_encoder, **specials | recipe.model
    )
    return model, TikTalkCorefProcessor.from_config(model.config, tokenizer)


def character_tokenizer(dialogues: Iterable[Dialogue]) -> BertTokenizer:
    """A BERT tokenizer from scratch with one token a character: ASCII, punctuation, the hanzi of GB 2312, and what the
    dialogues (their titles too) hold besides."""
    seen = {
        character
        for d in dialogues
        for text in (*d["sentences"], d["title"] or "")
        for unit in text
        for character in unit
    }
    printable = [character for character in string.printable if not character.isspace()]
    known = dict.fromkeys([*SPECIALS, *printable, *PUNCTUATION, *_gb2312_hanzi()])
    known |= dict.fromkeys(sorted(character for character in seen if not character.isspace()))
    vocabulary = {token: number for number, token in enumerate(known)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False, strip_accents=False)


def _gb2312_hanzi() -> list[str]:
    """The 6,763 hanzi of GB 2312, in the order of the standard (rows 16 to 87)."""
    cells = (bytes((row, cell)) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    return [character for cell in cells if (character := cell.decode("gb2312", errors="ignore"))]


def _from_checkpoint(source: str, fields: dict[str, Any]) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    with _naming("model", source, "initial.checkpoint"):
        config = TikTalkCorefConfig.from_pretrained(source, **fields)
        model = TikTalkCorefModel.from_pretrained(source, config=config)
        tokenizer = AutoTokenizer.from_pretrained(source)
    return model, TikTalkCorefProcessor.from_config(config, tokenizer)


class _naming:  # noqa: N801 (a context manager, read as a word)
    """Turn the errors of loading a backbone into one that names the field of the recipe and the offline way."""

    def __init__(self, what: str, source: str, field: str) -> None:
        self.what, self.source, self.field = what, source, field

    def __enter__(self) -> None:
        source = Path(self.source).expanduser()
        looks_like_path = self.source.startswith((".", "/", "~")) or self.source.count("/") > 1
        if looks_like_path and not source.is_dir():
            raise BackboneError(f"the {self.what} {self.source!r} is not there: no such folder. {self._way()}")
        if source.is_dir() and not (source / "config.json").is_file():
            raise BackboneError(f"the {self.what} {self.source!r} is a folder without config.json. {self._way()}")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = str(error).strip().splitlines()[0]
            raise BackboneError(f"the {self.what} {self.source!r} cannot be had: {reason} {self._way()}") from error

    def _way(self) -> str:
        return (
            f"Without a network, give a folder that holds config.json, the weights (safetensors) and the tokenizer: "
            f"--set {self.field}=FOLDER (`hf download NAME --local-dir FOLDER` fills one where there is a network)."
        )
