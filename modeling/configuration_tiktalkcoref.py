"""Configuration of TikTalkCoref: a Chinese text encoder, an optional timm vision encoder and three heads.

Everything the model needs to be built is here, so that `from_pretrained` never asks for a second model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VISION_DEFAULTS = {
    "model_args": {},
    "image_size": 224,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
LARGEST = 10_000_000  # of any whole number: more is damage, or would not fit into any memory
LARGEST_COUNT = 1_000  # of layers, heads and labels, which are built one by one
MOST_PIXELS = 4096  # on a side
COUNTS = ("layer", "depth", "heads", "labels", "experts")  # what the names of such numbers hold
CHOICES = {
    "end_starts": ("gold", "predicted", "all"),
    "clustering_loss": ("bce", "marginal"),
    "linking_negatives": ("batch", "video"),
}


class SettingsError(ValueError):
    """A field of a configuration, processor or checkpoint that is wrong: what was found, and what was expected."""

    for_user = True  # not an error of the program: see tiktalkcoref.files.errors


class TikTalkCorefConfig(PretrainedConfig):
    """All sizes, thresholds, loss weights and switches of [`TikTalkCorefModel`]; checked at construction.

    Args:
        text_config: Config (or its dict, with `model_type`) of any `AutoModel` text encoder. None: BERT's defaults.
        vision_config: `{"architecture": timm name, "model_args": {...}, "image_size": 224, "image_mean": [...],
            "image_std": [...]}`, optionally `"layer_norm_eps"` (set on every LayerNorm of the tower). None: text only.
        projection_dim: Size of the space that cluster and region embeddings share.
        mention_hidden_size: Size of the start and end representations of the mention head.
        pair_hidden_size: Size of a mention in the clustering head.
        dropout: Dropout inside the heads.
        max_mention_length: Longest mention that can be found, in characters.
        mention_threshold: Probability, of start and end together, above which a span is a mention.
        max_mentions_per_character: At most this many mentions a character of a dialogue are kept, the best first, so
            that an untrained model cannot fill the memory with a long dialogue.
        antecedent_top_k: Antecedents kept by the coarse bilinear scorer for each mention.
        antecedent_threshold: Probability above which the best antecedent is taken.
        start_weight, end_weight, clustering_weight, linking_weight: Weights of the four losses in their sum.
        end_starts: Which starts the end loss sees: "gold" ones; "predicted", the gold ones and those the model would
            follow now; or "all".
        clustering_loss: "bce" over mention pairs, or "marginal" log-likelihood of the gold antecedents.
        clustering_negatives: Also train the clustering head on wrongly predicted mentions, which corefer with nothing.
        linking_negatives: "batch": regions of other videos in the batch are negatives too; "video": those of the same
            video alone (then every loss is a mean over dialogues, and gradient accumulation is exact).
        use_title: Read the video's title before the dialogue, as context.
        query_title: Append the title to the query text of a cluster. Needs `use_title`.
        max_query_length: Longest query text, in tokens with the two specials.
        query_separator_ids: Token ids between two mentions of a query.
        window_size, window_stride: Tokens in a window, and tokens from the start of one window to that of the next.
        max_title_length: Longest title, in tokens.
        max_speakers: Rows of the speaker embedding; further speakers share them in turn.
        cls_token_id, sep_token_id, pad_token_id: Of the tokenizer; the query text is built with them.
        logit_scale_init_value: Initial logarithm of the inverse temperature (CLIP's ln 1/0.07).
        initializer_range: Standard deviation of fresh weights.

    Raises:
        ValueError: A value that no model can be built from; the message names the field and what is expected.
    """

    model_type = "tiktalkcoref"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 (transformers' own name and form)

    def __init__(
        self,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        vision_config: dict[str, Any] | None = None,
        projection_dim: int = 512,
        mention_hidden_size: int = 256,
        pair_hidden_size: int = 256,
        dropout: float = 0.2,
        max_mention_length: int = 32,
        mention_threshold: float = 0.5,
        max_mentions_per_character: float = 0.5,
        antecedent_top_k: int = 50,
        antecedent_threshold: float = 0.5,
        start_weight: float = 1.0,
        end_weight: float = 1.0,
        clustering_weight: float = 1.0,
        linking_weight: float = 1.0,
        end_starts: str = "predicted",
        clustering_loss: str = "bce",
        clustering_negatives: bool = False,
        linking_negatives: str = "batch",
        use_title: bool = False,
        query_title: bool = False,
        max_query_length: int = 52,
        query_separator_ids: list[int] | None = None,
        window_size: int = 512,
        window_stride: int = 256,
        max_title_length: int = 64,
        max_speakers: int = 8,
        cls_token_id: int | None = None,
        sep_token_id: int | None = None,
        pad_token_id: int | None = None,
        logit_scale_init_value: float = 2.6592,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        for name, given in (("text_config", text_config), ("vision_config", vision_config), ("config", kwargs)):
            if isinstance(given, dict):
                _check_sizes(given, name)
        self.text_config = _text_config(text_config)
        self.vision_config = _vision_config(vision_config)
        self.projection_dim = projection_dim
        self.mention_hidden_size = mention_hidden_size
        self.pair_hidden_size = pair_hidden_size
        self.dropout = dropout
        self.max_mention_length = max_mention_length
        self.mention_threshold = mention_threshold
        self.max_mentions_per_character = max_mentions_per_character
        self.antecedent_top_k = antecedent_top_k
        self.antecedent_threshold = antecedent_threshold
        self.start_weight = start_weight
        self.end_weight = end_weight
        self.clustering_weight = clustering_weight
        self.linking_weight = linking_weight
        self.end_starts = end_starts
        self.clustering_loss = clustering_loss
        self.clustering_negatives = clustering_negatives
        self.linking_negatives = linking_negatives
        self.use_title = use_title
        self.query_title = query_title
        self.max_query_length = max_query_length
        self.query_separator_ids = list(query_separator_ids or [])
        self.window_size = window_size
        self.window_stride = window_stride
        self.max_title_length = max_title_length
        self.max_speakers = max_speakers
        self.logit_scale_init_value = logit_scale_init_value
        self.initializer_range = initializer_range
        if pad_token_id is None:
            pad_token_id = getattr(self.text_config, "pad_token_id", None)
        super().__init__(**kwargs)
        self.cls_token_id = cls_token_id
        self.sep_token_id = sep_token_id
        self.pad_token_id = pad_token_id
        self._check()

    def _check(self) -> None:
        def require(names: str, is_valid: Callable[[Any], bool], expected: str) -> None:
            for name in names.split():
                value = getattr(self, name)
                try:
                    valid = is_valid(value)
                except TypeError:
                    valid = False
                if not valid:
                    raise SettingsError(f"{name} is {value!r}: expected {expected}.")

        def whole(least: int, most: int = LARGEST) -> Callable[[Any], bool]:
            return lambda value: _is_integer(value) and least <= value <= most

        sizes = "projection_dim mention_hidden_size pair_hidden_size max_mention_length antecedent_top_k"
        weights = "start_weight end_weight clustering_weight linking_weight"
        tokens = "cls_token_id sep_token_id pad_token_id"
        require(f"{sizes} max_title_length max_speakers", whole(1), "a whole number of at least 1")
        probability = "a probability between 0 and 1, both excluded"
        require("mention_threshold antecedent_threshold", lambda value: 0 < value < 1, probability)
        require("dropout", lambda value: 0 <= value < 1, "at least 0 and below 1")
        require(
            f"{weights} initializer_range", lambda value: 0 <= value < float("inf"), "a finite number of at least 0"
        )
        require("max_mentions_per_character", lambda value: value > 0, "above 0")
        require("max_query_length", whole(3), "at least 3 tokens")
        require("logit_scale_init_value", lambda value: abs(value) < float("inf"), "a finite number")
        require(tokens, lambda value: value is None or (_is_integer(value) and value >= 0), "a token id or None")
        for name, choices in CHOICES.items():
            require(name, choices.__contains__, f"one of {', '.join(choices)}")
        require("window_size", whole(8), "at least 8 tokens")
        stride = f"at least 1 and below window_size ({self.window_size})"
        require("window_stride", whole(1, self.window_size - 1), stride)
        longest = getattr(self.text_config, "max_position_embeddings", None)
        if longest and longest > 0 and self.window_size > longest:
            raise SettingsError(
                f"window_size is {self.window_size}, but the text encoder ({self.text_config.model_type}) reads at "
                f"most {longest} tokens: set window_size to {longest} or less."
            )
        if self.query_title and not self.use_title:
            raise SettingsError(
                "query_title is true but use_title is false: the title is not in the input; set use_title."
            )


def _text_config(value: PretrainedConfig | dict[str, Any] | None) -> PretrainedConfig:
    if isinstance(value, PretrainedConfig):
        return value
    if value is not None and not isinstance(value, dict):
        raise SettingsError(f"text_config is {value!r}: expected a config object or its dict.")
    value = dict(value or {})
    model_type = value.pop("model_type", "bert")
    if model_type not in CONFIG_MAPPING:
        import transformers

        raise SettingsError(
            f"text_config names the model type {model_type!r}, which transformers {transformers.__version__} does not "
            "know: correct the name, or upgrade transformers to a version that has it."
        )
    try:
        return AutoConfig.for_model(model_type, **value)
    except Exception as error:  # each architecture has checks of its own
        raise SettingsError(f"text_config does not describe a {model_type}: {' '.join(str(error).split())}") from error


def _vision_config(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("architecture"), str):
        raise SettingsError(
            f"vision_config is {value!r}: expected a dict with at least `architecture`, the name of a timm model, "
            "or None for a text-only model."
        )
    unknown = set(value) - {"architecture", "layer_norm_eps", *VISION_DEFAULTS}
    if unknown:
        raise SettingsError(
            f"vision_config has unknown fields {sorted(unknown)}: expected architecture, layer_norm_eps and "
            f"{', '.join(VISION_DEFAULTS)}; arguments of the timm model belong into model_args."
        )
    result = {**VISION_DEFAULTS, **value}
    if not _is_integer(result["image_size"]) or not 1 <= result["image_size"] <= MOST_PIXELS:
        raise SettingsError(
            f"vision_config.image_size is {result['image_size']!r}: expected a whole number of pixels, at most "
            f"{MOST_PIXELS}."
        )
    for name in ("image_mean", "image_std"):
        check_channels(f"vision_config.{name}", result[name])
    if not isinstance(result["model_args"], dict):
        raise SettingsError(f"vision_config.model_args is {result['model_args']!r}: expected a dict.")
    return result


def _check_sizes(values: dict[str, Any], where: str) -> None:
    """Refuse numbers that no model has, before anything is built of that size."""
    for name, value in values.items():
        if isinstance(value, dict):
            _check_sizes(value, f"{where}.{name}")
        elif isinstance(value, int | float) and not abs(value) < float("inf"):
            raise SettingsError(f"{where}.{name} is {value!r}: expected a finite number.")
        elif _is_integer(value):
            counts = isinstance(name, str) and any(part in name for part in COUNTS)
            largest = LARGEST_COUNT if counts else LARGEST
            least = 0 if counts or str(name).endswith("_size") else -LARGEST
            if not least <= value <= largest:
                raise SettingsError(
                    f"{where}.{name} is {value:,}: expected at least {max(least, 0)} and at most {largest:,}."
                )


def check_channels(name: str, values: Any) -> None:
    """Raise SettingsError where `values` are not three finite numbers; a standard deviation (`..._std`) is not 0."""
    three = isinstance(values, list | tuple) and len(values) == 3
    if not three or not all(map(_is_finite, values)) or (name.endswith("_std") and 0 in values):
        raise SettingsError(f"{name} is {values!r}: expected three numbers, one a colour channel.")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
