"""The whole model, from scratch, learns sixteen sample dialogues by heart: text and pictures."""

import pytest
import torch

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation.dialogues import to_dialogue
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor
from tiktalkcoref.sample import write_sample
from tiktalkcoref.training.building import character_tokenizer

TEXT = {
    "model_type": "bert",
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 256,
}
VISION = {
    "architecture": "vit_tiny_patch16_224",
    "model_args": {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4},
    "image_size": 32,
}


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory) -> list[dict]:
    folder = write_sample(tmp_path_factory.mktemp("sample"), dialogues=24)
    rows = read_corpus(find_files(folder), frames_dir=folder / "frames", regions_dir=folder / "faces_all")
    return [to_dialogue(row) for row in rows][:16]


@pytest.mark.slow
def test_overfits_sixteen_dialogues(dialogues):
    torch.manual_seed(0)
    tokenizer = character_tokenizer(dialogues)
    specials = {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "pad_token_id")}
    model = TikTalkCorefModel.from_encoders(
        {**TEXT, "vocab_size": len(tokenizer)},
        VISION,
        window_size=256,
        window_stride=128,
        projection_dim=64,
        dropout=0.0,
        **specials,
    )
    processor = TikTalkCorefProcessor.from_config(model.config, tokenizer)
    batch = processor(dialogues, labels=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(1, 301):
        model.train()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            scores = evaluate(model, batch)
            if scores["conll_f1"] == scores["linking_recall_at_1"] == 1 and loss < 0.05:
                break
    assert scores["conll_f1"] == 1
    assert scores["linking_n"] > 16
    assert scores["linking_recall_at_1"] == 1


def evaluate(model: TikTalkCorefModel, batch: dict) -> dict:
    """Predicted clusters against the gold ones, and the regions ranked for the gold clusters."""
    references = [
        {"clusters": clusters, "links": links or [-1] * len(clusters)}
        for clusters, links in zip(batch["clusters"], batch["links"], strict=True)
    ]
    found = model.predict(batch)
    linked = model.predict(batch, clusters=batch["clusters"])
    predictions = [
        {
            "clusters": text["clusters"],
            "rankings": [
                sorted(range(len(scores)), key=lambda r, s=scores: -s[r]) for scores in links["region_scores"]
            ],
        }
        for text, links in zip(found, linked, strict=True)
    ]
    return score(predictions, references)
