"""Recipes: everything a training run depends on, typed, and checked before anything is loaded.

A recipe is a YAML file: one of the packaged ones by name (`sample`, `text-small`, ...) or any file by path. Fields that
it leaves out take the defaults below; `--set loop.batch_size=16` overrides any of them.
"""

import contextlib
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tiktalkcoref.evaluation.dialogues import CONFIGS, SPLITS, DatasetError, parse_fold
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.hints import closest

PACKAGED = Path(__file__).parent / "recipes"


class RecipeError(UserError):
    """A recipe that cannot be run: names the recipe, the field, what was found and what was expected."""


@dataclass(frozen=True)
class Initial:
    """Where the weights start: from encoders (pretrained or from scratch), a Chinese-CLIP, or one of our own models."""

    text_encoder: str | dict[str, Any] | None = None  # folder, Hub name, or the fields of a BertConfig (from scratch)
    vision_encoder: str | dict[str, Any] | None = (
        None  # timm name (pretrained), or architecture + model_args; none: text only
    )
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


@dataclass(frozen=True)
class Optimizer:
    """AdamW with one learning rate for the heads and one for each encoder."""

    learning_rate: float = 3e-4  # heads
    text_learning_rate: float = 2e-5
    vision_learning_rate: float = 2e-5
    layer_decay: float = 1.0  # an encoder layer learns at this fraction of the rate of the layer above it
    weight_decay: float = 0.01  # not on biases and norms
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    epsilon: float = 1e-8
    warmup: float = 0.1  # fraction of all steps
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: float = 1.0  # 0: no clipping

    def __post_init__(self) -> None:
        for name in ("learning_rate", "text_learning_rate", "vision_learning_rate", "weight_decay", "max_grad_norm"):
            _require(getattr(self, name) >= 0, f"optimizer.{name} is {getattr(self, name)}: 0 or more expected")
        _require(0 < self.layer_decay <= 1, f"optimizer.layer_decay is {self.layer_decay}: expected in (0, 1]")
        _require(0 <= self.warmup < 1, f"optimizer.warmup is {self.warmup}: a fraction of the run, in [0, 1), expected")
        _require(self.epsilon > 0, f"optimizer.epsilon is {self.epsilon}: expected above 0")
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"optimizer.betas is {self.betas}: two numbers in [0, 1) expected",
        )


@dataclass(frozen=True)
class Loop:
    """How long, in what batches, and what is kept on the way."""

    epochs: int = 10
    max_steps: int = 0  # stop after so many optimiser steps; 0: after `epochs`
    batch_size: int = 8  # dialogues in one forward pass of one process
    gradient_accumulation: int = 1  # forward passes of one optimiser step
    evaluation_batch_size: int = 32
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    length_grouped: bool = True  # batches of dialogues of similar length: less padding
    hide_characters: float = 0.0  # share of a training dialogue's characters that the text encoder does not see
    ema_decay: float = 0.0  # the moving average of the weights that is evaluated and saved; 0: none
    evaluate_every: int = 1  # epochs
    patience: int = 0  # evaluations without a better score before stopping; 0: never
    select_on: list[str] = field(default_factory=lambda: ["conll_f1", "linking_recall_at_1"])  # mean of those there are
    checkpoint_every: int = 0  # optimiser steps between checkpoints; 0: one at each evaluation
    keep_checkpoints: int = 2
    workers: int = 0  # processes that tokenise and resize ahead
    log_every: int = 10  # optimiser steps
    trackers: list[str] = field(default_factory=list)  # accelerate's names: tensorboard, wandb, trackio, ...

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation", "evaluation_batch_size", "evaluate_every"):
            _require(getattr(self, name) >= 1, f"loop.{name} is {getattr(self, name)}: 1 or more expected")
        for name in ("keep_checkpoints", "log_every"):
            _require(getattr(self, name) >= 1, f"loop.{name} is {getattr(self, name)}: 1 or more expected")
        for name in ("max_steps", "patience", "checkpoint_every", "workers"):
            _require(getattr(self, name) >= 0, f"loop.{name} is {getattr(self, name)}: 0 or more expected")
        _require(0 <= self.hide_characters < 1, f"loop.hide_characters is {self.hide_characters}: expected in [0, 1)")
        _require(0 <= self.ema_decay < 1, f"loop.ema_decay is {self.ema_decay}: expected in [0, 1)")
        _require(bool(self.select_on), "loop.select_on is empty: name at least one score, such as conll_f1")


@dataclass(frozen=True)
class Recipe:
    """One training run. `model` holds fields of TikTalkCorefConfig (use_title, linking_weight, ...)."""

    initial: Initial
    name: str = ""
    description: str = ""
    seed: int = 0
    dataset: str = "sample"  # "sample", a prepared folder, a folder with upstream's files, or a Hub id
    train_config: Literal["all", "celeb", "no_celeb"] = "all"
    eval_config: Literal["all", "celeb", "no_celeb"] = "all"  # whose validation split selects the best model
    final_evaluations: list[str] = field(default_factory=list)  # e.g. celeb/test: the best model's scores, at the end
    fold: str | None = None  # "2/5": cross-validation over all splits together; the second of five parts is the test
    linking: bool | None = None  # learn from pictures; none: if there is a vision encoder and there are pictures
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loop: Loop = field(default_factory=Loop)

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, f"seed is {self.seed}: expected in [0, 2^32)")
        _require(bool(self.dataset), "dataset is empty: name a folder, a Hub id, or `sample`")
        for place in self.final_evaluations:
            config, _, split = place.partition("/")
            _require(
                config in CONFIGS and split in SPLITS,
                f"final_evaluations holds {place!r}: config/split expected, such as celeb/test "
                f"(configs {', '.join(CONFIGS)}; splits {', '.join(SPLITS)})",
            )
        if self.fold is not None:
            try:
                parse_fold(self.fold)
            except DatasetError as error:
                raise RecipeError(str(error)) from None
        has_vision = bool(self.initial.vision_encoder or self.initial.chinese_clip or self.initial.checkpoint)
        _require(
            has_vision or self.linking is not True,
            "linking is true but there is no vision encoder: set initial.vision_encoder or initial.chinese_clip",
        )


def load_recipe(recipe: str | Path, overrides: typing.Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe by name, or a file by path, apply `field.subfield=value` overrides, and check it all.

    Raises:
        RecipeError: no such recipe; an unknown field; a value of the wrong type or out of range.
    """
    path = find_recipe(recipe)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds {type(content).__name__}, not a mapping of recipe fields")
    for override in overrides:
        _apply(content, override)
    content.setdefault("name", path.stem)
    try:
        return _convert(content, Recipe, "")
    except RecipeError as error:
        raise RecipeError(f"recipe {recipe}: {error}") from None


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
    path.write_text(yaml.safe_dump(asdict(recipe), allow_unicode=True, sort_keys=False), encoding="utf-8")


def flatten(recipe: Recipe) -> dict[str, Any]:
    """The recipe as one level of dotted fields, as `--set` names them (free-form mappings stay whole)."""
    flat: dict[str, Any] = {}
    for name, value in asdict(recipe).items():
        if isinstance(value, dict) and name != "model":
            flat |= {f"{name}.{key}": below for key, below in value.items()}
        else:
            flat[name] = value
    return flat


def _apply(content: dict, override: str) -> None:
    """Set one dotted field of the raw mapping to a YAML value."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"--set {override!r}: expected field=value, such as loop.batch_size=16")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML: {error}") from error
    *above, name = path.strip().split(".")
    for key in above:
        if not isinstance(content.get(key), dict):
            content[key] = {}
        content = content[key]
    content[name] = value


def _convert(value: Any, kind: Any, where: str) -> Any:
    """`value` as `kind` (a dataclass, a Literal, a union, list[...], dict[...], or a plain type), or a RecipeError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _convert_dataclass(value, kind, where)
    if origin is Literal:
        # YAML 1.1 reads `no` as false
        value = "no" if value is False and "no" in arguments else value
        options = ", ".join(map(str, arguments))
        _require(value in arguments, f"{where} is {value!r}: one of {options} expected{closest(value, arguments)}")
        return value
    if origin in (types.UnionType, typing.Union):
        for option in arguments:
            try:
                return _convert(value, option, where)
            except RecipeError:
                continue
        expected = " or ".join(getattr(option, "__name__", str(option)) for option in arguments)
        raise RecipeError(f"{where} is {value!r} ({type(value).__name__}): {expected} expected")
    if origin is list:
        _require(isinstance(value, list | tuple), f"{where} is {value!r} ({type(value).__name__}): a list expected")
        return [_convert(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value)]
    if kind is float:
        # YAML 1.1 reads 2e-5 as a string
        if isinstance(value, int | str) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                value = float(value)
        _require(isinstance(value, float) and value == value, f"{where} is {value!r}: a number expected")
        return value
    expected_type = dict if origin is dict else kind
    is_bool_as_int = kind is int and isinstance(value, bool)
    _require(
        isinstance(value, expected_type) and not is_bool_as_int,
        f"{where} is {value!r} ({type(value).__name__}): {expected_type.__name__} expected",
    )
    return value


def _convert_dataclass(value: Any, kind: type, where: str) -> Any:
    _require(isinstance(value, dict), f"{where} is {value!r} ({type(value).__name__}): a mapping of fields expected")
    kinds = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in kinds:
            raise RecipeError(f"unknown field {prefix}{name}{closest(f'{prefix}{name}', _field_names(Recipe))}")
    missing = [f.name for f in fields(kind) if f.name == "initial" and f.name not in value]
    _require(not missing, "no field `initial`: say where the weights start, such as initial: {text_encoder: FOLDER}")
    return kind(**{name: _convert(item, kinds[name], f"{prefix}{name}") for name, item in value.items()})


def _field_names(kind: type, prefix: str = "") -> list[str]:
    names = []
    for name, below in typing.get_type_hints(kind).items():
        names += [f"{prefix}{name}"]
        names += _field_names(below, f"{prefix}{name}.") if is_dataclass(below) else []
    return names


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)
