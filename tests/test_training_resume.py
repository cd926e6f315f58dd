"""Resuming: as if the run had never stopped, whenever it was killed."""

import json
import os
import signal
import time

import pytest
import torch

from tiktalkcoref.training import loop
from tiktalkcoref.training.checkpoint import CheckpointError, list_checkpoints
from tiktalkcoref.training.monitor import Monitor
from tiktalkcoref.training.run_folder import holds_run
from tiktalkcoref.training.train import OutputError, train

from .training_runs import launch, tiny_recipe, weights, write_recipe


class Killed(BaseException):
    """What stands for SIGKILL where a process of its own would cost too much."""


def train_until(step, recipe, output, monkeypatch):
    """A run that dies right after an optimiser step, before anything is written of it."""
    real = Monitor.step

    def dying(self, number, *arguments):
        real(self, number, *arguments)
        if number == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", dying)
        with pytest.raises(Killed):
            train(recipe, output, quiet=True)


def same(one, other):
    assert one.keys() == other.keys()
    differing = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    assert not differing, differing


def without_times(log):
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k != "dialogues_per_second"} for line in lines]


@pytest.mark.parametrize("step", [2, 4, 5])  # in the first epoch, in the second, and before the last step
def test_resumed_weights_are_those_of_a_run_that_never_stopped(sample_corpus, tmp_path, monkeypatch, step):
    settings = {"vision": True, "checkpoint_every": 1, "batch_size": 6}
    whole = train(tiny_recipe(tmp_path, sample_corpus, **settings), tmp_path / "whole", quiet=True)
    train_until(step, tiny_recipe(tmp_path, sample_corpus, **settings), tmp_path / "killed", monkeypatch)
    recipe = tiny_recipe(tmp_path, sample_corpus, **settings)
    resumed = train(recipe, tmp_path / "killed", resume=True, quiet=True)
    same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    for key in ("validation", "best_epoch", "steps", "epochs"):
        assert whole[key] == resumed[key]
    assert without_times(tmp_path / "whole" / "log.jsonl") == without_times(tmp_path / "killed" / "log.jsonl")


def test_resuming_a_finished_run_returns_its_summary(sample_corpus, tmp_path):
    recipe = tiny_recipe(tmp_path, sample_corpus, epochs=1)
    first = train(recipe, tmp_path / "run", quiet=True)
    before = (tmp_path / "run" / "log.jsonl").read_bytes()
    assert train(recipe, tmp_path / "run", resume=True, quiet=True) == first
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == before


def test_resuming_where_no_run_is_asks_for_the_name(sample_corpus, tmp_path):
    with pytest.raises(OutputError, match=r"holds no run to go on with: name the folder of one by --output"):
        train(tiny_recipe(tmp_path, sample_corpus, epochs=1), tmp_path / "rum", resume=True, quiet=True)


def test_resuming_a_run_without_a_checkpoint_starts_from_the_beginning(sample_corpus, tmp_path, monkeypatch, capsys):
    train_until(1, tiny_recipe(tmp_path, sample_corpus, epochs=1), tmp_path / "run", monkeypatch)
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")
    assert train(tiny_recipe(tmp_path, sample_corpus, epochs=1), tmp_path / "run", resume=True)["steps"] == 2
    assert "holds no checkpoint yet: starting from the beginning" in capsys.readouterr().err


def test_patience_survives_a_kill(sample_corpus, tmp_path, monkeypatch):
    """Scores that never rise: two evaluations without gain end the run, though it was killed between them."""
    monkeypatch.setattr(loop, "evaluate_model", lambda *_, **__: {"conll_f1": 0.5})
    settings = {"epochs": 9, "patience": 2, "checkpoint_every": 1}
    train_until(5, tiny_recipe(tmp_path, sample_corpus, **settings), tmp_path / "run", monkeypatch)
    summary = train(tiny_recipe(tmp_path, sample_corpus, **settings), tmp_path / "run", resume=True, quiet=True)
    assert (summary["best_epoch"], summary["epochs"]) == (1, 3)


def test_only_the_newest_checkpoints_are_kept(sample_corpus, tmp_path):
    recipe = tiny_recipe(tmp_path, sample_corpus, checkpoint_every=1, keep_checkpoints=2)
    train(recipe, tmp_path / "run", quiet=True)
    names = [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == ["step-00000003", "step-00000004"]


def interrupted(sample_corpus, tmp_path, monkeypatch, **settings):
    recipe = tiny_recipe(tmp_path, sample_corpus, checkpoint_every=1, **settings)
    train_until(2, recipe, tmp_path / "run", monkeypatch)


def test_another_architecture_is_refused(sample_corpus, tmp_path, monkeypatch):
    interrupted(sample_corpus, tmp_path, monkeypatch)
    recipe = tiny_recipe(tmp_path, sample_corpus, "initial.text_encoder.intermediate_size=48", checkpoint_every=1)
    with pytest.raises(CheckpointError) as error:
        train(recipe, tmp_path / "run", resume=True, quiet=True)
    for word in ("another architecture", "intermediate.dense", "is (64", "(48", "another --output"):
        assert word in str(error.value)


def test_a_deeper_model_is_refused(sample_corpus, tmp_path, monkeypatch):
    interrupted(sample_corpus, tmp_path, monkeypatch)
    recipe = tiny_recipe(tmp_path, sample_corpus, "initial.text_encoder.num_hidden_layers=3", checkpoint_every=1)
    with pytest.raises(CheckpointError, match=r"another architecture: it has no .*layer\.2"):
        train(recipe, tmp_path / "run", resume=True, quiet=True)


def test_another_recipe_is_refused_field_by_field(sample_corpus, tmp_path, monkeypatch):
    interrupted(sample_corpus, tmp_path, monkeypatch)
    recipe = tiny_recipe(tmp_path, sample_corpus, "seed=7", "optimizer.weight_decay=0.5", checkpoint_every=1)
    with pytest.raises(OutputError, match=r"seed \(0 then, 7 now\); optimizer.weight_decay \(0.01 then, 0.5 now\)"):
        train(recipe, tmp_path / "run", resume=True, quiet=True)


def test_other_training_dialogues_are_refused(sample_corpus, tmp_path, monkeypatch):
    from tiktalkcoref.sample import write_sample

    interrupted(sample_corpus, tmp_path, monkeypatch)
    other = write_sample(tmp_path / "other", seed=1, dialogues=24)
    with pytest.raises(CheckpointError, match="other training dialogues"):
        train(tiny_recipe(tmp_path, other, checkpoint_every=1), tmp_path / "run", resume=True, quiet=True)


# With a real SIGKILL

DIE_WHILE_SAVING = """
import os, signal
from tiktalkcoref.training import checkpoint
real, calls = checkpoint.save_file, []
def dying(tensors, path):
    real(tensors, path)
    calls.append(path)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_file = dying
"""


def resume(output):
    return ["--resume"] if holds_run(output) else []


@pytest.mark.slow
def test_killed_at_any_moment_and_while_saving(sample_corpus, tmp_path):
    recipe = str(write_recipe(tmp_path, sample_corpus, vision=True, checkpoint_every=1, epochs=3))
    whole = launch([recipe, "--output", str(tmp_path / "whole")])
    assert whole.wait(120) == 0, whole.stdout.read()
    expected = weights(tmp_path / "whole")

    # killed while the second and the third checkpoint are written: only that one is lost
    output = tmp_path / "saving"
    for call, left in ((5, 1), (8, 2)):
        process = launch([recipe, "--output", str(output), *resume(output)], code=DIE_WHILE_SAVING.format(call=call))
        assert process.wait(120) == -signal.SIGKILL, process.stdout.read()
        assert list_checkpoints(output / "checkpoints")[-1].name == f"step-{left:08d}"
    finished = launch([recipe, "--output", str(output), "--resume"])
    assert finished.wait(120) == 0, finished.stdout.read()
    same(expected, weights(output))
    assert not list((output / "checkpoints").glob(".*"))

    # killed from outside, whenever that is
    output = tmp_path / "outside"
    for checkpoints in (1, 3):
        process = launch([recipe, "--output", str(output), *resume(output)])
        while process.poll() is None and len(list_checkpoints(output / "checkpoints")) < min(checkpoints, 2):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait(60)
    finished = launch([recipe, "--output", str(output), "--resume"])
    assert finished.wait(120) == 0, finished.stdout.read()
    same(expected, weights(output))
