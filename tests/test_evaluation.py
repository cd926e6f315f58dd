"""Evaluation: predictions, links by setting, baselines, the files written, the report; prediction."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from tiktalkcoref.evaluate_metric import score
from tiktalkcoref.evaluation import baselines, evaluate, models, pools
from tiktalkcoref.evaluation.challenge import load_challenge
from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.evaluation.headline import headline
from tiktalkcoref.evaluation.output import OutputError
from tiktalkcoref.evaluation.predictions import (
    cluster_kind,
    gold_prediction,
    predict_dialogues,
    score_choices,
    score_gold,
    score_predictions,
)
from tiktalkcoref.inference import predict

from .training_runs import NoFloat64

TEXT = {"sentences": ["小明好看吗", "他是我老师"], "speakers": ["A", "B"]}


@pytest.fixture(scope="module")
def dialogues(sample_corpus):
    return load_dialogues(str(sample_corpus), "all", "train")


@pytest.fixture(scope="module")
def evaluated(tiny_model_folder, sample_corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluated") / "out"
    options = {"split": "train", "resampling": evaluate.Resampling(n_resamples=50)}
    return evaluate.evaluate(tiny_model_folder, str(sample_corpus), output, **options), output


def test_gold_scores_one(dialogues):
    scores = score_gold(dialogues)
    assert scores["conll_f1"] == scores["linking_recall_at_1"] == scores["linking_visual_f1"] == 1.0
    assert scores["linking_n"] == sum(link >= 0 for d in dialogues for link in d.get("links", ()))


def test_equal_region_scores_do_not_help(dialogues):
    predictions = [gold_prediction(dialogue) for dialogue in dialogues]
    for prediction in predictions:
        prediction["gold_region_scores"] = [[0.5] * len(row) for row in prediction["gold_region_scores"]]
    scores = score_predictions(predictions, dialogues)
    assert scores["linking_recall_at_1"] < scores["linking_chance_at_1"]


def test_predictions_do_not_depend_on_the_batch_size(build_tiny, dialogues):
    model, processor = build_tiny(vision=True)
    one, many = (predict_dialogues(model, processor, dialogues[:6], batch_size=size) for size in (1, 6))
    assert [p["clusters"] for p in one] == [p["clusters"] for p in many]
    for a, b in zip(one, many, strict=True):
        for row, other in zip(a["gold_region_scores"], b["gold_region_scores"], strict=True):
            np.testing.assert_allclose(row, other, atol=1e-5)


def test_cluster_kind_is_that_of_the_most_telling_mention():
    dialogue = {"sentences": ["小明和那个男生", "他他"]}
    assert cluster_kind(dialogue, [[7, 7], [0, 1]]) == "name"
    assert cluster_kind(dialogue, [[3, 6], [7, 7]]) == "noun"
    assert cluster_kind(dialogue, [[8, 8]]) == "pronoun"


def test_found_clusters_are_aligned_as_ceaf_aligns_them():
    gold = [[[0, 0], [2, 2]], [[4, 4]], [[6, 6]]]
    prediction = {"clusters": [[[4, 4]], [[0, 0], [8, 8]]], "region_scores": [[0.1, 0.9], [0.7, 0.3]]}
    assert pools.aligned_region_scores(gold, prediction) == [[0.7, 0.3], [0.1, 0.9], []]


def test_retrieval_ranks_all_regions_but_those_of_the_same_person(build_tiny):
    model, processor = build_tiny(vision=True)
    generator = np.random.default_rng(0)
    people = [["王", None], ["王", "明"], [None]]
    dialogues = [
        TEXT
        | {"doc_key": str(number), "clusters": [[[0, 1], [5, 5]], [[7, 7]]], "links": [0, -1]}
        | {"regions": [Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8)) for _ in names]}
        | {"region_identities": names}
        for number, names in enumerate(people)
    ]
    predictions = predict_dialogues(model, processor, dialogues, batch_size=2, in_full=True)
    rows, references = pools.retrieval(dialogues, predictions)
    assert [len(row[0]) for row in rows] == [4, 4, 5]  # the first two show 王: his other region is left out
    assert [reference["regions"] for reference in references] == [4, 4, 5]
    batch = processor(dialogues[2:])
    with torch.no_grad():
        cluster = model.get_cluster_features(batch, [[[[0, 1], [5, 5]]]])
        region = torch.nn.functional.normalize(model.get_image_features(batch["pixel_values"]), dim=-1)
    assert math.isclose(rows[2][0][references[2]["links"][0]], float((cluster @ region.T)[0, 0]), abs_tol=1e-5)


def test_rules_of_the_baselines():
    dialogue = {"sentences": ["他和小明", "他"]}
    mentions = [[0, 0], [2, 3], [4, 4]]
    assert baselines.singletons(dialogue, mentions) == [[[0, 0]], [[2, 3]], [[4, 4]]]
    assert baselines.same_string(dialogue, mentions) == [[[0, 0], [4, 4]], [[2, 3]]]
    assert baselines.previous_cluster(dialogue, mentions) == [mentions]


def test_scores_file_says_what_was_measured(evaluated, dialogues):
    result, output = evaluated
    assert json.loads((output / "scores.json").read_text(encoding="utf-8")) == result
    assert result["dialogues"] == len(dialogues)
    assert result["model"]["parameters"] > 1000
    entry = result["scores"]["linking_recall_at_1"]
    assert entry["n"] == score_gold(dialogues)["linking_n"]
    assert entry["low"] <= entry["value"] <= entry["high"]
    names = [setting["name"] for setting in result["linking_settings"]]
    assert names == [pools.SAME_VIDEO, pools.FOUND_CLUSTERS, pools.WHOLE_SPLIT]
    assert result["linking_settings"][2]["mean_pool"] > 5 * result["linking_settings"][0]["mean_pool"]
    gold = result["baselines"]["every mention its own cluster, gold mentions"]
    assert gold["mention_f1"] == 1.0
    assert 0.0 < gold["conll_f1"] < 1.0
    challenge = result["challenge"]
    assert challenge["all"]["n"] == sum(row["n"] for name, row in challenge.items() if name != "all") >= 55
    shown = [f"<td>{name}</td><td>{row['exact']} of {row['n']}</td>" for name, row in challenge.items()]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert all(cells in page for cells in shown)


def test_text_and_pictures_are_read_once(tiny_model_folder, sample_corpus, dialogues, tmp_path, monkeypatch):
    """By a whole evaluation: predictions, gold clusters, retrieval, baselines and challenge set share what was read."""
    model, processor = models.load_model(tiny_model_folder)
    monkeypatch.setattr(evaluate, "load_model", lambda _: (model, processor))
    seen = {"pictures": 0, "windows": 0, "queries": 0}

    def count_text(module, args, given):
        kind = "windows" if "inputs_embeds" in given else "queries"  # only dialogues carry speakers
        seen[kind] += len(given["inputs_embeds" if kind == "windows" else "input_ids"])

    model.text_encoder.register_forward_pre_hook(count_text, with_kwargs=True)
    model.vision_encoder.register_forward_pre_hook(
        lambda module, args: seen.update(pictures=seen["pictures"] + len(args[0]))
    )
    options = {"split": "train", "resampling": evaluate.Resampling(0), "batch_size": 5}
    evaluate.evaluate(tiny_model_folder, str(sample_corpus), tmp_path / "out", **options)
    challenge = [{key: d[key] for key in d if key != "phenomenon"} for d in load_challenge()]
    assert seen["windows"] == sum(len(processor([d])["input_ids"]) for d in [*dialogues, *challenge])
    assert seen["pictures"] == sum(len(d.get("regions", ())) for d in dialogues)
    found = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    pictured = [p for d, p in zip(dialogues, found, strict=True) if d.get("regions")]
    asked = [dialogue["clusters"] for dialogue in dialogues] + [prediction["clusters"] for prediction in pictured]
    assert 0 < seen["queries"] <= sum(map(len, asked))


def test_predictions_file_gives_the_scores_again(evaluated, dialogues):
    result, output = evaluated
    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["doc_key"] for line in lines] == [dialogue["doc_key"] for dialogue in dialogues]
    again = score([{"clusters": p["clusters"]} for p in lines], [{"clusters": d["clusters"]} for d in dialogues])
    assert again["conll_f1"] == result["scores"]["conll_f1"]["value"]


def test_report_shows_every_dialogue_and_loads_nothing(evaluated, dialogues):
    _, output = evaluated
    page = (output / "report.html").read_text(encoding="utf-8")
    assert all(dialogue["doc_key"] in page for dialogue in dialogues)
    assert page.count("<mark") == page.count("</mark>") > 0
    assert "data:image/jpeg;base64," in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "<script" not in page


def test_report_escapes_what_people_write(tiny_model_folder, sample_corpus, evaluated):
    from tiktalkcoref.evaluation.report import Shown, render_report

    dialogue = {"doc_key": "1", "sentences": ["<b>他"], "clusters": [[[3, 3]]], "title": "<script>alert(1)</script>"}
    prediction = {"clusters": [], "regions": [], "gold_regions": [-1], "gold_region_scores": [[]]}
    page = render_report(evaluated[0], [Shown(dialogue, prediction)])
    assert "<script>" not in page
    assert "&lt;b&gt;<mark" in page


def test_a_text_only_evaluation_links_nothing(tiny_model_folder, sample_corpus, tmp_path):
    options = {"split": "validation", "with_pictures": False, "resampling": evaluate.Resampling(0)}
    result = evaluate.evaluate(tiny_model_folder, str(sample_corpus), tmp_path / "out", **options)
    assert result["linking_settings"] == []
    assert not any(key.startswith("linking") for key in result["scores"])
    assert "low" not in result["scores"]["conll_f1"]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model: expected config.json and weights"):
        evaluate.load_model(tmp_path)


def test_an_output_with_other_files_is_kept(tiny_model_folder, sample_corpus, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises((ValueError, OSError), match=r"thesis\.tex"):
        evaluate.evaluate(tiny_model_folder, str(sample_corpus), tmp_path, split="validation")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["scores.json", "report.html"])
def test_files_of_the_same_names_by_others_are_kept_and_nothing_is_predicted(tmp_path, monkeypatch, name):
    monkeypatch.setattr(evaluate, "load_rows", None)
    (tmp_path / name).write_text('{"scores": "of my course"}')
    with pytest.raises(OutputError, match=rf"holds {name}, which was not written here"):
        evaluate.evaluate("no-model", "no-data", tmp_path)
    assert (tmp_path / name).read_text() == '{"scores": "of my course"}'


def test_an_earlier_evaluation_is_replaced(evaluated, tiny_model_folder, sample_corpus, tmp_path):
    output = shutil.copytree(evaluated[1], tmp_path / "out")
    options = {"split": "validation", "with_pictures": False, "resampling": evaluate.Resampling(0)}
    result = evaluate.evaluate(tiny_model_folder, str(sample_corpus), output, **options)
    assert json.loads((output / "scores.json").read_text(encoding="utf-8")) == result


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_that_reads_nothing_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match=f"batch size is {size}: 1 or more"):
        evaluate.evaluate("no-model", "no-data", tmp_path / "out", batch_size=size)
    with pytest.raises(ValueError, match=f"batch size is {size}: 1 or more"):
        predict.predict("no-model", [TEXT], batch_size=size)


def test_choices_leave_out_dialogues_with_one_region():
    """Three queries: one with a single region (always right), two with two regions, of which one is right."""
    dialogues = [TEXT | {"clusters": [[[0, 1]]], "links": [0], "regions": [None] * count} for count in (1, 2, 2)]
    rows = ([[0.1]], [[0.9, 0.1]], [[0.1, 0.9]])
    predictions = [{"clusters": [[[0, 1]]], "gold_region_scores": row, "gold_regions": [0]} for row in rows]
    assert score_predictions(predictions, dialogues)["linking_recall_at_1"] == pytest.approx(2 / 3)
    choices = score_choices(predictions, dialogues)
    assert choices["linking_choice_recall_at_1"] == choices["linking_choice_chance_at_1"] == 0.5
    assert (choices["linking_choice_n"], choices["linking_choice_mean_pool"]) == (2, 2.0)
    assert score_choices(predictions[:1], dialogues[:1]) == {}


def test_recall_never_stands_alone(evaluated):
    result, output = evaluated
    flat = {key: entry["value"] for key, entry in result["scores"].items()}
    chance, pool = flat["linking_chance_at_1"], flat["linking_mean_pool"]
    assert headline(flat).endswith(f"R@1 {flat['linking_recall_at_1']:.3f} (chance {chance:.3f}, pool {pool:.2f})")
    assert "R@1" not in headline({"conll_f1": 0.5, "linking_n": 0})
    for name, row in result["baselines"].items():
        assert ("linking_recall_at_1" in row) == ("linking_chance_at_1" in row) == ("region" in name)
    console = Console(record=True, width=120)
    console.print(evaluate.summary_tables(result))
    printed = console.export_text()
    assert printed.count("R@1") == printed.count("chance") - 2 == 2  # the table of scores has "chance" too; R@3 as well
    page = (output / "report.html").read_text(encoding="utf-8")
    assert page.count("<th>R@1</th><th>chance</th>") == 2
    row = re.search(r"<tr><td>link R@1</td>(.*)", page).group(1)
    assert f"<td>{100 * chance:.1f}</td><td>{pool:.2f}</td>" in row


def test_retrieval_makes_no_float64(build_tiny, dialogues):
    """MPS has none."""
    model, processor = build_tiny(vision=True)
    with NoFloat64():
        rows, _ = pools.retrieval(dialogues, predict_dialogues(model, processor, dialogues, batch_size=8, in_full=True))
    assert rows


def test_a_model_is_applied_where_torch_finds_an_accelerator(monkeypatch):
    assert models.best_device().type in ("cpu", "cuda", "mps")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps"))
    assert models.best_device() == torch.device("mps")


def test_predict_reads_json_and_json_lines_with_pictures_beside_them(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(TEXT | {"regions": ["a.png"]}), encoding="utf-8")
    assert predict.read_dialogues(tmp_path / "one.json") == [TEXT | {"regions": [tmp_path / "a.png"]}]
    (tmp_path / "two.jsonl").write_text("\n".join([json.dumps(TEXT)] * 2), encoding="utf-8")
    assert predict.read_dialogues(tmp_path / "two.jsonl") == [TEXT, TEXT]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no dialogue: expected JSON such as"),
        ('{"sentences": []}\n{"sent', r"line 2: not JSON"),
        ("[1]", "dialogue 1: found int, expected"),
        ('{"sentences": ["a"], "sentences": ["b"]}', "line 1: not JSON .*'sentences' stands twice"),
        ("[" * 100_000, "line 1: not JSON .nested too deep"),
    ],
)
def test_predict_says_what_is_wrong_with_a_file(tmp_path, content, message):
    (tmp_path / "bad.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        predict.read_dialogues(tmp_path / "bad.jsonl")


def test_a_line_ends_at_a_line_feed_alone(tmp_path):
    odd = {"sentences": ["好\u2028看\u0085"]}
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(odd, ensure_ascii=False)] * 2), encoding="utf-8")
    assert predict.read_dialogues(tmp_path / "a.jsonl") == [odd, odd]


def test_predict_looks_at_its_output_first(tmp_path):
    with pytest.raises(IsADirectoryError):
        predict.main("no-model", [TEXT], output=tmp_path)


def test_predict_prints_and_writes(tiny_model_folder, tmp_path):
    console = Console(record=True, width=100)
    results = predict.main(str(tiny_model_folder), [TEXT], console=console)
    printed = console.export_text()
    assert "A  " in printed
    assert all(m["text"] in printed for cluster in results[0]["clusters"] for m in cluster["mentions"])
    predict.main(str(tiny_model_folder), [TEXT | {"doc_key": "7"}], output=tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert row["doc_key"] == "7"
    assert row["clusters"] == results[0]["clusters"]


def test_predict_on_a_dataset_sees_no_labels(sample_corpus):
    for dialogue in predict.dataset_dialogues(str(sample_corpus), "celeb", "test"):
        assert not {"clusters", "links", "region_identities"} & dialogue.keys()
