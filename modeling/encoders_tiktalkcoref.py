"""The two towers: any `AutoModel` text encoder and any timm image model, built from a config or with their weights.

Or both of a Chinese-CLIP checkpoint of transformers: its text tower is a BERT without pooler, its vision tower is
CLIP's ViT, which timm knows with a norm before the blocks.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import timm
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, ChineseCLIPModel, PretrainedConfig, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin

from .configuration_tiktalkcoref import SettingsError

CLIP_ARCHITECTURE = "vit_base_patch16_clip_quickgelu_224"  # any size of it: model_args say which
NORMALISATION = ("image_mean", "image_std")


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


def read_chinese_clip(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The fields of a TikTalkCorefConfig that say what the checkpoint's say, and its weights under our names.

    Raises:
        OSError: The checkpoint cannot be had. ValueError: it is no Chinese-CLIP checkpoint.
    """
    found = PretrainedConfig.get_config_dict(name)[0].get("model_type")
    if found != "chinese_clip":
        raise SettingsError(f"{name} holds a model of type {found!r}: expected 'chinese_clip'; see from_encoders.")
    clip = ChineseCLIPModel.from_pretrained(name, dtype=torch.float32)
    return {**_convert_config(clip.config, image_settings(name)), **special_tokens(name)}, _convert_weights(clip)


def _convert_config(config: Any, preprocessor: dict[str, Any]) -> dict[str, Any]:
    """A ChineseCLIPConfig (whose parts transformers does not type) as fields of a TikTalkCorefConfig."""
    text, vision = config.text_config.to_dict(), config.vision_config
    text = {name: value for name, value in text.items() if name not in ("model_type", "architectures", "dtype")}
    return {
        "text_config": BertConfig(**text),
        "vision_config": {
            "architecture": CLIP_ARCHITECTURE,
            "model_args": {
                "img_size": vision.image_size,
                "patch_size": vision.patch_size,
                "in_chans": vision.num_channels,
                "embed_dim": vision.hidden_size,
                "depth": vision.num_hidden_layers,
                "num_heads": vision.num_attention_heads,
                "mlp_ratio": vision.intermediate_size / vision.hidden_size,
                "act_layer": vision.hidden_act,
            },
            "layer_norm_eps": vision.layer_norm_eps,
            "image_size": vision.image_size,
            **{name: preprocessor[name] for name in NORMALISATION if name in preprocessor},
        },
        "projection_dim": config.projection_dim,
        "logit_scale_init_value": config.logit_scale_init_value,
    }


def _convert_weights(clip: ChineseCLIPModel) -> dict[str, Tensor]:
    """The checkpoint's weights under the names of TikTalkCorefModel."""
    weights = {f"text_encoder.{name}": value for name, value in clip.text_model.state_dict().items()}
    weights |= {f"vision_encoder.{name}": value for name, value in _vision_weights(clip).items()}
    weights["linking_head.text_projection.weight"] = clip.text_projection.weight.detach()
    weights["linking_head.visual_projection.weight"] = clip.visual_projection.weight.detach()
    weights["linking_head.logit_scale"] = clip.logit_scale.detach()
    return weights


def _vision_weights(clip: ChineseCLIPModel) -> dict[str, Tensor]:
    tower = clip.vision_model
    weights = {
        "cls_token": tower.embeddings.class_embedding[None, None],
        "pos_embed": tower.embeddings.position_embedding.weight[None],
        "patch_embed.proj.weight": tower.embeddings.patch_embedding.weight,
    }
    for name, norm in (("norm_pre", tower.pre_layrnorm), ("norm", tower.post_layernorm)):
        weights |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    for number, layer in enumerate(tower.encoder.layers):
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)  # one matrix in timm
        weights[f"blocks.{number}.attn.qkv.weight"] = torch.cat([part.weight for part in parts])
        weights[f"blocks.{number}.attn.qkv.bias"] = torch.cat([part.bias for part in parts])
        for name, module in (
            ("norm1", layer.layer_norm1),
            ("attn.proj", attention.out_proj),
            ("norm2", layer.layer_norm2),
            ("mlp.fc1", layer.mlp.fc1),
            ("mlp.fc2", layer.mlp.fc2),
        ):
            weights[f"blocks.{number}.{name}.weight"] = module.weight
            weights[f"blocks.{number}.{name}.bias"] = module.bias
    return {name: value.detach() for name, value in weights.items()}
