"""The two towers: any `AutoModel` text encoder and any timm image model, built from a config or with their weights."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import timm
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin

from .configuration_tiktalkcoref import SettingsError

__all__ = [
    "build_text_encoder",
    "build_vision_encoder",
    "image_settings",
    "load_text_encoder",
    "pretrained_vision_config",
    "special_tokens",
    "vision_size",
]


def build_text_encoder(config: PretrainedConfig) -> PreTrainedModel:
    """A text encoder with random weights and without pooler, which nothing here reads."""
    encoder = AutoModel.from_config(config)
    if "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters:
        encoder.pooler = None
    return encoder


def build_vision_encoder(config: dict[str, Any], pretrained: bool = False) -> nn.Module:
    """A timm model without classifier: pictures [R, 3, H, W] -> features [R, F].

    Raises:
        ValueError: timm does not know the architecture, or it does not take `model_args`.
        OSError: Pretrained weights are wanted and cannot be had.
    """
    name = config["architecture"]
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
        hint = f" Names like it: {', '.join(near)}." if near else ""
        raise SettingsError(
            f"vision_config names the architecture {name!r}, which timm {timm.__version__} does not know.{hint} "
            "Correct the name (timm.list_models() shows all), or upgrade timm to a version that has it."
        )
    try:
        encoder = timm.create_model(name, pretrained=pretrained, num_classes=0, **config["model_args"])
    except (TypeError, AssertionError) as error:
        raise SettingsError(
            f"vision_config.model_args {config['model_args']} do not fit the timm architecture {name!r}: {error}"
        ) from error
    except Exception as error:
        if not pretrained:
            raise
        raise OSError(
            f"the pretrained weights of the timm model {name!r} cannot be had ({error}). Offline, download them first, "
            'or give vision as a dict {"architecture": ...}, which starts from random weights.'
        ) from error
    if (epsilon := config.get("layer_norm_eps")) is not None:
        for module in encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = epsilon
    return encoder


def vision_size(encoder: nn.Module) -> int:
    """F, the size of the features of a timm model."""
    size: Any = getattr(encoder, "head_hidden_size", None) or encoder.num_features
    return int(size)


def pretrained_vision_config(name: str) -> dict[str, Any]:
    """The vision config of a timm model as it was trained: its picture size and normalisation."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is None:
        return {"architecture": name}
    settings = {"architecture": name, "image_mean": list(known.mean), "image_std": list(known.std)}
    return {**settings, "image_size": known.input_size[-1]}


def special_tokens(name: str) -> dict[str, int]:
    """[CLS], [SEP] and [PAD] of the tokenizer beside a checkpoint; nothing where there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError):
        return {}
    names = ("cls_token_id", "sep_token_id", "pad_token_id")
    return {key: getattr(tokenizer, key) for key in names if getattr(tokenizer, key, None) is not None}


def image_settings(name: str) -> dict[str, Any]:
    """The image processor's settings beside a checkpoint; nothing where there are none."""
    try:
        return ImageProcessingMixin.get_image_processor_dict(name)[0]
    except (OSError, ValueError):
        return {}


def load_text_encoder(name: str) -> PreTrainedModel:
    """A pretrained text encoder in float32.

    Raises:
        OSError: The checkpoint cannot be had; the message names the offline way.
    """
    try:
        return AutoModel.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise OSError(
            f"the text encoder {name!r} cannot be loaded ({str(error).splitlines()[0]}). Give the path of a folder "
            "with a config.json and model.safetensors, or a Hub id that can be reached; offline, download it first "
            f"(`hf download {name}`)."
        ) from error
