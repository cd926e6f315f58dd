"""The metric as an `evaluate` module, loaded as a user does, each time in a fresh process."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard

from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluate_metric.inputs import PREDICTION_KEYS, REFERENCE_KEYS, ROW_KEYS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "evaluate_metric"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Runs Python code in a fresh process with empty caches and no network; returns what it prints last, from JSON.

    `evaluate` imports all of transformers for its pipelines, which is most of the time here: `light` hides it.
    """
    home = tmp_path_factory.mktemp("home")

    def run(code: str, cwd: Path = ROOT, light: bool = True) -> object:
        if light:
            hide = "import sys; sys.modules['transformers'] = None; import evaluate; del sys.modules['transformers']"
            code = f"{hide}\n{code}"
        environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


USE = """
import json, sys, evaluate
metric = evaluate.load({path!r})
references = [{{"clusters": [[[0, 3], [7, 7]], [[9, 10]]], "links": [1, -1]}}]
predictions = [{{"clusters": [[[0, 3], [7, 7]], [[9, 9]]], "rankings": [[1, 0], []]}}]
scores = metric.compute(predictions=predictions, references=references, ks=(1,), n_resamples=10, keep_singletons=True)
print(json.dumps([scores, "tiktalkcoref" in sys.modules]))
"""


def test_loads_from_the_root_by_name(fresh):
    scores, imported = fresh(USE.format(path="evaluate_metric"), light=False)
    assert round(scores["conll_f1"], 6) == 0.722222
    assert scores["linking_recall_at_1"] == 1
    assert scores["linking_chance_at_1"] == 0.5
    assert "conll_f1_low" in scores
    assert not imported


def test_loads_by_absolute_path(fresh, tmp_path):
    scores, _ = fresh(USE.format(path=str(FOLDER)), cwd=tmp_path)
    assert scores["b_cubed_f1"] == pytest.approx(2 / 3)


def test_loads_under_another_name_and_alone(fresh, tmp_path):
    """As on the Hub, where the module is called like its repository, and the Space's page finds it."""
    copy = tmp_path / "other_name"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "evaluate_metric.py").rename(copy / "other_name.py")
    scores, imported = fresh(USE.format(path=str(copy)), cwd=tmp_path)
    assert scores["muc_f1"] == 1
    assert not imported
    page = (
        "import json, app, evaluate\n"
        "metric = evaluate.load(str(app.module_path()))\n"
        "good = app.compute(metric, *map(json.dumps, app.EXAMPLE), True)\n"
        "print(json.dumps([json.loads(good[0]), good[1], app.compute(metric, '[', '[]', True), "
        "app.compute(metric, '[]', '[]', True)]))"
    )
    scores, problem, broken, empty = fresh(page, cwd=copy)
    assert scores["muc_f1"] == 1
    assert problem == ""
    assert broken[1].startswith("predictions: not JSON")
    assert empty[1].startswith("predictions and references are empty")


def test_the_metric_itself(fresh):
    """Rows, arrays, batches, refusals before anything is stored."""
    code = """
import json, evaluate, numpy as np
from tiktalkcoref.evaluate_metric import score
metric = evaluate.load("evaluate_metric")
row = {"doc_key": "a", "sentences": [["她"]], "clusters": [[[0, 0]]], "entity_labels": ["C1"], "visual_annotations":
       [{"cur_frame": 1, "bbox": [0, 0, 9, 9], "box_labels": "C1", "celebrity": "x", "region": object()}]}
prediction = {"clusters": [np.array([[0, 0]])], "rankings": [np.array([0])]}
found = [metric.compute(predictions=[prediction], references=[row]) == dict(score([prediction], [row]))]
metric.add(prediction=prediction, reference=row)
metric.add_batch(predictions=[{"clusters": [[[0, 1]]], "rankings": [[0]]}], references=[row])
found.append(metric.compute()["mention_f1"])
for bad in ([], [{"clusters": [[[1, 2, 3]]]}], [{"clusters": [], "x": 1}], [{"clusters": [[[0, 0]], [[0, 0]]]}]):
    try:
        metric.add_batch(predictions=bad, references=[row][:len(bad)])
    except ValueError as error:
        found.append(str(error))
metric.add(prediction=prediction, reference=row)
for bad in ({"clusters": [[[3, 1]]], "rankings": [[]]}, {"clusters": [[[3, 3]]], "rankings": [[1.5]]}):
    try:
        metric.add(prediction=bad, reference=row)
    except ValueError as error:
        found.append(str(error))
try:
    metric.compute(kind="micro")
except TypeError as error:
    found.append(str(error))
print(json.dumps(found))
"""
    same, f1, *messages = fresh(code)
    assert same
    assert f1 == 0.5
    empty, three, unknown, twice, later, ranking, option = messages
    assert empty.startswith("predictions and references are empty")
    assert three.startswith("predictions, document 0, cluster 0: span [1, 2, 3] is not two integers")
    assert unknown.startswith("predictions, document 0: unknown key 'x'")
    assert twice.startswith("predictions, document 0, cluster 0: mention [0, 0] is also in cluster 1")
    assert later.startswith("predictions, document 1, cluster 0: span [3, 1] ends before it starts")
    assert ranking == "predictions, document 1, cluster 0: ranking [1.5] is not a list of region numbers, best first"
    assert "kind" in option


def test_doctests_of_module_and_card_run(fresh):
    code = """
import doctest, json, evaluate
card = doctest.testfile("evaluate_metric/README.md", module_relative=False)
metric = evaluate.load("evaluate_metric")
test = doctest.DocTestParser().get_doctest(metric.inputs_description, {"evaluate": evaluate}, "module", None, 0)
runner = doctest.DocTestRunner()
runner.run(test)
print(json.dumps([*card, *runner.summarize()]))
"""
    card_failed, card_run, failed, run = fresh(code)
    assert (card_failed, failed) == (0, 0)
    assert card_run > 10
    assert run == 5


def test_scoring_needs_numpy_and_scipy_alone(fresh):
    code = """
import json, sys
from tiktalkcoref.evaluate_metric import score
score([{"clusters": [[[0, 1]]]}], [{"clusters": [[[0, 1]]]}])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = set(fresh(code, light=False))
    assert {"numpy", "scipy"} <= loaded
    assert not loaded & {
        "datasets",
        "evaluate",
        "pyarrow",
        "pandas",
        "torch",
        "transformers",
        "huggingface_hub",
        "rich",
    }


def test_the_card_says_what_a_metric_card_says():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\ntitle: ")
    for section in (
        *("Metric description", "How to use", "Limitations and bias", "Citation", "Further references"),
        *("Inputs", "Output values", "Values from popular papers", "Examples", "Formulas"),
    ):
        assert f"# {section}\n" in card


def test_the_card_documents_every_input_option_and_score():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    inputs = card[card.index("### Inputs") : card.index("### Output values")]
    for side, keys in (("predictions", PREDICTION_KEYS), ("references", REFERENCE_KEYS)):
        table = inputs[inputs.index(f"| `{side}[i]` |") :].split("\n\n")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == keys - ROW_KEYS
    options = {name: p.default for name, p in inspect.signature(score).parameters.items() if p.kind is p.KEYWORD_ONLY}
    documented = re.findall(r"`(\w+)=([^`]+)`", inputs)
    assert {name: ast.literal_eval(value) for name, value in documented} == options

    output = card[card.index("### Output values") : card.index("### Formulas")]
    box = {"frame": 1, "bbox": [0, 0, 5, 5]}
    gold = {"clusters": [[[0, 0]]], "links": [0], "kinds": ["name"], "boxes": [[box]]}
    found = score([{"clusters": [[[0, 0]]], "rankings": [[0]], "boxes": [[box]]}], [gold], n_resamples=2)
    for key in found:
        words = re.sub(r"^multimodal_|_(low|high)$", "", key).replace("linking_name_", "linking_")
        metric, _, part = words.rpartition("_")
        spelled = re.sub(r"_at_\d$", "_at_<k>", words)
        known = f"`{spelled}`" in output or (f"`{metric}_`" in output and f"`{part}`" in output)
        assert known or (metric == "linking_visual" and f"`_{part}`" in output), key


def test_the_card_s_metadata_is_what_the_hub_takes():
    data = SpaceCard.load(FOLDER / "README.md").data.to_dict()
    assert (data["sdk"], data["app_file"], data["license"]) == ("gradio", "app.py", "mit")
    assert {"evaluate", "metric"} <= set(data["tags"])
    assert (FOLDER / data["app_file"]).is_file()
