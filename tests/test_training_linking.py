"""Names and faces: what was seen together in training is linked, what was not is not linked above chance."""

import random

import pytest
import torch
from PIL import Image

from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor
from tiktalkcoref.training.building import character_tokenizer
from tiktalkcoref.training.optimization import build_optimizer
from tiktalkcoref.training.recipe import Optimizer

from .training_runs import HEADS, TEXT, TOWER

KNOWN, UNKNOWN = 12, 60
SURNAMES, GIVEN = "赵钱孙李周吴郑王", "安北春丹恩方刚海"
OTHERS = "冯陈褚卫蒋沈韩杨朱秦", "江军凯岚敏宁鹏倩瑞松"  # no character of a name in training


@pytest.fixture(scope="module")
def people():
    """A made face for each name: four squares of colours."""
    generator = random.Random(0)
    known = generator.sample([a + b for a in SURNAMES for b in GIVEN], KNOWN)
    unknown = generator.sample([a + b for a in OTHERS[0] for b in OTHERS[1]], UNKNOWN)
    return [{name: face(generator) for name in names} for names in (known, unknown)]


def face(generator: random.Random) -> Image.Image:
    """Four squares, each of a colour of its own."""
    picture = Image.new("RGB", (16, 16))
    for corner in ((0, 0), (8, 0), (0, 8), (8, 8)):
        picture.paste(tuple(generator.choice((0, 255)) for _ in range(3)), (*corner, corner[0] + 8, corner[1] + 8))
    return picture


def dialogues(faces: dict[str, Image.Image], count: int, seed: int) -> list[dict]:
    """One of two persons in the picture is named, the other stands before or behind."""
    generator = random.Random(seed)
    made = []
    for _ in range(count):
        name, other = generator.sample(sorted(faces), 2)
        pair = generator.sample([name, other], 2)
        regions = [faces[person] for person in pair]
        clusters, links = [[[0, len(name) - 1]]], [pair.index(name)]
        made.append({"sentences": [f"{name}好看"], "clusters": clusters, "regions": regions, "links": links})
    return made


def recall(model, processor, asked: list[dict]) -> float:
    """How often the named person's region is the best of the two."""
    found = model.predict(processor(asked), clusters=[dialogue["clusters"] for dialogue in asked])
    scores = [result["region_scores"][0] for result in found]
    return sum(
        row[link] > row[1 - link] for row, link in zip(scores, (d["links"][0] for d in asked), strict=True)
    ) / len(asked)


def test_a_name_and_a_face_seen_in_training_link_and_unseen_ones_do_not_above_chance(people):
    known, unknown = people
    tokenizer = character_tokenizer([])
    text = {**TEXT, "model_type": "bert", "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad")}
    torch.manual_seed(0)
    model = TikTalkCorefModel.from_encoders(text, TOWER, window_size=64, window_stride=32, dropout=0.0, **ids, **HEADS)
    processor = TikTalkCorefProcessor.from_config(model.config, tokenizer)
    seen, unseen = dialogues(known, 200, seed=1), dialogues(unknown, 300, seed=2)
    assert recall(model, processor, seen) < 0.65
    optimizer = build_optimizer(
        model, Optimizer(learning_rate=3e-3, text_learning_rate=3e-3, vision_learning_rate=3e-3)
    )
    model.train()
    for step in range(120):
        model(**processor(dialogues(known, 32, seed=100 + step), labels=True)).loss_linking.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    assert recall(model, processor, seen) > 0.95
    assert 0.35 < recall(model, processor, unseen) < 0.65
