"""What ends a run early, how soon it is told, and what is left: locks, divergence, damaged checkpoints, launchers."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.training import loop, preparation
from tiktalkcoref.training.checkpoint import (
    CheckpointError,
    get_random_state,
    list_checkpoints,
    set_random_state,
)
from tiktalkcoref.training.launch import LaunchError
from tiktalkcoref.training.preparation import fingerprint
from tiktalkcoref.training.recipe import PACKAGED, RecipeError, config_fields, load_recipe
from tiktalkcoref.training.run_folder import LOCK
from tiktalkcoref.training.selection import selection_score
from tiktalkcoref.training.train import OutputError, train

from .test_training_resume import same, train_until
from .training_runs import NoFloat64, launch, tiny_recipe, weights, write_recipe


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Told before anything heavy is imported


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["text-smal"], "did you mean text-small?"),
        (["text-small", "--set", "loop.batchsize=4"], "did you mean loop.batch_size?"),
        (["text-small", "--set", "model.use_titel=true"], "did you mean use_title?"),
        (["text-small", "--set", "loop.batch_size=0"], "loop.batch_size is 0: 1 or more expected"),
    ],
)
def test_a_mistyped_recipe_is_told_without_importing_torch(tmp_path, arguments, words):
    code = (
        "import sys\nfrom tiktalkcoref import cli\n"
        f"sys.argv = ['tiktalkcoref', 'train', *{arguments!r}, '--output', {str(tmp_path / 'out')!r}]\n"
        "try:\n    cli.main()\nfinally:\n"
        "    print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stdout.strip() == "[]"
    assert not (tmp_path / "out").exists()


def test_the_fields_of_the_config_are_read_from_its_source():
    import inspect

    from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig

    signature = inspect.signature(TikTalkCorefConfig.__init__).parameters
    assert config_fields() == [name for name in signature if name not in ("self", "kwargs")]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]\n" for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "alias"),
        ("a: &a [*a]\ninitial: {text_encoder: x}\n", "alias"),
        ("model: " + "[" * 5_000, "nested too deep"),
        ("description: " + "x" * 2_000_000, "2,000,013 bytes"),
    ],
)
def test_a_recipe_without_end_is_refused_at_once(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.process_time()
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)
    assert time.process_time() - started < 2


def test_an_alias_in_an_override_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="alias"):
        load_recipe("text-small", ["model={a: &a 1, b: *a}"])


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_packaged_recipe_looks_at_a_test_split(path):
    assert "final_evaluations" not in yaml.safe_load(path.read_text(encoding="utf-8"))
    assert load_recipe(path.stem).final_evaluations == []


def test_a_run_opens_no_test_split_that_was_not_asked_for(sample_corpus, tmp_path, monkeypatch):
    opened = []

    def load(dataset, config, split, fold=None):
        opened.append((config, split))
        return load_dialogues(dataset, config, split, fold)

    monkeypatch.setattr(preparation, "load_dialogues", load)
    preparation.prepare(tiny_recipe(tmp_path, sample_corpus), tmp_path, resume=False)
    assert opened == [("all", "train"), ("all", "validation")]


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_launchers_that_split_the_weights_are_refused(sample_corpus, tmp_path, monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(LaunchError, match=r"splits the weights over processes.*--multi_gpu"):
        train(tiny_recipe(tmp_path, sample_corpus), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_name_that_the_hub_does_not_answer_for_is_told_soon(sample_corpus, tmp_path, monkeypatch):
    """A closed port stands for no network: the Hub's client alone tries it for three quarters of a minute."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    from tiktalkcoref.evaluation.dialogues import DatasetError, load_dialogues
    from tiktalkcoref.evaluation.models import load_model
    from tiktalkcoref.training.building import BackboneError, build

    recipe = load_recipe("text-small", ["initial.text_encoder=nobody/no-such-model"])
    started = time.perf_counter()
    with pytest.raises(BackboneError, match="no-such-model"):
        build(recipe, [])
    with pytest.raises(DatasetError, match="the Hub does not answer"):
        load_dialogues("nobody/no-such-data", "all", "train")
    with pytest.raises(ValueError, match="nor to be had from the Hub"):
        load_model("nobody/no-such-model")
    assert time.perf_counter() - started < 10


# One run a folder


def test_the_second_run_in_a_folder_is_told_who_holds_it(sample_corpus, tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK):
        (tmp_path / "out" / LOCK).write_text("process 4711 on elsewhere, since yesterday", encoding="utf-8")
        process = launch([str(write_recipe(tmp_path, sample_corpus)), "--output", str(tmp_path / "out")])
        printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "is being written by another run (process 4711 on elsewhere, since yesterday)" in " ".join(printed.split())
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]


def test_a_run_holds_its_folder_while_it_lasts(sample_corpus, tmp_path, monkeypatch):
    seen = []

    def look(*_):
        with pytest.raises(OutputError, match=rf"written by another run \(process {os.getpid()} on "):
            train(load_recipe(tmp_path / "tiny.yaml"), tmp_path / "out", resume=True, quiet=True)
        seen.append(True)

    recipe = tiny_recipe(tmp_path, sample_corpus, epochs=1)
    monkeypatch.setattr(loop, "_is_done", lambda run, real=loop._is_done: real(run) or look() or False)
    train(recipe, tmp_path / "out", quiet=True)
    assert seen
    with FileLock(tmp_path / "out" / LOCK, timeout=0):
        pass  # free again


# Divergence


def test_a_loss_that_is_no_number_stops_the_run(sample_corpus, tmp_path, monkeypatch):
    """At step 3 of 4 (the second epoch): what the first epoch left stays, byte for byte."""
    settings = {"checkpoint_every": 1, "batch_size": 8}
    real, calls, kept = loop._add_up_gradients, [], {}

    def poisoned(run, monitor, wrapped, step, batches):
        calls.append([run.train[index]["doc_key"] for batch in step.batches for index in batch])
        if len(calls) == 3:
            kept.update(files(tmp_path / "out" / "model"))
            kept.update(files(tmp_path / "out" / "checkpoints"))
            first = run.optimizer.param_groups[-1]["params"][0]
            saved = first.detach().clone()
            with torch.no_grad():
                first.fill_(float("nan"))
            try:
                return real(run, monitor, wrapped, step, batches)
            finally:
                with torch.no_grad():
                    first.copy_(saved)
        return real(run, monitor, wrapped, step, batches)

    monkeypatch.setattr(loop, "_add_up_gradients", poisoned)
    with pytest.raises(loop.DivergedError) as error:
        train(tiny_recipe(tmp_path, sample_corpus, **settings), tmp_path / "out", quiet=True)
    message = str(error.value)
    assert "diverged at step 3: loss nan" in message
    assert all(key in message for key in calls[2])
    assert "checkpoints/step-00000002" in message
    assert "the best model so far is of epoch 1" in message
    assert kept
    assert {**files(tmp_path / "out" / "model"), **files(tmp_path / "out" / "checkpoints")} == kept
    assert not (tmp_path / "out" / "summary.json").exists()


def test_weights_that_are_no_numbers_are_not_saved(sample_corpus, tmp_path, monkeypatch):
    """The last update makes them: no loss follows that would tell."""
    real = torch.optim.AdamW.step

    def overflow(self, *arguments):
        real(self, *arguments)
        with torch.no_grad():
            self.param_groups[-1]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with pytest.raises(loop.DivergedError, match=r"step 1: weights that are not finite.*last good checkpoint: none"):
        train(tiny_recipe(tmp_path, sample_corpus, max_steps=1), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "model").exists()
    assert not list_checkpoints(tmp_path / "out" / "checkpoints")


def test_the_command_ends_with_an_error_where_training_diverges(sample_corpus, tmp_path):
    recipe = str(write_recipe(tmp_path, sample_corpus, epochs=4))
    rates = [part for name in ("", "text_") for part in ("--set", f"optimizer.{name}learning_rate=1e38")]
    process = launch([recipe, "--output", str(tmp_path / "out"), *rates])
    printed = " ".join(process.communicate(timeout=120)[0].split())
    assert process.returncode == 1, printed
    assert "training diverged at step" in printed
    assert "Traceback" not in printed
    for file in (tmp_path / "out").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file


# Damaged checkpoints


TENSORS = ("weights.safetensors", "average.safetensors", "optimizer.safetensors", "random.safetensors")


@pytest.mark.parametrize(
    ("file", "damage"),
    [*((name, damage) for name in TENSORS for damage in ("cut", "gone")), ("state.json", "cut")],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    sample_corpus, tmp_path, monkeypatch, capsys, interrupted_runs, file, damage
):
    whole, killed = interrupted_runs
    output = tmp_path / "run"
    shutil.copytree(killed, output)
    newest = list_checkpoints(output / "checkpoints")[-1]
    if damage == "cut":
        (newest / file).write_bytes((newest / file).read_bytes()[:-40])
    else:
        (newest / file).unlink()
    recipe = tiny_recipe(tmp_path, sample_corpus, checkpoint_every=1)
    train(recipe, output, resume=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "step-00000003 is damaged" in told
    assert "set aside, the checkpoint before it is taken" in told
    assert "step-00000002" in told
    assert (output / "checkpoints" / "step-00000003.damaged").is_dir()
    same(weights(whole), weights(output))


@pytest.fixture(scope="module")
def interrupted_runs(sample_corpus, tmp_path_factory):
    """A whole run, and one like it that died after its third step."""
    folder = tmp_path_factory.mktemp("runs")
    train(tiny_recipe(folder, sample_corpus, checkpoint_every=1), folder / "whole", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        train_until(4, tiny_recipe(folder, sample_corpus, checkpoint_every=1), folder / "killed", patch)
    return folder / "whole", folder / "killed"


def test_no_whole_checkpoint_is_an_error_that_loses_nothing(sample_corpus, tmp_path, interrupted_runs):
    output = tmp_path / "run"
    shutil.copytree(interrupted_runs[1], output)
    for path in list_checkpoints(output / "checkpoints"):
        (path / "weights.safetensors").write_bytes(b"")
    before = files(output / "checkpoints")
    with pytest.raises(CheckpointError, match=r"step-00000003 is damaged .* no older one is whole"):
        train(tiny_recipe(tmp_path, sample_corpus, checkpoint_every=1), output, resume=True, quiet=True)
    assert files(output / "checkpoints") == before


@pytest.mark.parametrize(
    "change",
    [
        {"title": "另一个标题"},
        {"links": [-1]},
        {"regions": ["blue"]},
        {"regions": ["red", "red"]},
        {"clusters": []},
        {"sentences": ["他"]},
    ],
)
def test_the_fingerprint_knows_everything_that_is_learned_from(change):
    from PIL import Image

    def dialogue(**fields):
        made = {"doc_key": "1", "sentences": ["她"], "title": "标题", "clusters": [[[0, 0]]], "links": [0]} | fields
        made["regions"] = [Image.new("RGB", (4, 4), colour) for colour in made.get("regions", ["red"])]
        return made

    assert fingerprint([dialogue()]) == fingerprint([dialogue()])
    assert fingerprint([dialogue(**change)]) != fingerprint([dialogue()])


# Devices, selection


def test_the_random_state_of_any_device_is_kept(monkeypatch):
    """MPS is not here: its module stands in."""
    states = []
    fake = SimpleNamespace(get_rng_state=lambda: torch.tensor([7], dtype=torch.uint8), set_rng_state=states.append)
    monkeypatch.setattr(torch, "mps", fake)
    kept = get_random_state(torch.device("mps"))
    set_random_state(kept, torch.device("mps"))
    assert [state.tolist() for state in states] == [[7]]
    assert "device" not in get_random_state(torch.device("cpu"))


def test_no_step_makes_float64(sample_corpus, tmp_path, monkeypatch):
    """MPS has none: forward, backward, clipping, update, average and what the monitor adds up."""
    real, ran = loop.fit_steps, []

    def guarded(*arguments):
        with NoFloat64():
            real(*arguments)
        ran.append(True)

    monkeypatch.setattr(loop, "fit_steps", guarded)
    recipe = tiny_recipe(tmp_path, sample_corpus, vision=True, epochs=1, hide_characters=0.2)
    train(recipe, tmp_path / "out", quiet=True)
    assert ran


def test_links_choose_a_model_only_where_there_was_a_choice():
    scores = {"conll_f1": 0.4, "linking_n": 9, "linking_recall_at_1": 0.95}
    assert selection_score(scores, ["conll_f1", "linking_recall_at_1"]) == 0.4
    scores |= {"linking_choice_n": 4, "linking_choice_recall_at_1": 0.6}
    assert selection_score(scores, ["conll_f1", "linking_recall_at_1"]) == 0.5
    assert selection_score({"conll_f1": 0.4}, ["linking_mrr"]) is None


def test_the_log_holds_what_the_best_model_was_chosen_by(sample_corpus, tmp_path):
    train(tiny_recipe(tmp_path, sample_corpus, vision=True, epochs=1), tmp_path / "out", quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluation = next(line for line in lines if line["event"] == "evaluation")
    assert 0 < evaluation["linking_choice_n"] <= evaluation["linking_n"]
    assert evaluation["linking_choice_mean_pool"] >= 2
    chosen = (evaluation["conll_f1"] + evaluation["linking_choice_recall_at_1"]) / 2
    assert math.isclose(evaluation["selection"], chosen)
