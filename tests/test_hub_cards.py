"""The cards: rendered from what was measured, valid for the Hub, and different where the measurements are."""

import importlib.util
import json
import re
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import get_dataset_config_names, load_dataset_builder
from datasets.utils.metadata import MetadataConfigs, known_task_ids
from hub_server import LocalHub, run_client
from huggingface_hub import DatasetCard, ModelCard, ModelCardData, RepoCard, SpaceCard
from huggingface_hub.utils import validate_repo_id
from transformers.pipelines import SUPPORTED_TASKS

from tiktalkcoref import evaluate_metric as metric_module
from tiktalkcoref.evaluate_metric import app as metric_app
from tiktalkcoref.hub import cards, dataset_repo, metric_repo, model_repo
from tiktalkcoref.hub.kinds import KINDS, Sources
from tiktalkcoref.tiktalkcoref_dataset import TikTalkCoref

IDS = {kind: f"lab/{KINDS[kind].default_name}" for kind in KINDS}
EXAMPLES = [{"title": "One", "text": "我\n你", "output": [{"entity_group": "C1", "word": "我", "start": 0, "end": 1}]}]
SCORES = {
    "format": 1,
    "dataset": "lab/tiktalkcoref",
    "config": "celeb",
    "split": "test",
    "dialogues": 33,
    "confidence_level": 0.95,
    "n_resamples": 1000,
    "seed": 0,
    "scores": {
        "conll_f1": {"value": 0.68125, "low": 0.6101, "high": 0.7499, "n": 33},
        "muc_f1": {"value": 0.5, "low": None, "high": None, "n": 33},
        "linking_recall_at_1": {"value": 0.25, "low": 0.125, "high": 0.375, "n": 48},
        "linking_mrr": {"value": None, "low": None, "high": None, "n": 0},
        "muc_recall": {"value": 0.4, "low": None, "high": None, "n": 33},
    },
    "linking_settings": [
        {
            "name": "gold_clusters_same_video",
            "n": 48,
            "mean_pool": 1.25,
            "scores": {"linking_recall_at_1": {"value": 0.25}, "linking_chance_at_1": {"value": 0.8}},
        }
    ],
    "baselines": {"same_string": {"conll_f1": 0.512}},
    "model": {"path": "model", "parameters": None},
    "training": {"wall_seconds": 90, "device": "cpu", "parameters": 12345},
    "environment": {},
}


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as server:
        yield server


@pytest.fixture
def render(tmp_path):
    """Render the card of a model in tmp_path/run with the given scores, recipe and summary."""
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)

    def render(scores=SCORES, recipe=None, summary=None, vision=True, dataset=tmp_path / "tiktalkcoref", **sources):
        paths = []
        for number, report in enumerate(scores if isinstance(scores, list) else [scores] if scores else []):
            paths.append(tmp_path / f"scores{number}.json")
            paths[-1].write_text(json.dumps(report))
        for name, value in (("recipe.yaml", recipe), ("summary.json", summary)):
            (run / name).unlink(missing_ok=True)
            if value is not None:
                (run / name).write_text(json.dumps(value))
        text = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 32}
        config = {"text_config": text, "window_size": 512, "use_title": False}
        config["vision_config"] = {"architecture": "vit_base", "image_size": 224} if vision else None
        given = Sources(model=run / "model", scores=tuple(paths), dataset=dataset, **sources)
        return cards.render_model_card(given, IDS, config, 54321, EXAMPLES)

    return render


def metrics(card: str) -> dict:
    (entry,) = ModelCard(card).data.to_dict()["model-index"]
    return {
        (result["dataset"]["config"], metric["type"]): metric
        for result in entry["results"]
        for metric in result["metrics"]
    }


def test_the_metadata_hold_what_was_measured(render):
    data = ModelCard(render()).data.to_dict()
    assert data["language"] == "zh"
    assert data["license"] == "mit"
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "token-classification"
    assert data["metrics"] == ["lab/tiktalkcoref_metric"]
    assert data["widget"] == [{"example_title": "One", "text": "我\n你"}]
    (entry,) = data["model-index"]
    assert entry["name"] == "tiktalkcoref-base"
    (result,) = entry["results"]
    assert result["dataset"] == {
        "name": "TikTalkCoref (celeb, test)",
        "type": "lab/tiktalkcoref",
        "config": "celeb",
        "split": "test",
    }
    assert {metric["type"]: (metric["value"], metric.get("args")) for metric in result["metrics"]} == {
        "conll_f1": (0.68125, {"n": 33, "low": 0.6101, "high": 0.7499, "confidence_level": 0.95}),
        "muc_f1": (0.5, {"n": 33}),
        "linking_recall_at_1": (0.25, {"n": 48, "low": 0.125, "high": 0.375, "confidence_level": 0.95}),
    }


def test_the_card_changes_with_the_json(render):
    before = render()
    changed = json.loads(json.dumps(SCORES))
    changed["scores"]["conll_f1"] |= {"value": 0.7033, "low": 0.65, "high": 0.77, "n": 31}
    changed["linking_settings"][0]["mean_pool"] = 2.75
    after = render(changed)
    assert metrics(before)["celeb", "conll_f1"]["value"] == 0.68125
    assert metrics(after)["celeb", "conll_f1"]["value"] == 0.7033
    assert metrics(after)["celeb", "conll_f1"]["args"]["n"] == 31
    assert "| CoNLL F1 | 68.1 (61.0 to 75.0) | 33 |" in before
    assert "| CoNLL F1 | 70.3 (65.0 to 77.0) | 31 |" in after
    assert "| gold clusters same video | 48 | 1.2 | 25.0 | 80.0 |" in before
    assert "| gold clusters same video | 48 | 2.8 | 25.0 | 80.0 |" in after
    assert before.count("68.1") == 1
    assert "68.1" not in after


def test_every_number_of_the_scores_is_in_the_card(render):
    """Several evaluations, each with random values: what the card says is what its JSON says."""
    import random

    source = random.Random(0)
    reports = []
    for config in ("celeb", "all", "no_celeb"):
        scores = {key: {"value": source.random(), "low": 0.0, "high": 1.0, "n": 33} for key in cards.HEADLINES}
        reports.append({**SCORES, "config": config, "scores": scores})
    found = metrics(render(reports))
    assert len(found) == 3 * len(cards.HEADLINES)
    for report in reports:
        for key, score in report["scores"].items():
            assert found[report["config"], key]["value"] == score["value"]


def test_a_run_gives_recipe_base_model_and_figures(render, tmp_path):
    recipe = {
        "dataset": str(tmp_path / "tiktalkcoref"),
        "initial": {
            "text_encoder": "hfl/chinese-roberta-wwm-ext",
            "vision_encoder": "vit_base",
            "pretrained_vision": True,
        },
        "loop": {"epochs": 3},
    }
    summary = {"wall_seconds": 126, "peak_memory_bytes": 3 * 2**29, "device": "cpu", "versions": {"torch": "2.15.0"}}
    card = render(recipe=recipe, summary=summary)
    data = ModelCard(card).data.to_dict()
    assert data["base_model"] == ["hfl/chinese-roberta-wwm-ext", "timm/vit_base"]
    assert data["datasets"] == ["lab/tiktalkcoref"]
    assert "| wall time | 2.1 minutes |" in card
    assert "| peak memory | 1.50 GiB |" in card
    assert "epochs: 3" in card
    assert str(tmp_path) not in card  # folders of this machine stay here
    assert "dataset: tiktalkcoref" in card

    local = render(recipe={"dataset": "sample", "initial": {"text_encoder": str(tmp_path)}})
    data = ModelCard(local).data.to_dict()
    assert "base_model" not in data
    assert "datasets" not in data
    assert "| wall time | 1.5 minutes |" in local  # from the scores
    assert ModelCard(render(base_models=("org/name",))).data.base_model == ["org/name"]


@pytest.mark.parametrize(
    ("loop", "split", "words"),
    [
        ({}, "train", "The best epoch was chosen on the\nvalidation split"),
        ({"keep": "last"}, "train", "The last epoch was kept."),
        ({"keep": "last"}, "train+validation", "the validation split was learned too"),
    ],
)
def test_the_card_says_what_the_validation_split_was_for(render, loop, split, words):
    card = render(recipe={"dataset": "sample", "loop": loop, "train_split": split})
    assert " ".join(words.split()) in " ".join(card.split())


def test_scores_on_another_dataset_are_not_given_for_the_corpus(render):
    card = render({**SCORES, "dataset": "/somewhere/else/sample"})
    (result,) = ModelCard(card).data.to_dict()["model-index"][0]["results"]
    assert result["dataset"]["type"] == "sample"
    assert "TikTalkCoref (" not in card.split("model-index")[1].split("---")[0]
    assert "/somewhere" not in card


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("scores", [None, SCORES])
def test_the_model_card_passes_the_hub(render, hub, monkeypatch, scores, vision):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    card = render(scores, vision=vision)
    ModelCard(card).validate()
    data = ModelCard(card, ignore_metadata_errors=False).data  # the model-index is parsed
    assert ModelCardData(**yaml.safe_load(data.to_yaml())).to_dict() == data.to_dict()
    assert data.pipeline_tag in SUPPORTED_TASKS
    for name in (*data.metrics, *(data.datasets or []), *([data.base_model] if data.base_model else [])):
        validate_repo_id(name)
    for result in data.eval_results or []:
        assert isinstance(result.metric_value, float)
        assert result.dataset_type == "lab/tiktalkcoref"
    assert not re.search(r"\{[{%]|\bNone\b(?!`)|Undefined", card)
    assert "\n\n\n\n" not in card
    for heading in ("Intended use", "Limits", "Faces and biometric data", "Training", "Environmental figures"):
        assert f"\n## {heading}\n" in card


def test_the_local_hub_refuses_what_the_hub_refuses(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    for wrong in (
        "language: Chinese",
        "license: mine",
        "pipeline_tag: coref",
        "model-index: [{name: x, results: [{}]}]",
    ):
        with pytest.raises(ValueError, match=wrong.split(":")[0]):
            RepoCard(f"---\n{wrong}\n---\n").validate(repo_type="model")


def build(module, sources: Sources, folder: Path) -> Path:
    """The repository folder of a kind, as it is pushed."""
    folder.mkdir()
    module.KIND.check(sources)
    module.KIND.build(sources, IDS, folder)
    cards.check_card(folder / "README.md", module.KIND.type)
    return folder


def test_datasets_reads_the_card_of_the_dataset_as_it_was_prepared(dataset, tmp_path, hub, monkeypatch):
    """What `load_dataset` takes from the card is what the builder has: configs, splits, rows, bytes, features."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    folder = build(dataset_repo, Sources(dataset=dataset), tmp_path / "dataset")
    card = DatasetCard.load(folder / "README.md", ignore_metadata_errors=False)
    card.validate()
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    assert list(configs) == get_dataset_config_names(str(folder)) == ["all", "celeb", "no_celeb", "textual", "visual"]
    assert configs.get_default_config_name() == "all"
    for config in configs:
        builder = load_dataset_builder(str(folder), config, cache_dir=str(tmp_path / "cache"))
        expected = TikTalkCoref(config_name=config, cache_dir=str(tmp_path / "cache")).info.features
        assert builder.info.features == expected
        sizes = {path.name.split("-")[0]: path.stat().st_size for path in (folder / config).iterdir()}
        rows = {path.name.split("-")[0]: pq.read_metadata(path).num_rows for path in (folder / config).iterdir()}
        assert {name: split.num_examples for name, split in builder.info.splits.items()} == rows
        assert builder.info.download_size == sum(sizes.values())
    assert set(card.data.task_categories) <= known_task_ids.keys()
    resources = Path(datasets.utils.__file__).parent / "resources"
    known = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in resources.glob("*.json")}
    assert set(card.data.language) <= set(known["languages"])
    assert set(card.data.size_categories) <= set(known["size_categories"])
    assert set(card.data.multilinguality) <= set(known["multilingualities"])


def test_the_card_of_the_metric_passes_the_hub(tmp_path, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    folder = build(metric_repo, Sources(), tmp_path / "metric")
    card = SpaceCard.load(folder / "README.md", ignore_metadata_errors=False)
    card.validate()
    assert card.data.sdk == "gradio"
    assert (folder / card.data.app_file).is_file()
    assert {"evaluate", "metric"} <= set(card.data.tags)  # how `evaluate` finds it
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f'evaluate.load("{IDS["metric"]}")' in text
    assert 'load("evaluate_metric")' not in text


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs gradio: the page of the metric's Space")
def test_the_page_of_the_metric_answers(tmp_path, hub):
    """`app.py` as it is pushed, served and asked as a visitor does."""
    folder = build(metric_repo, Sources(), tmp_path / "metric")
    code = f"""
import json, os, sys
os.environ |= {{"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}}
sys.path.insert(0, {str(folder)!r})
import app, gradio_client
page = app.build()
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
client = gradio_client.Client(url, verbose=False)
example = [json.dumps(part) for part in app.EXAMPLE]
answers = [client.predict(*example, True, fn_index=0), client.predict(example[0], "[", True, fn_index=0)]
page.close()
print(json.dumps(answers))
"""
    (text, problem), (nothing, refusal) = json.loads(
        run_client(hub, code, tmp_path, token=None).stdout.splitlines()[-1]
    )
    predictions, references = metric_app.EXAMPLE
    assert json.loads(text) == json.loads(json.dumps(dict(metric_module.score(predictions, references))))
    assert not problem
    assert not nothing
    assert refusal.startswith("references: not JSON")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        ("{", "is no JSON"),
        ("[]", "not of the format 1"),
        ('{"format": 2}', "not of the format 1"),
        ('{"format": 1, "dataset": "x"}', "lacks config, dialogues, scores, split"),
    ],
)
def test_scores_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        cards.read_scores(path)


def test_scores_of_another_model_are_refused(tiny_model_folder, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({**SCORES, "model": {"parameters": 7}}))
    with pytest.raises(ValueError, match="scores of a model with 7 parameters"):
        model_repo.check(Sources(model=tiny_model_folder, scores=(path,)))


def test_parameters_are_counted_as_torch_counts_them(tiny_model_folder, build_tiny):
    model, _ = build_tiny(vision=True)
    assert model_repo.count_parameters(tiny_model_folder) == model.num_parameters()


@pytest.mark.parametrize(
    ("text", "message"),
    [("# no metadata\n", "no metadata"), ("---\nlicense: [\n---\n", "README.md"), ("---\n- a\n---\n", "README.md")],
)
def test_a_broken_card_is_refused_before_anything_is_created(tmp_path, text, message):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match=message):
        cards.check_card(tmp_path / "README.md", "model")
