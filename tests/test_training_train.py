"""The loop: what a run leaves behind, what is refused before the first step, weighting, learning rates, averages."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tiktalkcoref.evaluation.dialogues import DatasetError, load_dialogues
from tiktalkcoref.evaluation.predictions import evaluate_model
from tiktalkcoref.training import loop
from tiktalkcoref.training.building import BackboneError, build, character_tokenizer
from tiktalkcoref.training.optimization import averaged, build_average, build_optimizer, build_schedule, layer_depths
from tiktalkcoref.training.recipe import Optimizer, RecipeError, load_recipe
from tiktalkcoref.training.train import OutputError, train

from .training_runs import WITHOUT_DROPOUT, launch, tiny_recipe, weights, write_recipe

DIALOGUE = {
    "doc_key": "1",
    "sentences": [["戴", "帽", "子", "的"], ["她", "鿫"]],
    "title": "标题#a",
    "clusters": [[[4, 4]]],
}


@pytest.fixture(scope="module")
def run(sample_corpus, tmp_path_factory):
    """A finished run over pictures, with a tracker."""
    folder = tmp_path_factory.mktemp("run")
    overrides = ("final_evaluations=[celeb/test, all/test]", "loop.trackers=[tensorboard]")
    summary = train(tiny_recipe(folder, sample_corpus, *overrides, vision=True), folder / "out", quiet=True)
    return folder / "out", summary


def test_a_run_leaves_model_checkpoints_log_recipe_and_summary(run):
    output, summary = run
    assert {path.name for path in output.iterdir()} >= {
        "model",
        "checkpoints",
        "log.jsonl",
        "recipe.yaml",
        "summary.json",
    }
    assert json.loads((output / "summary.json").read_text(encoding="utf-8")) == summary
    assert summary["steps"] == 4
    assert summary["epochs"] == 2
    assert 1 <= summary["best_epoch"] <= 2
    assert summary["validation"]["linking_n"] > 0
    assert set(summary["final"]) == {"celeb/test", "all/test"}
    assert summary["peak_memory_bytes"] > 10_000_000
    assert summary["wall_seconds"] > 0
    log = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in log if line["event"] == "step"] == [1, 2, 3, 4]
    assert [line["epoch"] for line in log if line["event"] == "evaluation"] == [1, 2]
    assert log[0]["loss"] == pytest.approx(
        log[0]["loss_start"] + log[0]["loss_end"] + log[0]["loss_clustering"] + log[0]["loss_linking"], rel=1e-5
    )
    assert list(output.rglob("events.out.tfevents*"))
    assert not [path for path in output.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_the_saved_model_gives_the_scores_of_the_summary(run, sample_corpus):
    from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
    from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

    output, summary = run
    model = TikTalkCorefModel.from_pretrained(output / "model")
    processor = TikTalkCorefProcessor.from_pretrained(output / "model")
    dialogues = load_dialogues(str(sample_corpus), "all", "validation")
    scores = evaluate_model(model, processor, dialogues, batch_size=3)
    for key in ("conll_f1", "mention_f1", "linking_recall_at_1", "linking_n"):
        assert scores[key] == pytest.approx(summary["validation"][key], abs=1e-9)


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 2)])
def test_the_best_epoch_is_kept_or_the_last(keep, kept, sample_corpus, tmp_path, monkeypatch):
    scores = iter([0.6, 0.5])
    monkeypatch.setattr(loop, "evaluate_model", lambda *_, **__: {"conll_f1": next(scores)})
    recipe = tiny_recipe(tmp_path, sample_corpus, keep=keep, ema_decay=0.0)
    assert train(recipe, tmp_path / "run", quiet=True)["best_epoch"] == kept
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    newest = load_file(tmp_path / "run" / "checkpoints" / "step-00000004" / "weights.safetensors")
    assert all(torch.equal(saved[name], newest[name]) for name in newest if name in saved) == (keep == "last")


def test_the_validation_split_too_is_trained_on_and_chooses_nothing(sample_corpus, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("scored what it was trained on")

    monkeypatch.setattr(loop, "evaluate_model", fail)
    recipe = tiny_recipe(tmp_path, sample_corpus, "train_split=train+validation", keep="last")
    summary = train(recipe, tmp_path / "run", quiet=True)
    sizes = [len(load_dialogues(str(sample_corpus), "all", split)) for split in ("train", "validation")]
    assert summary["dialogues"] == sum(sizes)
    assert (summary["validation"], summary["best_epoch"]) == ({}, 2)
    assert (tmp_path / "run" / "model" / "config.json").is_file()


# Refused before the first step


@pytest.fixture
def no_step(monkeypatch):
    def fail(*_):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(loop, "fit_steps", fail)


@pytest.mark.parametrize(
    ("override", "kind", "words"),
    [
        ("dataset=/nowhere/at/all", DatasetError, ["no dataset '/nowhere/at/all'", "tiktalkcoref prepare"]),
        ("model.use_titel=true", RecipeError, ["unknown field model.use_titel", "did you mean use_title?"]),
        ("model.vision_config={}", RecipeError, ["model.vision_config is set by initial.vision_encoder"]),
        ("model.dropout=2", ValueError, ["dropout is 2", "below 1"]),
        (
            "initial.text_encoder=/no/such/folder",
            BackboneError,
            ["no such folder", "--set initial.text_encoder=FOLDER"],
        ),
        ("initial.text_encoder=nobody/no-such-model", BackboneError, ["no-such-model", "initial.text_encoder=FOLDER"]),
        ("loop.trackers=[tensorbord]", RecipeError, ["'tensorbord'", "did you mean tensorboard?"]),
        ("loop.trackers=[clearml]", RecipeError, ["clearml is not installed"]),
        ("loop.select_on=[conl_f1]", RecipeError, ["no score 'conl_f1'", "did you mean conll_f1?"]),
        ("loop.select_on=[linking_mrr]", RecipeError, ["nothing to link", "add conll_f1"]),
    ],
)
def test_what_is_wrong_is_said_first(sample_corpus, tmp_path, monkeypatch, no_step, override, kind, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(kind) as error:
        train(tiny_recipe(tmp_path, sample_corpus, override), tmp_path / "out", quiet=True)
    for word in words:
        assert word in str(error.value)


def test_a_linking_recipe_needs_pictures(sample_corpus, tmp_path, no_step):
    without = tmp_path / "without"
    without.mkdir()
    for file in sample_corpus.glob("*.jsonl"):
        (without / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DatasetError, match=r"none of the 16 training dialogues .* --set linking=false"):
        train(tiny_recipe(tmp_path, without, vision=True), tmp_path / "out", quiet=True)


def test_an_output_that_holds_a_run_is_refused(run, sample_corpus, tmp_path, no_step):
    with pytest.raises(OutputError, match=r"already holds a run.*--resume"):
        train(tiny_recipe(tmp_path, sample_corpus), run[0], quiet=True)


def test_one_process_where_several_were_asked_for_is_refused(sample_corpus, tmp_path, monkeypatch, no_step):
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of the only process it starts."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match="torchrun --nproc_per_node 2"):
        train(tiny_recipe(tmp_path, sample_corpus), tmp_path / "out", quiet=True)


def test_an_output_that_cannot_be_written_is_refused(sample_corpus, tmp_path, no_step):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        train(tiny_recipe(tmp_path, sample_corpus), tmp_path / "file" / "out", quiet=True)


# Weighting


def losses(output):
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"]


def test_accumulation_gives_the_losses_of_one_batch(sample_corpus, tmp_path):
    """Sixteen dialogues a step as 16, 4 x 4, 3 x 6 (uneven) and 16 in parts: the same losses, so the same gradients."""
    found = []
    for size, times, length in ((16, 1, 0), (4, 4, 0), (6, 3, 0), (16, 1, 100)):
        recipe = tiny_recipe(
            tmp_path, sample_corpus, *WITHOUT_DROPOUT, vision=True,
            batch_size=size, gradient_accumulation=times, max_length=length, epochs=4, evaluate_every=4,
        )  # fmt: skip
        train(recipe, tmp_path / f"{size}-{length}", quiet=True)
        found.append(losses(tmp_path / f"{size}-{length}"))
    assert len(found[0]) == 4
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 3])  # three: the last step leaves one process without a dialogue of its own
def test_two_processes_give_the_losses_and_scores_of_one(sample_corpus, tmp_path, size):
    recipe = str(write_recipe(tmp_path, sample_corpus, vision=True, epochs=2))
    common = [recipe, "--set", "eval_config=celeb", "--set", "final_evaluations=[all/test]"]
    common += [part for override in WITHOUT_DROPOUT for part in ("--set", override)]
    one = launch([*common, "--set", f"loop.batch_size={2 * size}", "--output", str(tmp_path / "one")])
    assert one.wait(200) == 0, one.stdout.read()
    two = launch([*common, "--set", f"loop.batch_size={size}", "--output", str(tmp_path / "two")], processes=2)
    assert two.wait(200) == 0, two.stdout.read()
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    first, second = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert second["processes"] == 2
    for place in ("validation", "final"):
        scores = (
            (first[place], second[place])
            if place == "validation"
            else (first[place]["all/test"], second[place]["all/test"])
        )
        assert scores[0]["linking_n"] == scores[1]["linking_n"]
        assert scores[0]["conll_f1"] == pytest.approx(scores[1]["conll_f1"], abs=0.02)
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    moved = max((ours[n] - theirs[n]).abs().max().item() for n in ours if n.startswith("weights/"))
    assert moved < 1e-3


def test_bf16_trains_on_the_cpu(sample_corpus, tmp_path):
    recipe = tiny_recipe(tmp_path, sample_corpus, vision=True, epochs=1, mixed_precision="bf16")
    summary = train(recipe, tmp_path / "out", quiet=True)
    assert summary["mixed_precision"] == "bf16"
    assert all(tensor.dtype == torch.float32 for tensor in load_file(tmp_path / "out/model/model.safetensors").values())


def test_few_of_the_kernels_that_a_cpu_compiles_for_each_shape_are_kept():
    code = """
import resource
from tiktalkcoref.files.kernels import bound_kernel_caches
bound_kernel_caches()
import torch
layer = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.Linear(1536, 384))
for length in range(100, 400, 5):
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(length, 384)).sum().backward()
    if length == 100:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    unbounded = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    printed = subprocess.run([sys.executable, "-c", code], env=unbounded, capture_output=True, text=True, check=True)
    assert int(printed.stdout) < 120  # MiB; with torch's own bounds some 200, where the CPU has kernels for bf16


def test_seeds_repeat_and_differ(sample_corpus, tmp_path):
    tensors = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tiny_recipe(tmp_path, sample_corpus, f"seed={seed}", epochs=1), tmp_path / name, quiet=True)
        tensors.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert not all(torch.equal(tensors[0][name], tensors[2][name]) for name in tensors[0])


# The parts


def test_learning_rates_come_from_modules(build_tiny):
    model, _ = build_tiny(vision=True)
    settings = Optimizer(learning_rate=1.0, text_learning_rate=0.1, vision_learning_rate=0.01, layer_decay=0.5)
    groups = build_optimizer(model, settings).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(1 for _ in model.parameters())
    text = model.text_encoder
    assert rates[id(text.encoder.layer[1].output.dense.weight)] == pytest.approx(0.1)
    assert rates[id(text.encoder.layer[0].output.dense.weight)] == pytest.approx(0.05)
    assert rates[id(text.embeddings.word_embeddings.weight)] == pytest.approx(0.025)
    tower = model.vision_encoder
    assert rates[id(tower.norm.weight)] == pytest.approx(0.01)
    assert rates[id(tower.blocks[0].mlp.fc1.weight)] == pytest.approx(0.01)
    assert rates[id(tower.pos_embed)] == pytest.approx(0.005)
    assert rates[id(model.clustering_head.mention.weight)] == pytest.approx(1.0)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert {p.ndim > 1 for p in model.parameters() if id(p) in decayed} == {True}
    assert {p.ndim > 1 for p in model.parameters() if id(p) not in decayed} == {False}


def tiny_encoder(kind, **more):
    """A random text encoder of the kind of a public Chinese one."""
    from transformers import BertConfig, BertModel, DebertaV2Config, DebertaV2Model

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 5} | more
    torch.manual_seed(0)
    if kind == "deberta":
        relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"}
        relative |= {"position_buckets": 8, "share_att_key": True, "position_biased_input": False}
        return DebertaV2Model(DebertaV2Config(**sizes, **relative, num_hidden_layers=3, conv_kernel_size=3))
    return BertModel(BertConfig(**sizes, num_hidden_layers={"chinese-roberta-wwm-ext": 2, "rbt3": 3}[kind]))


def test_tables_of_relative_positions_learn_as_the_lowest_layer_in_which_they_act():
    encoder = tiny_encoder("deberta")
    depths = layer_depths(encoder, list(encoder.parameters()))
    by_name = {name: depths[id(parameter)] for name, parameter in encoder.named_parameters()}
    shared = {name: depth for name, depth in by_name.items() if ".layer." not in name}
    assert {name.rsplit(".", 1)[0]: depth for name, depth in shared.items()} == {
        "embeddings.word_embeddings": 3,
        "embeddings.LayerNorm": 3,
        "encoder.rel_embeddings": 2,
        "encoder.LayerNorm": 2,
        "encoder.conv.conv": 2,
        "encoder.conv.LayerNorm": 2,
    }
    assert {by_name[f"encoder.layer.{n}.output.dense.weight"] for n in range(3)} == {0, 1, 2}


@pytest.mark.parametrize("kind", ["chinese-roberta-wwm-ext", "rbt3", "deberta"])
def test_public_chinese_encoders_can_be_trained(sample_corpus, tmp_path, kind):
    tokenizer = character_tokenizer([DIALOGUE])
    tokenizer.save_pretrained(tmp_path / kind)
    encoder = tiny_encoder(kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    encoder.save_pretrained(tmp_path / kind)
    overrides = (f"initial={{text_encoder: {tmp_path / kind}}}", "optimizer.layer_decay=0.5", "loop.max_steps=1")
    train(tiny_recipe(tmp_path, sample_corpus, *overrides, ema_decay=0), tmp_path / "out", quiet=True)
    trained = load_file(tmp_path / "out" / "model" / "model.safetensors")
    before = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("pooler.")}
    assert {name.removeprefix("text_encoder.") for name in trained if name.startswith("text_encoder.")} == set(before)
    moved = {name for name, tensor in before.items() if not torch.equal(trained[f"text_encoder.{name}"], tensor)}
    assert {name.split(".layer.")[1][0] for name in moved if ".layer." in name} == set(
        "012"[: 2 + (kind != "chinese-roberta-wwm-ext")]
    )
    assert ("encoder.rel_embeddings.weight" in moved) == (kind == "deberta")


def test_depths_of_an_encoder_without_layers_are_zero():
    linear = torch.nn.Linear(2, 2)
    assert layer_depths(linear, list(linear.parameters())) == {}


def rates_of(settings, steps=100):
    """The rate of every update of a run, as a share of the full one, and what comes after the last."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = build_schedule(optimizer, steps, settings), []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_the_rate_rises_and_falls():
    rates = rates_of(Optimizer(warmup=0.1))
    assert 0 < rates[0] < rates[5] < rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0
    assert rates_of(Optimizer(warmup=0, schedule="cosine"))[50] == pytest.approx(0.5)
    assert rates_of(Optimizer(warmup=0, schedule="constant"))[99] == 1.0


def test_the_average_is_beside_the_model():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = build_average(model, decay=0.5)
    expected = 0.0
    for step in range(1, 6):
        torch.nn.init.constant_(model.weight, float(step))
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert averaged(average, model).weight.item() == pytest.approx(expected)
    assert model.weight.item() == 5.0


def test_a_tokenizer_from_scratch_knows_every_character(tmp_path):
    tokenizer = character_tokenizer([DIALOGUE])
    for character in "戴帽子的她鿫标题#a，。Ａ1":
        ids = tokenizer(character, add_special_tokens=False)["input_ids"]
        assert len(ids) == 1
        assert (ids[0] == tokenizer.unk_token_id) == (character == "Ａ")
    assert len(tokenizer) > 6763
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded("戴鿫a")["input_ids"] == tokenizer("戴鿫a")["input_ids"]


def test_a_run_can_start_from_a_trained_model(run, sample_corpus, tmp_path):
    base = tiny_recipe(tmp_path, sample_corpus)
    initial = f"initial={{checkpoint: {json.dumps(str(run[0] / 'model'))}}}"
    recipe = load_recipe(tmp_path / "tiny.yaml", [initial, "model={dropout: 0.5}"])
    model, processor = build(recipe, [])
    assert model.config.dropout == 0.5
    assert processor.image_size == 16
    saved = load_file(run[0] / "model" / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert copy.copy(base).initial.checkpoint is None


def test_loading_a_run_never_asks_whether_to_run_its_code(run, monkeypatch):
    from tiktalkcoref.evaluation.evaluate import load_model

    asked = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "n")
    load_model(run[0])
    build(load_recipe("sample", [f"initial={{checkpoint: {json.dumps(str(run[0] / 'model'))}}}", "model={}"]), [])
    assert not asked
