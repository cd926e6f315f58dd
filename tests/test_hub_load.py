"""Everything pushed, then used as a stranger uses it: fresh caches, own processes, no other host to reach."""

import json
from pathlib import Path

import pytest
from hub_server import LocalHub, run_client
from huggingface_hub import ModelCard

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation.evaluate import Resampling, evaluate
from tiktalkcoref.hub.cards import HEADLINES
from tiktalkcoref.hub.prepare import prepare


@pytest.fixture(scope="module")
def pushed(sample_corpus, tiny_model_folder, tmp_path_factory):
    """A Hub with the three repositories, pushed by the command line; the prepared dataset; the output."""
    work = tmp_path_factory.mktemp("pushed")
    prepare(find_files(sample_corpus), work / "tiktalkcoref")
    prepared = str(work / "tiktalkcoref")
    evaluate(tiny_model_folder, prepared, work / "scores", config="celeb", split="test", resampling=Resampling(20))
    with LocalHub() as hub:
        command = ["push", "all", "--namespace", "lab", "--model", str(tiny_model_folder)]
        command += ["--scores", "scores/scores.json", "--collection"]
        output = run_client(hub, command, work / "home", cwd=work)
        yield hub, work, command, output.stdout


def client(pushed, code: str, home: Path) -> object:
    """Run a snippet as somebody without a token; the JSON on its last line."""
    return json.loads(run_client(pushed[0], code, home, token=None).stdout.splitlines()[-1])


def test_all_repositories_are_there_and_a_second_push_touches_what_changed(pushed, tmp_path):
    hub, work, command, output = pushed
    assert sorted(hub.repos) == [
        ("dataset", "lab/tiktalkcoref"),
        ("model", "lab/tiktalkcoref-base"),
        ("space", "lab/tiktalkcoref-demo"),
        ("space", "lab/tiktalkcoref_metric"),
    ]
    for repo in hub.repos.values():
        assert [commit.title for commit in repo.history()] == ["Release 0.1.0", "initial commit"]
        assert repo.tags == {"v0.1.0": repo.branches["main"]}
        assert f"{repo.id}/tree/v0.1.0" in output
    assert len(next(iter(hub.collections.values()))["items"]) == 4
    card = work / "tiktalkcoref/README.md"
    text = card.read_text(encoding="utf-8")
    heads = {key: repo.branches["main"] for key, repo in hub.repos.items()}
    try:  # a changed card: one commit in one repository
        card.write_text(text + "\nA new line.\n", encoding="utf-8")
        again = run_client(hub, command, tmp_path, cwd=work).stdout
    finally:
        card.write_text(text, encoding="utf-8")
    assert again.count("nothing to change") == 3
    after = {key: repo.branches["main"] for key, repo in hub.repos.items()}
    assert [key for key in heads if after[key] != heads[key]] == [("dataset", "lab/tiktalkcoref")]
    assert len(hub.repo("dataset", "lab/tiktalkcoref").history()) == 3


def test_the_scores_of_the_evaluation_are_in_the_card(pushed):
    hub, work, *_ = pushed
    scores = json.loads((work / "scores/scores.json").read_text())["scores"]
    card = ModelCard(hub.read("model", "lab/tiktalkcoref-base", "README.md").decode())
    found = {result.metric_type: result for result in card.data.eval_results}
    assert found.keys() == HEADLINES.keys() & scores.keys()
    for key, result in found.items():
        assert result.metric_value == scores[key]["value"]
        assert result.metric_args["n"] == scores[key]["n"]
        assert result.metric_args["low"] == scores[key]["low"] <= scores[key]["high"] == result.metric_args["high"]
        assert result.dataset_type == "lab/tiktalkcoref"
        assert (result.dataset_config, result.dataset_split) == ("celeb", "test")


def test_the_dataset_loads_in_all_configs(pushed, tmp_path):
    from datasets import load_dataset

    code = """
import json
from datasets import load_dataset
name, rows = "lab/tiktalkcoref", {}
for config in ("celeb", "all", "no_celeb", "textual", "visual"):
    dataset = load_dataset(name, config)
    rows[config] = {split: part.to_list() for split, part in dataset.items()}
    for split in dataset:
        streamed = list(load_dataset(name, config, split=split, streaming=True))
        assert streamed == rows[config][split], (config, split)
assert load_dataset(name, revision="v0.1.0").num_rows == {split: len(part) for split, part in rows["all"].items()}
print(json.dumps(rows))
"""
    rows = client(pushed, code, tmp_path)
    assert sorted(rows) == ["all", "celeb", "no_celeb", "textual", "visual"]
    for config, splits in rows.items():
        local = load_dataset(str(pushed[1] / "tiktalkcoref"), config, cache_dir=str(tmp_path / "local"))
        assert {split: part.to_list() for split, part in local.items()} == splits
        assert len(splits) == (6 if config in ("textual", "visual") else 3)


def test_the_model_loads_through_every_door(pushed, build_tiny, tmp_path):
    code = """
import json
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
name = "lab/tiktalkcoref-base"
pinned = {"trust_remote_code": True, "revision": "v0.1.0", "code_revision": "v0.1.0"}
dialogue = {"sentences": ["我爱这个男生", "他是老师吗"], "speakers": ["A", "B"]}
config = AutoConfig.from_pretrained(name, **pinned)
model = AutoModel.from_pretrained(name, **pinned).eval()
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True, revision="v0.1.0")
assert type(model.config).__name__ == type(config).__name__ == "TikTalkCorefConfig"
assert not type(model).__module__.startswith("tiktalkcoref"), type(model).__module__
predicted = model.predict(processor(dialogue))[0]
resolver = pipeline("multimodal-coreference", model=name, **pinned)
try:
    AutoModel.from_pretrained(name, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error)
else:
    raise AssertionError("code ran unasked")
print(json.dumps([predicted["clusters"], resolver(dialogue)]))
"""
    clusters, result = client(pushed, code, tmp_path)
    assert len(clusters) == len(result["clusters"]) > 0
    model, processor = build_tiny(vision=True, mention_threshold=0.05, max_mentions_per_character=1.0)
    dialogue = {"sentences": ["我爱这个男生", "他是老师吗"], "speakers": ["A", "B"]}
    assert json.loads(json.dumps(model.predict(processor(dialogue))[0]["clusters"])) == clusters


def test_the_metric_computes_what_it_computes_here(pushed, tmp_path):
    """Loaded from the Hub; and by the Space's own app, which finds the module beside it under its new name."""
    hub, *_ = pushed
    name = "lab/tiktalkcoref_metric"
    space = tmp_path / "space"
    space.mkdir()
    for path in hub.repo("space", name).find("main").files:
        (space / path).write_bytes(hub.read("space", name, path))
    assert {"README.md", "app.py", "requirements.txt", "tiktalkcoref_metric.py"} < {p.name for p in space.iterdir()}
    gold = [{"clusters": [[[0, 3], [7, 7]], [[9, 10]]], "links": [1, -1]}]
    gold.append({"clusters": [[[0, 0], [2, 2], [5, 6]]], "links": [0]})
    found = [{"clusters": [[[0, 3], [7, 7]], [[9, 9]]], "rankings": [[1, 0], []]}]
    found.append({"clusters": [[[0, 0]], [[2, 2], [5, 6]]], "rankings": [[1, 0]]})
    code = f"""
import json, sys
import evaluate
metric = evaluate.load({name!r})
assert not type(metric).__module__.startswith("tiktalkcoref."), type(metric).__module__
scores = metric.compute(predictions={found!r}, references={gold!r}, n_resamples=50)
sys.path.insert(0, {str(space)!r})
import app
text, problem = app.compute(evaluate.load(str(app.module_path())), json.dumps({found!r}), json.dumps({gold!r}), True)
print(json.dumps([scores, json.loads(text), problem]))
"""
    loaded, shown, problem = client(pushed, code, tmp_path)
    assert loaded == json.loads(json.dumps(dict(score(found, gold, n_resamples=50))))
    assert shown == json.loads(json.dumps(dict(score(found, gold))))
    assert problem == ""
    assert 0 < loaded["conll_f1"] < 1
