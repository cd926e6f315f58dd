"""Starting from Chinese-CLIP: features and zero-shot ranks are transformers' own."""

import json

import pytest
import torch
from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPModel

from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DIALOGUE = {"sentences": ["红衣男孩认识刘大山吗", "他和蓝帽女孩在一起"], "speakers": ["A", "B"]}
CLUSTERS = [[[0, 3]], [[6, 8], [10, 10]], [[12, 15]]]
TEXTS = ["红衣男孩", "刘大山他", "蓝帽女孩"]


def write_checkpoint(folder, text: dict, vision: dict, projection_dim: int) -> ChineseCLIPModel:
    """A Chinese-CLIP checkpoint with random weights, and a tokenizer of the characters of the dialogue."""
    torch.manual_seed(0)
    vocabulary = SPECIALS + sorted(set("".join(DIALOGUE["sentences"])))
    config = ChineseCLIPConfig(
        text_config={"vocab_size": len(vocabulary), **text}, vision_config=vision, projection_dim=projection_dim
    )
    clip = ChineseCLIPModel(config).eval()
    for parameter in clip.parameters():  # biases and norms away from 0 and 1, so that a mix-up shows
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    clip.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    settings = {"image_processor_type": "ChineseCLIPImageProcessor", "image_mean": [0.4] * 3, "image_std": [0.3] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return clip


def check_against(clip: ChineseCLIPModel, folder, size: int) -> None:
    model = TikTalkCorefModel.from_chinese_clip(folder).eval()
    tokenizer = BertTokenizer.from_pretrained(folder)
    pixels = torch.randn(5, 3, size, size)
    texts = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted_text = clip.get_text_features(**texts).pooler_output
        wanted_image = clip.get_image_features(pixels).pooler_output
        text = model.get_text_features(texts["input_ids"], texts["attention_mask"])
        image = model.get_image_features(pixels)
        wanted = clip(**texts, pixel_values=pixels).logits_per_text
    assert (text - wanted_text).abs().max() < 1e-5
    assert (image - wanted_image).abs().max() < 1e-5

    processor = TikTalkCorefProcessor.from_config(model.config, tokenizer)
    batch = {**processor(DIALOGUE), "pixel_values": pixels, "region_dialogue": torch.zeros(5, dtype=torch.long)}
    scores = torch.tensor(model.predict(batch, clusters=[CLUSTERS])[0]["region_scores"])
    assert torch.equal(scores.argsort(descending=True), wanted.argsort(descending=True))
    ratios = scores.log() - scores.log()[:, :1]
    assert (ratios - (wanted - wanted[:, :1])).abs().max() < 1e-4


def test_tiny_checkpoint(tmp_path):
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    vision = {**text, "image_size": 32, "patch_size": 8}
    clip = write_checkpoint(tmp_path, text, vision, 24)
    check_against(clip, tmp_path, 32)
    model = TikTalkCorefModel.from_chinese_clip(tmp_path, dropout=0.1)
    assert model.config.vision_config["image_mean"] == [0.4] * 3
    assert (model.config.cls_token_id, model.config.sep_token_id) == (2, 3)
    assert model.config.dropout == 0.1


@pytest.mark.slow
def test_base_checkpoint(tmp_path):
    clip = write_checkpoint(tmp_path, {}, {"image_size": 224, "patch_size": 16}, 512)
    check_against(clip, tmp_path, 224)


def test_other_checkpoint_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="'bert': expected 'chinese_clip'; see from_encoders"):
        TikTalkCorefModel.from_chinese_clip(tmp_path)
