"""`tiktalkcoref score`: documents from jsonl and CoNLL-2012, tables and JSON out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiktalkcoref import cli
from tiktalkcoref.evaluation.score_files import align_documents, read_documents, score_files

CONLL = """#begin document (wb/7); part 000
wb/7\t0\t0\t她\t-\t*\t-\t-\t-\tA\t*\t(0)
wb/7\t0\t1\t的\t-\t*\t-\t-\t-\tA\t*\t(1|(2
wb/7\t0\t2\t儿\t-\t*\t-\t-\t-\tA\t*\t(0)
wb/7\t0\t3\t子\t-\t*\t-\t-\t-\tA\t*\t1)

wb/7\t0\t0\t他\t-\t*\t-\t-\t-\tB\t*\t(1)|2)
wb/7\t0\t1\t\u2028\t-\t*\t-\t-\t-\tB\t*\t-

#end document
"""
CLUSTERS = [[[0, 0], [2, 2]], [[1, 3], [4, 4]], [[1, 4]]]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def write_jsonl(path, documents):
    return write(path, "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents))


def run(*arguments):
    return CliRunner().invoke(cli.app, ["score", *map(str, arguments)], env={"COLUMNS": "120"})


def test_conll(tmp_path):
    path = write(tmp_path / "key.conll", CONLL + CONLL.replace("part 000", "part 012"))
    first, second = read_documents(path)
    assert first == {"doc_key": "wb/7_0", "clusters": CLUSTERS}
    assert second["doc_key"] == "wb/7_12"


def test_conll_of_the_reference_scorer(tmp_path):
    """Its own test files have five columns, a nameless part and `-` or `_` for nothing."""
    text = "#begin document (LuoTestCase);\ntest1\t0\t0\ta\t(0\ntest1\t0\t1\tb\t0)\ntest1\t0\t2\tc\t_\n#end document\n"
    assert read_documents(write(tmp_path / "k", text)) == [{"doc_key": "LuoTestCase_0", "clusters": [[[0, 1]]]}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty, expected jsonl (one object a line) or CoNLL-2012 (#begin document ...)"),
        ("[]", "found '[]', expected jsonl (one object a line) or CoNLL-2012 (#begin document ...)"),
        ('{"clusters": []}\n{', ", line 2: not JSON"),
        ('{"cluster": []}', ", line 1: expected an object with 'clusters', found"),
        ("#begin document (a);\n0 1|(2\n", ":2: '1' in the last column, expected '(3', '3)', '(3)' or '-'"),
        ("#begin document (a);\n0 1)\n", ":2: a mention of cluster 1 closes that was never opened"),
        ("#begin document (a);\n0 (1\n#end document", ":3: document 'a' ends while a mention of cluster 1 is open"),
        ("#begin document (a);\n0 -\n", "document 'a' does not end (#end document)"),
        ("#begin document (a);\n#begin document (b);", ":2: a document begins before 'a' has ended (#end document)"),
        ("#x\n0 -", ":2: text outside a document; expected '#begin document (name); part 000'"),
        ("#end document", ":1: #end document without its #begin document"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = write(tmp_path / "broken", text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared in full below)
        read_documents(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_documents_are_found_by_their_key():
    gold = [{"doc_key": "1", "clusters": []}, {"doc_key": "2", "clusters": [[[0, 0]]]}]
    assert align_documents(gold[::-1], gold) == gold
    exported = [{"doc_key": f"wb/{row['doc_key']}_0", "clusters": row["clusters"]} for row in gold[::-1]]
    assert align_documents(exported, gold) == gold
    unnamed = [{"clusters": []}, {"clusters": []}]
    assert align_documents(unnamed, gold) is unnamed


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["1"], "1 are not predicted, such as '2'"),
        (["1", "2", "3"], "1 are not in the gold file, such as '3'"),
        (["1", "1"], "the predicted file has doc_key '1' more than once"),
    ],
)
def test_other_documents_are_refused(keys, message):
    gold = [{"doc_key": "1", "clusters": []}, {"doc_key": "2", "clusters": []}]
    with pytest.raises(ValueError, match=f"do not hold the same documents: {message}$"):
        align_documents([{"doc_key": key, "clusters": []} for key in keys], gold)


def test_jsonl_against_conll(tmp_path):
    gold = write_jsonl(tmp_path / "gold.jsonl", [{"doc_key": "7", "genre": "wb", "clusters": CLUSTERS}])
    output = tmp_path / "new" / "scores.json"
    result = run("--gold", gold, "--predicted", write(tmp_path / "p.conll", CONLL), "--output", output)
    assert result.exit_code == 0, result.output
    written = json.loads(output.read_text(encoding="utf-8"))
    assert written["documents"] == 1
    assert written["options"]["n_resamples"] == 1000
    assert {key: written["scores"][key] for key in ("conll_f1", "conll_f1_low", "lea_f1")} == {
        "conll_f1": 1.0,
        "conll_f1_low": 1.0,
        "lea_f1": 1.0,
    }
    assert [path.name for path in output.parent.iterdir()] == ["scores.json"]


def test_tables(tmp_path):
    box = {"frame": 1, "bbox": [0, 0, 9, 9]}
    gold = {"doc_key": "a", "clusters": CLUSTERS, "links": [1, -1, 0], "kinds": ["pronoun", "noun", "noun"]}
    gold["boxes"] = [[box], [], []]
    predicted = {"doc_key": "a", "clusters": CLUSTERS[:2], "rankings": [[1, 0], [], [1, 0]], "boxes": [[box], []]}
    result = run(
        *("--gold", write_jsonl(tmp_path / "g", [gold]), "--predicted", write_jsonl(tmp_path / "p", [predicted])),
        *("--n-resamples", 0, "--k", 1, "--k", 2),
    )
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in result.output.splitlines()]
    assert ["CEAF-e", "100.00", "66.67", "80.00"] in rows
    assert ["recall@1", "50.00", "50.00", "2"] in rows
    assert ["pronoun: recall@1", "100.00", "50.00", "1"] in rows
    assert ["mean pool", "2.00", "", ""] in rows
    assert ["visual F1", "100.00", "", "3"] in rows
    assert "Coreference over mentions and regions (%)" in result.output
    assert not any("recall@3" in line for line in result.output.splitlines())


def test_errors_name_the_document(tmp_path):
    gold = write_jsonl(tmp_path / "g", [{"doc_key": "a", "clusters": CLUSTERS}])
    predicted = write_jsonl(tmp_path / "p", [{"doc_key": "a", "clusters": [[[3, 1]]]}])
    result = run("--gold", gold, "--predicted", predicted)
    assert isinstance(result.exception, ValueError)  # `main` prints it as one message
    assert str(result.exception).startswith("predictions, document 0 (doc_key 'a'), cluster 0: span [3, 1] ends before")


def test_upstream_file_against_itself(upstream, tmp_path):
    path = upstream / "annotations.8d346bf.jsonl"
    output = tmp_path / "scores.json"
    result = run("--gold", path, "--predicted", path, "--output", output, "--n-resamples", 10)
    assert result.exit_code == 0, result.output
    assert set(json.loads(output.read_text(encoding="utf-8"))["scores"].values()) == {1.0}


def test_scores_never_replace_what_they_are_made_from(tmp_path):
    gold = write_jsonl(tmp_path / "gold.jsonl", [{"doc_key": "a", "clusters": CLUSTERS}])
    before = gold.read_bytes()
    (tmp_path / "link").symlink_to(gold)
    for output in (gold, tmp_path / "link"):
        result = run("--gold", gold, "--predicted", gold, "--output", output)
        assert isinstance(result.exception, ValueError)
        assert "is one of the files to score, and is not replaced" in str(result.exception)
    assert gold.read_bytes() == before
    result = run("--gold", gold, "--predicted", gold, "--output", tmp_path)
    assert "is a folder; name the JSON file to write" in str(result.exception)


def test_odd_separators_stay_inside_a_line(tmp_path):
    """U+2028 and U+0085 end a line for `str.splitlines`, not for JSON lines; a byte order mark is dropped."""
    document = {"doc_key": "a", "sentences": [["\u2028", "\x85", "\x1e"]], "clusters": [[[0, 0], [2, 2]]]}
    path = write(tmp_path / "g", "\ufeff" + json.dumps(document, ensure_ascii=False) + "\r\n\n")
    assert read_documents(path) == [document]
    assert run("--gold", path, "--predicted", path).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"clusters": [], "doc_key": "a", "clusters": [[[0, 0]]]}', "the key 'clusters' stands twice in one object"),
        ('{"clusters": [], "clusters_str": [[{"a": 1, "a": 2}]]}', "the key 'a' stands twice in one object"),
        ('{"clusters": ' + "[" * 100_000, "JSON nested too deep"),
        ('{"clusters": []}\n{"clusters": "\ufffd"}'.encode().replace(b"\xef\xbf\xbd", b"\xff"), "line 2: not UTF-8"),
        (b"#begin document (a);\na\t\xff\t-\n#end document\n", "not UTF-8"),
    ],
)
def test_files_of_strangers(tmp_path, text, message):
    path = tmp_path / "broken"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared)
        read_documents(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_scoring_files_needs_no_torch(tmp_path):
    gold = write_jsonl(tmp_path / "g", [{"doc_key": "a", "clusters": CLUSTERS}])
    code = (
        "import sys\n"
        "from tiktalkcoref.evaluation.score_files import score_files\n"
        "from tiktalkcoref.evaluate_metric.report import tables\n"
        "tables(score_files(sys.argv[1], sys.argv[1])['scores'])\n"
        "print(*(name for name in ('torch', 'transformers', 'datasets', 'PIL') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, gold], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def command(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})
    assert result.exit_code == 0, (result.output, result.exception)


def test_the_project_s_own_files_fit_each_other(tiny_model_folder, sample_corpus, tmp_path):
    """corpus -> split, export -> evaluate, predict -> score: the same scores from every pair of files."""
    command("split", "--data-dir", sample_corpus, "--output-dir", tmp_path / "split")
    for file_format in ("conll", "jsonlines"):
        command("export", file_format, "--data-dir", sample_corpus, "--output-dir", tmp_path / file_format)
    options = ("--model", tiny_model_folder, "--dataset", sample_corpus, "--split", "train")
    command("evaluate", *options, "--output-dir", tmp_path / "evaluated", "--n-resamples", 0)
    command("evaluate", *options, "--output-dir", tmp_path / "read", "--n-resamples", 0, "--no-with-pictures")
    # `evaluate` computes in fp32; `predict` only where that is the faster
    command("predict", *options, "--precision", "fp32", "--output", tmp_path / "seen.jsonl")

    def scored(gold: Path, predicted: Path) -> dict[str, float]:
        command("score", "--gold", gold, "--predicted", predicted, "--output", tmp_path / "s.json", "--n-resamples", 0)
        return json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["scores"]

    def measured(folder: str) -> dict[str, float]:
        scores = json.loads((tmp_path / folder / "scores.json").read_text(encoding="utf-8"))["scores"]
        return {key: entry["value"] for key, entry in scores.items()}

    golds = (
        tmp_path / "split" / "all" / "train.textual.jsonl",
        tmp_path / "conll" / "train.conll",
        tmp_path / "jsonlines" / "train.jsonlines",
    )
    seen, read = measured("evaluated"), measured("read")
    assert seen["mention_f1"] > 0
    for gold in golds:
        assert set(scored(gold, gold).values()) == {1.0}
        found = scored(gold, tmp_path / "evaluated" / "predictions.jsonl")
        assert found == {key: seen[key] for key in found}
        assert scored(gold, tmp_path / "read" / "predictions.jsonl") == {key: read[key] for key in found}
        assert scored(gold, tmp_path / "seen.jsonl") == found
    keys = {document["doc_key"] for document in read_documents(golds[0])}
    lines = (sample_corpus / "all_textual_and_visual_annotations_format.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    gold = write_jsonl(tmp_path / "rows", [row for row in rows if row["doc_key"] in keys])
    linked = scored(gold, tmp_path / "evaluated" / "predictions.jsonl")
    assert linked["linking_n"] > 0
    assert linked == {key: seen[key] for key in linked}


def test_predicted_characters_become_tokens(tmp_path):
    """`predict` joins the tokens of an utterance and counts characters; a token of the gold may have several."""
    gold = {
        "doc_key": "a",
        "sentences": [["她", "2024", "好"], ["", "OK", "吗"]],
        "clusters": [[[0, 0], [1, 2]], [[4, 5]]],
    }
    mentions = [
        [{"sentence": 0, "start": 0, "end": 1, "text": "她"}, {"sentence": 0, "start": 1, "end": 6, "text": "2024好"}],
        [{"sentence": 1, "start": 0, "end": 3, "text": "OK吗"}],
    ]
    found = {"doc_key": "a", "sentences": ["她2024好", "OK吗"], "clusters": [{"mentions": m} for m in mentions]}
    path = write_jsonl(tmp_path / "g", [gold])
    result = score_files(path, write_jsonl(tmp_path / "p", [found | {"text_only": True}]))
    assert set(result["scores"].values()) == {1.0}
    nothing = write_jsonl(tmp_path / "n", [{"doc_key": "a", "sentences": ["她"], "clusters": [], "text_only": True}])
    assert score_files(path, nothing)["scores"]["mention_recall"] == 0
    with pytest.raises(ValueError, match="doc_key 'a': the gold file has another text"):
        score_files(path, write_jsonl(tmp_path / "o", [found | {"sentences": ["她2024好", "OK吧"]}]))
    with pytest.raises(ValueError, match="unknown key 'mention_scores'"):  # of files that are not the project's own
        score_files(path, write_jsonl(tmp_path / "x", [{"clusters": gold["clusters"], "mention_scores": []}]))
