"""The demo, small: every part leaves its result, and a second call goes on instead of starting again."""

import json

from accelerate.state import AcceleratorState

from tiktalkcoref import demo
from tiktalkcoref.training.recipe import load_recipe


def test_the_demo_goes_from_corpus_to_report(tmp_path, monkeypatch, capsys):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(demo, "load_recipe", lambda name, given: load_recipe(name, [*given, "loop.epochs=1"]))
    result = demo.run_demo(tmp_path / "demo", dialogues=24)
    output = capsys.readouterr().out
    assert result["dialogues"] == 4
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"corpus", "dataset", "run", "evaluation"}
    report = tmp_path / "demo" / "evaluation" / "report.html"
    assert report.stat().st_size > 10_000
    end = output[output.rindex("CoNLL F1") :]
    assert str(report) in end
    assert sum(line.strip().startswith("tiktalkcoref ") for line in end.splitlines()) == 3

    trained = (tmp_path / "demo" / "run" / "summary.json").stat().st_mtime_ns
    again = demo.run_demo(tmp_path / "demo", dialogues=24)
    assert (tmp_path / "demo" / "run" / "summary.json").stat().st_mtime_ns == trained
    assert json.dumps(again["scores"]) == json.dumps(result["scores"])
    assert "1 · " not in capsys.readouterr().out
