"""Recipes: everything a training run depends on, typed, and checked before anything is loaded.

A recipe is a YAML file: one of the packaged ones by name (`sample`, `text-small`, ...) or any file by path. Fields that
it leaves out take the defaults below; `--set loop.batch_size=16` overrides any of them.

Nothing here imports torch or transformers: a mistyped recipe is to be told at once.
"""

import ast
import re
import sys
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct, field

from tiktalkcoref import modeling
from tiktalkcoref.corpus.names import RECORD_CONFIGS, SPLITS
from tiktalkcoref.evaluation.folds import parse_fold
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.hints import closest

PACKAGED = Path(__file__).parent / "recipes"
MAX_BYTES = 1_000_000  # of a recipe file; ours have one or two thousand
LARGEST = sys.float_info.max

Config = Literal["all", "celeb", "no_celeb"]
Positive = Annotated[int, Meta(ge=1, description="1 or more")]
Count = Annotated[int, Meta(ge=0, description="0 or more")]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="in [0, 2^32)")]
NotNegative = Annotated[float, Meta(ge=0, le=LARGEST, description="0 or more")]
AboveZero = Annotated[float, Meta(gt=0, le=LARGEST, description="above 0")]
Share = Annotated[float, Meta(ge=0, lt=1, description="in [0, 1)")]
Portion = Annotated[float, Meta(ge=0, le=1, description="in [0, 1]")]
Decay = Annotated[float, Meta(gt=0, le=1, description="in (0, 1]")]
Betas = Annotated[tuple[Share, Share], Meta(description="two numbers in [0, 1)")]


class RecipeError(UserError):
    """A recipe that cannot be run: names the recipe, the field, what was found and what was expected."""


class Initial(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights start: from encoders (pretrained or from scratch), a Chinese-CLIP, or one of our own models."""

    text_encoder: str | dict[str, Any] | None = None  # folder, Hub name, or the fields of a BertConfig (from scratch)
    # timm name (pretrained), or architecture + model_args; none: text only
    vision_encoder: str | dict[str, Any] | None = None
    chinese_clip: str | None = None  # folder or Hub name of a transformers Chinese-CLIP checkpoint
    checkpoint: str | None = None  # folder or Hub name of a TikTalkCorefModel

    def __post_init__(self) -> None:
        given = [name for name in ("text_encoder", "chinese_clip", "checkpoint") if getattr(self, name)]
        _require(
            len(given) == 1,
            f"initial: exactly one of text_encoder, chinese_clip and checkpoint says where the text encoder starts; "
            f"given: {', '.join(given) or 'none of them'}",
        )
        _require(
            not self.vision_encoder or given == ["text_encoder"],
            f"initial.vision_encoder goes with initial.text_encoder; initial.{given[0]} brings its own",
        )


class Optimizer(Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW with one learning rate for the heads and one for each encoder."""

    learning_rate: NotNegative = 3e-4  # heads
    scalar_learning_rate: NotNegative | None = None  # temperature, gate and null option of linking; none: as the heads
    text_learning_rate: NotNegative = 2e-5
    vision_learning_rate: NotNegative = 2e-5
    layer_decay: Decay = 1.0  # an encoder layer learns at this fraction of the rate of the layer above it
    weight_decay: NotNegative = 0.01  # not on biases and norms
    betas: Betas = (0.9, 0.999)
    epsilon: AboveZero = 1e-8
    warmup: Share = 0.1  # fraction of all steps
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: NotNegative = 1.0  # 0: no clipping


class Distillation(Struct, frozen=True, forbid_unknown_fields=True):
    """Labels that are in part the mean of what trained models find probable (see `distillation`)."""

    teachers: list[str] = []  # folders or Hub ids of models that read alike, such as runs with other seeds
    weight: Portion = 0.5  # of the teachers; the rest are the gold labels
    titles: bool = False  # learn from the videos' titles too, as the teachers alone label them

    def __post_init__(self) -> None:
        _require(bool(self.teachers) or not self.titles, "distil.titles is true, but distil.teachers is empty")


class Loop(Struct, frozen=True, forbid_unknown_fields=True):
    """How long, in what batches, and what is kept on the way."""

    epochs: Positive = 10
    max_steps: Count = 0  # stop after so many optimiser steps; 0: after `epochs`
    batch_size: Positive = 8  # dialogues in one forward pass of one process
    gradient_accumulation: Positive = 1  # forward passes of one optimiser step
    max_length: Count = 0  # characters in one forward pass, padding included: more are read in parts; 0: no limit
    evaluation_batch_size: Positive = 32
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    length_grouped: bool = True  # batches of dialogues of similar length: less padding
    hide_characters: Share = 0.0  # share of a training dialogue's characters that the text encoder does not see
    ema_decay: Share = 0.0  # the moving average of the weights that is evaluated and saved; 0: none
    evaluate_every: Positive = 1  # epochs
    keep: Literal["best", "last"] = "best"  # which evaluated model is kept; of few validation dialogues `best` is luck
    patience: Count = 0  # evaluations without a better score before stopping; 0: never
    # mean of those there are; links count where a query has more than one region to choose from
    select_on: list[str] = field(default_factory=lambda: ["conll_f1", "linking_recall_at_1"])
    checkpoint_every: Count = 0  # optimiser steps between checkpoints; 0: one at each evaluation
    keep_checkpoints: Positive = 2
    workers: Count = 0  # processes that tokenise and resize ahead
    log_every: Positive = 10  # optimiser steps
    trackers: list[str] = []  # accelerate's names: tensorboard, wandb, trackio, ...

    def __post_init__(self) -> None:
        _require(bool(self.select_on), "loop.select_on is empty: name at least one score, such as conll_f1")
        _require(
            not self.patience or self.keep == "best",
            "loop.patience waits for a better model, loop.keep=last keeps the last: leave one of them out",
        )


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """One training run. `model` holds fields of TikTalkCorefConfig (use_title, linking_weight, ...)."""

    initial: Initial
    name: str = ""
    description: str = ""
    seed: Seed = 0
    dataset: str = "sample"  # "sample", a prepared folder, a folder with upstream's files, or a Hub id
    train_config: Config = "all"
    # the validation split too: for who keeps the last model, where that split chooses nothing
    train_split: Literal["train", "train+validation"] = "train"
    eval_config: Config = "all"  # whose validation split selects the best model
    # e.g. [celeb/test]: the best model's scores, at the end. None by default: who tunes on a test split has none
    final_evaluations: list[str] = []
    fold: str | None = None  # "2/5": cross-validation over all splits together; the second of five parts is the test
    linking: bool | None = None  # learn from pictures; none: if there is a vision encoder and there are pictures
    model: dict[str, Any] = {}
    optimizer: Optimizer = field(default_factory=Optimizer)
    loop: Loop = field(default_factory=Loop)
    distil: Distillation = field(default_factory=Distillation)

    def __post_init__(self) -> None:
        _require(bool(self.dataset), "dataset is empty: name a folder, a Hub id, or `sample`")
        for place in self.final_evaluations:
            config, _, split = place.partition("/")
            _require(
                config in RECORD_CONFIGS and split in SPLITS,
                f"final_evaluations holds {place!r}: config/split expected, such as celeb/test "
                f"(configs {', '.join(RECORD_CONFIGS)}; splits {', '.join(SPLITS)})",
            )
        if self.fold is not None:
            parse_fold(self.fold)
        _require(
            self.train_split == "train" or self.loop.keep == "last",
            f"train_split is {self.train_split}, which leaves nothing to find the best model on: "
            "set train_split=train, or loop.keep=last",
        )
        has_vision = bool(self.initial.vision_encoder or self.initial.chinese_clip or self.initial.checkpoint)
        _require(
            has_vision or self.linking is not True,
            "linking is true but there is no vision encoder: set initial.vision_encoder or initial.chinese_clip",
        )
        _check_model_fields(self.model)


def load_recipe(recipe: str | Path, overrides: typing.Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe by name or a YAML file by path.

    Args:
        overrides: `field=value` with dotted fields and YAML values, as `--set` takes them.

    Raises:
        RecipeError: no such recipe; an unknown field; a value of the wrong type or out of range.
    """
    path = find_recipe(recipe)
    if path.stat().st_size > MAX_BYTES:
        raise RecipeError(f"{path} has {path.stat().st_size:,} bytes: a recipe has at most {MAX_BYTES:,}")
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds {type(content).__name__}, not a mapping of recipe fields")
    for override in overrides:
        _apply(content, override)
    content.setdefault("name", path.stem)
    loop = content.get("loop")
    if isinstance(loop, dict) and loop.get("mixed_precision") is False:
        loop["mixed_precision"] = "no"  # YAML 1.1 reads `no` as false
    try:
        return msgspec.convert(content, Recipe, strict=False)  # YAML 1.1 reads 2e-5 as a string
    except msgspec.ValidationError as error:
        raise RecipeError(f"recipe {recipe}: {_explain(str(error), content)}") from None


def find_recipe(recipe: str | Path) -> Path:
    """The file of a packaged name or a path."""
    packaged = PACKAGED / f"{recipe}.yaml"
    if packaged.is_file() and packaged.parent == PACKAGED:
        return packaged
    if Path(recipe).is_file():
        return Path(recipe)
    names = sorted(path.stem for path in PACKAGED.glob("*.yaml"))
    raise RecipeError(
        f"no recipe {str(recipe)!r}: neither a file nor one of {', '.join(names)}{closest(str(recipe), names)}"
    )


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, every field of it, as a file that `load_recipe` reads back to the same recipe."""
    fields = msgspec.to_builtins(recipe)
    path.write_text(yaml.safe_dump(fields, allow_unicode=True, sort_keys=False), encoding="utf-8")


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The recipe as one level of dotted fields, as `--set` names them (free-form mappings stay whole)."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(recipe).items():
        if isinstance(value, dict) and name != "model":
            flat |= {f"{name}.{key}": below for key, below in value.items()}
        else:
            flat[name] = value
    return flat


# From YAML


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a recipe needs none, and a few lines of them expand without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias (*name): write out what it stands for", mark)
        return super().compose_node(parent, index)


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deep") from None


def _apply(content: dict, override: str) -> None:
    """Set one dotted field of the raw mapping to a YAML value."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"--set {override!r}: expected field=value, such as loop.batch_size=16")
    try:
        value = _parse(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML: {error}") from error
    *above, name = path.strip().split(".")
    for key in above:
        if not isinstance(content.get(key), dict):
            content[key] = {}
        content = content[key]
    content[name] = value


# What is wrong, in the words of a recipe


def _check_model_fields(fields: dict[str, Any]) -> None:
    """Refuse a field in `model` that TikTalkCorefConfig does not have (it would be kept and ignored)."""
    given_elsewhere = {"text_config": "initial.text_encoder", "vision_config": "initial.vision_encoder"}
    for name in fields:
        if name in given_elsewhere:
            raise RecipeError(f"model.{name} is set by {given_elsewhere[name]}")
        _require(name in config_fields(), f"unknown field model.{name}{closest(name, config_fields())}")


def config_fields() -> list[str]:
    """The names of TikTalkCorefConfig's fields, from its source: importing it takes as long as all of transformers."""
    source = Path(modeling.__path__[0]) / "configuration_tiktalkcoref.py"
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    initialiser = next(n for n in nodes if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return [argument.arg for argument in (*initialiser.args.args[1:], *initialiser.args.kwonlyargs)]


def _explain(message: str, content: dict) -> str:
    """msgspec's message, which tells type and place, with the value that was found and what to write instead."""
    message, _, place = message.partition(" - at `$")
    where = place.partition("[")[0].strip("`.")  # an item is told with its whole list
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        name = f"{where}.{unknown[1]}".lstrip(".")
        return f"unknown field {name}{closest(name, _field_names(Recipe))}"
    if message.startswith("Object missing required field"):
        return "no field `initial`: say where the weights start, such as initial: {text_encoder: FOLDER}"
    if not message.startswith(("Expected", "Invalid")) or not where:
        return message  # ours
    kind, value = _look_up(where, content)
    base = typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
    if typing.get_origin(base) is Literal:
        options = typing.get_args(base)
        return f"{where} is {value!r}: one of {', '.join(options)} expected{closest(value, options)}"
    if typing.get_origin(kind) is Annotated and (", got `" not in message or base not in (int, float)):
        shown = float(value) if base is float else value
        return f"{where} is {shown}: {'a number' if shown != shown else kind.__metadata__[0].description} expected"
    found = "missing" if value is None else f"{value!r} ({type(value).__name__})"
    names = {"float": "a number", "object": "a mapping of fields", "array": "a list"}
    expected = re.search(r"`(.*?)`", message)
    return f"{where} is {found}: {names.get(expected[1], expected[1]) if expected else message} expected"


def _look_up(where: str, content: Any) -> tuple[Any, Any]:
    """The declared type of a dotted field, and the value that the file holds there."""
    kind: Any = Recipe
    for name in where.split("."):
        kind = typing.get_type_hints(kind, include_extras=True)[name]
        content = content[name]
    return kind, content


def _field_names(kind: type, prefix: str = "") -> list[str]:
    names = []
    for name, below in typing.get_type_hints(kind).items():
        names += [f"{prefix}{name}"]
        names += (
            _field_names(below, f"{prefix}{name}.") if isinstance(below, type) and issubclass(below, Struct) else []
        )
    return names


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)
