"""Chinese-CLIP checkpoints of transformers as the towers of a TikTalkCoref model.

The text tower is a BERT without pooler; the vision tower is CLIP's ViT, which timm knows with a norm before the blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, ChineseCLIPModel, PretrainedConfig

from .configuration_tiktalkcoref import SettingsError
from .encoders_tiktalkcoref import image_settings, special_tokens

__all__ = ["read_checkpoint"]

ARCHITECTURE = "vit_base_patch16_clip_quickgelu_224"  # any size of it: model_args say which
NORMALISATION = ("image_mean", "image_std")


def read_checkpoint(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
            "architecture": ARCHITECTURE,
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
