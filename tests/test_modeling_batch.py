"""The batch as one object; blanks at the edges of mentions; the type of numbers; several pictures of one region."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tiktalkcoref.modeling.batch_tiktalkcoref import DialogueBatch
from tiktalkcoref.modeling.inputs_tiktalkcoref import DialogueError
from tiktalkcoref.modeling.linking_tiktalkcoref import LinkingHead
from tiktalkcoref.modeling.mentions_tiktalkcoref import MentionHead

DIALOGUES = [
    {"sentences": ["我爱小明", "他好看吗"], "clusters": [[[2, 3], [4, 4]], [[0, 0]]]},
    {"sentences": ["这个男生是老师吗"], "title": "妈妈", "clusters": [[[0, 3]], [[5, 6]]]},
]


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    values = np.random.default_rng(seed).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)
    return [Image.fromarray(value) for value in values]


def with_pictures(links=((0, -1), (1, -1))) -> list[dict]:
    pairs = zip(DIALOGUES, links, strict=True)
    return [
        {**dialogue, "regions": pictures(3, seed), "links": list(link)} for seed, (dialogue, link) in enumerate(pairs)
    ]


# The object.


def test_the_batch_is_one_object_and_a_mapping(build_tiny):
    model, processor = build_tiny(vision=True)
    batch = processor(with_pictures(), labels=True)
    assert isinstance(batch, DialogueBatch)
    assert set(batch) == {*processor.model_input_names, "clusters", "links", "region_identities"} - {
        "picture_region",
        "soft_labels",
    }
    assert all(batch[name] is getattr(batch, name) for name in batch)
    assert "masked_input_ids" not in batch
    for name in ("masked_input_ids", "region_counts", "unknown"):
        with pytest.raises(KeyError):
            batch[name]
    assert batch.region_counts() == [3, 3]
    assert DialogueBatch.of(batch) is batch
    assert model.predict(dict(batch)) == model.predict(batch) == model.predict(pickle.loads(pickle.dumps(batch)))
    with pytest.raises(TypeError, match="unknown"):
        DialogueBatch.of({**batch, "unknown": 1})


def test_the_batch_moves_whole(build_tiny):
    _, processor = build_tiny(vision=True)
    batch = processor(with_pictures(), labels=True)
    moved = batch.to("meta")
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            assert moved[name].device.type == "meta"
            assert value.device.type == "cpu"
        else:
            assert moved[name] is value


# Mentions.


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000", "\u200d", "\u200b"])
def test_no_mention_starts_or_ends_with_a_blank(build_tiny, blank):
    model, processor = build_tiny(mention_threshold=0.01, max_mentions_per_character=100.0, max_mention_length=4)
    torch.nn.init.constant_(model.mention_head.start_score.bias, 5.0)
    torch.nn.init.constant_(model.mention_head.start_bias.bias, 5.0)  # every span is a mention
    torch.nn.init.constant_(
        model.mention_head.width_bias.weight[3], -2.0
    )  # of (1, 3) and (3, 6), which cross, the first
    sentence = f"{blank}我{blank}爱{blank}{blank}你"
    for text in (sentence, list(sentence)):
        found = model.predict(processor({"sentences": [text, f"{blank}{blank}"]}))[0]["clusters"]
        spans = {tuple(span) for cluster in found for span in cluster}
        assert {(1, 1), (1, 3), (3, 3), (6, 6)} <= spans
        assert {start for start, _ in spans} | {end for _, end in spans} == {1, 3, 6}


# Types and devices.


class NoFloat64(TorchDispatchMode):
    """What Apple's MPS does: a tensor of float64 cannot be had."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{function} gave float64")
        return result


def test_no_tensor_is_float64(build_tiny):
    model, processor = build_tiny(
        vision=True, mention_threshold=0.05, max_mentions_per_character=1.0, clustering_negatives=True
    )
    batch = processor(with_pictures(), labels=True)
    with NoFloat64():
        model.train()
        model(**batch).loss.backward()
        model.start_null(batch)
        found = model.predict(batch)
        model.predict(batch, clusters=batch.clusters)
    assert any(result["clusters"] for result in found)
    assert any(scores for result in found for scores in result["region_scores"])


def test_scores_of_far_spans_are_exact():
    """A sum over thousands of characters would lose digits in fp32; spans at the end score as at the beginning."""
    torch.manual_seed(0)
    head = MentionHead(8, 6, 7, 0.0).eval()
    torch.nn.init.constant_(head.inside_score.bias, 1000.0)
    states = torch.randn(1, 20_000, 8)
    states[0, -10:] = states[0, :10]
    index = torch.tensor([0, 0]), torch.tensor([0, 19_990]), torch.tensor([6, 19_996])
    _, scores = head.score_spans(states, *index)
    assert torch.equal(scores[0], scores[1])


# The linking head.


def saturated_head() -> LinkingHead:
    torch.manual_seed(0)
    return LinkingHead(8, 8, 16, 4.6052)  # Chinese-CLIP's own, a little above ln 100


def test_logits_are_fp32_under_autocast():
    head = saturated_head()
    queries, context, regions = torch.randn(5, 16), torch.randn(5, 16), torch.randn(40, 16)
    with torch.no_grad():
        head.null_cosine.fill_(0.123)
        logits, null = head(queries, context, regions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast, cast_null = head(queries, context, regions)
    assert cast.dtype == cast_null.dtype == torch.float32
    assert (cast - logits).abs().max() < 1e-3  # bf16 knows 64, 64.5, 65
    assert (cast_null - null).abs().max() < 0.02


def test_a_saturated_temperature_still_learns():
    head = saturated_head().train()
    optimizer = torch.optim.SGD([head.logit_scale], lr=0.1)
    queries, context = torch.randn(5, 16), torch.randn(5, 16)
    logits, _ = head(queries, context, queries)  # each its own
    assert logits.diagonal().max().item() == pytest.approx(100, abs=1e-3)
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2, 3, 4, 0])).backward()  # all wrong: cool down
    assert head.logit_scale.grad > 0
    optimizer.step()
    assert head.logit_scale < 4.6
    head.logit_scale.data.fill_(9.0)
    assert head.eval()(queries, context, queries)[0].max().item() == pytest.approx(100, abs=1e-3)
    assert head.logit_scale == 9.0  # an answer changes no weight


def test_the_scalars_are_a_group(build_tiny):
    model, _ = build_tiny(vision=True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scalars = [names[id(parameter)] for parameter in model.parameter_groups()["scalars"]]
    assert sorted(scalars) == [f"linking_head.{name}" for name in ("context_gate", "logit_scale", "null_cosine")]
    assert build_tiny()[0].parameter_groups()["scalars"] == []


def test_none_starts_among_the_regions(build_tiny):
    """Cosines are around 0.9, as pretrained towers may give: none was out of reach, and cost 90 a cluster."""
    model, processor = build_tiny(vision=True, logit_scale_init_value=4.6)
    head = model.linking_head
    batch = processor(with_pictures(), labels=True)
    with torch.no_grad():  # texts and pictures point one way
        for projection in (head.text_projection, head.visual_projection):
            projection.weight.copy_(torch.randn_like(projection.weight) * 1e-3)
        model.text_encoder.encoder.layer[-1].output.LayerNorm.bias.fill_(1.0)
        model.vision_encoder.norm.bias.fill_(1.0)
        for projection in (head.text_projection, head.visual_projection):
            projection.weight[0] = 1.0
    before = model.predict(batch, clusters=batch.clusters)
    assert max(score for result in before for score in result["null_scores"]) < 1e-6
    random = torch.get_rng_state()
    model.train().start_null(batch)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert head.null_cosine > 0.5
    after = model.predict(batch, clusters=batch.clusters)
    scores = [score for result in after for score in result["null_scores"]]
    assert 0.02 < min(scores) <= max(scores) < 0.98
    model.start_null(processor(DIALOGUES, labels=True))  # no pictures: nothing to take it from
    assert head.null_cosine > 0.5


# Several pictures of one region.


def test_pictures_of_one_region_are_averaged(build_tiny):
    model, processor = build_tiny(vision=True)
    a, b, c, d = pictures(4)
    dialogue = {**DIALOGUES[0], "regions": [[a, b, c], d], "links": [1, -1]}
    batch = processor([dialogue, {**DIALOGUES[1], "regions": [b]}])
    assert batch.pixel_values.shape[0] == 5
    assert batch.region_dialogue.tolist() == [0, 0, 1]
    assert batch.picture_region.tolist() == [0, 0, 0, 1, 2]
    with torch.no_grad():
        each = torch.nn.functional.normalize(model.get_image_features(batch.pixel_values), dim=-1)
        regions, owner = model._regions(batch)
        some, _ = model._regions(batch, [1])
    assert torch.allclose(regions[0], each[:3].mean(0), atol=1e-6)
    assert torch.allclose(regions[1:], each[3:], atol=1e-6)
    assert torch.allclose(some, each[4:], atol=1e-6)
    assert owner.tolist() == [0, 0, 1]
    clusters = [DIALOGUES[0]["clusters"], DIALOGUES[1]["clusters"]]
    found = model.predict(batch, clusters=clusters)
    assert [len(scores) for result in found for scores in result["region_scores"]] == [2, 2, 1, 1]
    same = {**dialogue, "regions": [[d, d], [a]]}
    plain = {**dialogue, "regions": [d, a]}
    one, other = (model.predict(processor(each), clusters=clusters[:1])[0]["region_scores"] for each in (same, plain))
    assert np.allclose(one, other, atol=1e-6)
    assert "picture_region" not in processor({**dialogue, "regions": [[a], d]})


def test_several_pictures_train(build_tiny):
    model, processor = build_tiny(vision=True)
    dialogues = with_pictures()
    single = model(**processor(dialogues, labels=True)).loss_linking
    doubled = [
        {**dialogue, "regions": [[picture, picture] for picture in dialogue["regions"]]} for dialogue in dialogues
    ]
    doubled[0]["links"] = [-1, -1]  # not looked at
    loss = model(**processor(doubled, labels=True)).loss_linking
    dialogues[0]["links"] = [-1, -1]
    assert torch.allclose(loss, model(**processor(dialogues, labels=True)).loss_linking, atol=1e-5)
    assert not torch.allclose(loss, single)
    loss.backward()


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ([], r"^dialogue: regions\[0\]: found an empty list, expected a picture, or a list of at least one\.$"),
        ([Image.new("RGB", (4, 4)), "gone.png"], r"^dialogue: regions\[0\]\[1\]: no such file: 'gone.png'\.$"),
    ],
)
def test_wrong_lists_of_pictures(build_tiny, region, message):
    _, processor = build_tiny(vision=True)
    with pytest.raises(DialogueError, match=message):
        processor({"sentences": ["我"], "regions": [region]})
