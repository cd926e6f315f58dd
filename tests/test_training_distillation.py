"""Several models averaged, and one that learns from them."""

import copy
import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tiktalkcoref.cli import app
from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.evaluation.ensemble import Ensemble, load_ensemble
from tiktalkcoref.evaluation.predictions import predict_dialogues
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.training.distillation import join, soft_labels, split
from tiktalkcoref.training.preparation import prepare
from tiktalkcoref.training.recipe import RecipeError
from tiktalkcoref.training.train import train

from .training_runs import tiny_recipe, weights, write_recipe

COLOURS = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
DIALOGUES = [
    {
        "sentences": ["我妈妈是老师吗", "他小明好看"],
        "clusters": [[[0, 0]], [[1, 2], [7, 7]], [[8, 9]]],
        "regions": COLOURS[:2],
        "links": [-1, 1, 0],
    },
    {
        "sentences": ["这个女生了吗", "她"],
        "clusters": [[[0, 3], [6, 6]], [[2, 3]]],
        "regions": COLOURS,
        "links": [2, -1],
    },
    {"sentences": ["吗"], "clusters": []},
]


@pytest.fixture
def three(build_tiny):
    """Two models that see, and the batch of the dialogues; a low threshold finds mentions."""
    models = [build_tiny(vision=True, seed=seed, mention_threshold=0.02)[0].eval() for seed in (1, 2)]
    processor = build_tiny(vision=True)[1]
    return models, processor, processor(DIALOGUES, labels=True)


def test_a_model_averaged_with_itself_predicts_as_it_does_alone(three):
    models, _, batch = three
    alone, twice = models[0].predict(batch), Ensemble([models[0], copy.deepcopy(models[0])]).eval().predict(batch)
    assert any(result["clusters"] for result in alone)
    for one, other in zip(alone, twice, strict=True):
        assert one["clusters"] == other["clusters"]
        assert one["regions"] == other["regions"]
        for key in ("mention_scores", "region_scores"):
            for row, averaged in zip(one[key], other[key], strict=True):
                assert averaged == pytest.approx(row, abs=1e-5)


def test_an_ensemble_gives_the_means_of_its_models_probabilities(three):
    models, _, batch = three
    ensemble = Ensemble(models).eval()
    starts, spans = ensemble.mention_probabilities(batch)
    outputs = [model(batch.input_ids, **{k: v for k, v in batch.items() if k not in ("clusters", "links", "input_ids")})
               for model in models]  # fmt: skip
    each = [(output.start_logits.sigmoid(), output.end_logits.sigmoid()) for output in outputs]
    inside = batch.character_index >= 0
    assert torch.allclose(starts[inside], sum(start for start, _ in each)[inside] / 2, atol=1e-6)
    joint = sum(start[..., None] * end for start, end in each) / 2
    assert torch.allclose(spans[spans > 0], joint[spans > 0], atol=1e-6)

    mentions = [[(0, 0), (1, 2), (7, 7)], [(0, 3), (6, 6)], []]
    alone = [Ensemble([model]).eval().pair_probabilities(batch, mentions) for model in models]
    assert torch.allclose(ensemble.pair_probabilities(batch, mentions), (alone[0] + alone[1]) / 2, atol=1e-6)
    assert (alone[0] > 0).sum() == 3 + 1

    gold = [dialogue["clusters"] for dialogue in DIALOGUES]
    found = [model.predict(batch, clusters=gold) for model in (*models, ensemble)]
    for first, second, mean in zip(*found, strict=True):
        for a, b, c in zip(first["region_scores"], second["region_scores"], mean["region_scores"], strict=True):
            assert c == pytest.approx([(x + y) / 2 for x, y in zip(a, b, strict=True)], abs=1e-6)

    regions = [torch.nn.functional.normalize(model.get_image_features(batch.pixel_values), dim=-1) for model in models]
    cosines = [
        model.get_cluster_features(batch, gold) @ region.T for model, region in zip(models, regions, strict=True)
    ]
    averaged = ensemble.get_cluster_features(batch, gold) @ (
        torch.nn.functional.normalize(ensemble.get_image_features(batch.pixel_values), dim=-1).T
    )
    assert torch.allclose(averaged, (cosines[0] + cosines[1]) / 2, atol=1e-6)


def test_antecedents_that_one_model_does_not_keep_count_as_improbable(build_tiny):
    models = [build_tiny(seed=seed, antecedent_top_k=2)[0].eval() for seed in (1, 2)]
    processor = build_tiny()[1]
    batch = processor([{"sentences": ["我你他她这那个男女生"]}])
    mentions = [[(place, place) for place in range(10)]]
    alone = [Ensemble([model]).eval().pair_probabilities(batch, mentions) for model in models]
    assert not torch.equal(alone[0] > 0, alone[1] > 0)
    kept = alone[0] > 0
    averaged = Ensemble(models).eval().pair_probabilities(batch, mentions)
    assert torch.allclose(averaged[kept], (alone[0] + alone[1])[kept] / 2, atol=1e-6)
    assert not averaged[~kept].any()


@pytest.mark.parametrize("negatives", [False, True])
def test_the_loss_is_the_weighted_sum_of_that_against_gold_labels_and_that_against_the_teachers(
    three, build_tiny, negatives
):
    models, _, batch = three
    settings = {"end_starts": "gold", "clustering_negatives": negatives, "mention_threshold": 0.1}
    student = build_tiny(vision=True, seed=3, **settings)[0].eval()
    losses = {}
    for weight in (None, 0.0, 0.3, 1.0):
        batch.soft_labels = None if weight is None else soft_labels(Ensemble(models).eval(), batch, weight)
        output = student(**batch)
        losses[weight] = torch.stack(
            [output.loss_start, output.loss_end, output.loss_clustering, output.loss_linking, output.loss]
        )
    assert torch.allclose(losses[0.0], losses[None], atol=1e-5)
    assert torch.allclose(losses[0.3], 0.7 * losses[0.0] + 0.3 * losses[1.0], atol=1e-5)
    assert not torch.isclose(losses[1.0], losses[0.0], rtol=1e-6).any()


@pytest.mark.parametrize("end_starts", ["gold", "predicted", "all"])
def test_soft_labels_that_are_gold_train_as_gold_labels_do(three, build_tiny, end_starts):
    models, _, batch = three
    student = build_tiny(vision=True, seed=3, end_starts=end_starts, mention_threshold=0.1)[0].eval()
    gold = student(**batch)
    batch.soft_labels = soft_labels(Ensemble(models).eval(), batch, 0.0)
    assert torch.equal(student(**batch).loss_end, gold.loss_end)
    assert torch.equal(student(**batch).loss_clustering, gold.loss_clustering)


def test_labels_are_split_by_dialogue_and_joined_in_any_order(three):
    models, processor, batch = three
    labels = soft_labels(Ensemble(models).eval(), batch, 0.5)
    parts = split(labels)
    length = batch.character_index.shape[1]
    for joined, wanted in ((join(parts, length), labels), (join(parts[1:], 7), None)):
        if wanted is None:  # a shorter batch
            wanted = soft_labels(Ensemble(models).eval(), processor(DIALOGUES[1:], labels=True), 0.5)
        assert joined.mentions == wanted.mentions
        for name in ("starts", "spans", "pairs"):
            assert torch.allclose(getattr(joined, name), getattr(wanted, name), atol=1e-5), name
    assert join(parts, length).links[2] is None


@pytest.fixture(scope="module")
def teachers(sample_corpus, tmp_path_factory):
    """Two runs that see, of one recipe."""
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (1, 2):
        train(tiny_recipe(folder, sample_corpus, f"seed={seed}", vision=True), folder / f"seed-{seed}", quiet=True)
    return [str(folder / f"seed-{seed}") for seed in (1, 2)]


def test_the_command_trains_a_student_that_goes_on_where_it_was_interrupted(teachers, sample_corpus, tmp_path):
    recipe = write_recipe(tmp_path, sample_corpus, vision=True)
    arguments = ["distil", str(recipe), *teachers, "--quiet", "--set", "distil.weight=0.9"]
    whole = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.output
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text(encoding="utf-8"))
    teacher = json.loads((tmp_path / f"{teachers[0]}/summary.json").read_text(encoding="utf-8"))
    assert summary["recipe"] == "tiny-distilled"
    assert summary["parameters"] == teacher["parameters"]

    overrides = ["name=tiny-distilled", f"distil.teachers={json.dumps(teachers)}", "distil.weight=0.9"]
    part = tmp_path / "part"
    train(tiny_recipe(tmp_path, sample_corpus, *overrides, vision=True), part, quiet=True)
    newest = sorted((part / "checkpoints").iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    (part / "summary.json").unlink()
    train(tiny_recipe(tmp_path, sample_corpus, *overrides, vision=True), part, resume=True, quiet=True)
    one, other = weights(tmp_path / "whole"), weights(part)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items() if not name.startswith("random/"))


def test_titles_are_learned_as_the_teachers_alone_label_them(teachers, sample_corpus, tmp_path):
    overrides = (f"distil.teachers={json.dumps(teachers)}", "distil.weight=0.3", "distil.titles=true")
    recipe = tiny_recipe(tmp_path, sample_corpus, *overrides, vision=True)
    run = prepare(recipe, tmp_path, resume=False)
    known = load_dialogues(str(sample_corpus), "all", "train")
    titles = run.train[len(known) :]
    assert {"".join(title["sentences"][0]) for title in titles} == {dialogue["title"] for dialogue in known}
    assert run.steps == 2 * -(-len(run.train) // 8)
    ensemble, processor = load_ensemble(teachers)
    title = titles[0]
    read = processor([{"sentences": title["sentences"]}])
    assert title["clusters"] == ensemble.predict(read)[0]["clusters"]
    starts, spans = ensemble.mention_probabilities(read)
    labels, length = title["soft_labels"], starts.shape[1]
    assert torch.allclose(labels.starts[:, :length], starts, atol=1e-5)
    assert torch.allclose(labels.spans[:, :length], spans, atol=1e-5)
    assert not labels.starts[:, length:].any()


def test_titles_need_teachers(tmp_path, sample_corpus):
    with pytest.raises(RecipeError, match=r"distil\.titles is true, but distil\.teachers is empty"):
        tiny_recipe(tmp_path, sample_corpus, "distil.titles=true")


def test_an_ensemble_is_evaluated_and_called_one(teachers, sample_corpus, tmp_path):
    arguments = ["evaluate", "--model", teachers[0], "--model", teachers[1], "--dataset", str(sample_corpus)]
    done = CliRunner().invoke(app, [*arguments, "--output-dir", str(tmp_path / "out"), "--n-resamples", "0"])
    assert done.exit_code == 0, done.output
    assert f"ensemble of {teachers[0]}, {teachers[1]}" in done.output
    result = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert result["model"]["path"] == f"ensemble of {teachers[0]}, {teachers[1]}"
    assert "ensemble of" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    dialogues = load_dialogues(str(sample_corpus), "all", "test")
    ensemble, processor = load_ensemble(teachers)
    predictions = predict_dialogues(ensemble, processor, dialogues)
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["clusters"] for line in lines] == [found["clusters"] for found in predictions]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.clustering_loss=marginal", "distil needs model.clustering_loss=bce, not marginal"),
        ("model.max_mention_length=8", "model.max_mention_length is 8, that of distil.teachers is 32"),
        ("distil.weight=2", r"distil.weight is 2.0: in \[0, 1\] expected"),
    ],
)
def test_a_student_that_its_teachers_do_not_fit_is_refused(teachers, sample_corpus, tmp_path, override, message):
    with pytest.raises(RecipeError, match=message):
        train(
            tiny_recipe(tmp_path, sample_corpus, f"distil.teachers={json.dumps(teachers)}", override, vision=True),
            tmp_path / "out",
            quiet=True,
        )


def test_a_student_that_sees_learns_from_teachers_that_only_read(sample_corpus, tmp_path):
    train(tiny_recipe(tmp_path, sample_corpus, "loop.epochs=1"), tmp_path / "text", quiet=True)
    overrides = (f"distil.teachers=[{tmp_path / 'text'}]", "loop.max_steps=1")
    summary = train(tiny_recipe(tmp_path, sample_corpus, *overrides, vision=True), tmp_path / "out", quiet=True)
    assert summary["validation"]["linking_n"] > 0
    assert '"loss_linking"' in (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8")


def test_models_that_read_differently_are_not_averaged(teachers, sample_corpus, tmp_path):
    train(tiny_recipe(tmp_path, sample_corpus, "loop.epochs=1"), tmp_path / "text", quiet=True)
    with pytest.raises(UserError, match="do not read alike: vision_config, processor differ; take runs of one recipe"):
        load_ensemble([teachers[0], tmp_path / "text"])
