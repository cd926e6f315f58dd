"""The demo, small: every part leaves its result, and a second call goes on instead of starting again."""

import json
from html.parser import HTMLParser

from accelerate.state import AcceleratorState

from tiktalkcoref import demo
from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.evaluation.report import HEADLINES
from tiktalkcoref.training.recipe import load_recipe


class Page(HTMLParser):
    """What a reader of the report finds: dialogues by key, pictures, table rows; and whether every mark is closed."""

    def __init__(self):
        super().__init__()
        self.dialogues, self.rows, self.path = [], [], []
        self.pictures = self.opened = self.closed = 0

    def handle_starttag(self, tag, attributes):
        self.path.append(tag)
        self.pictures += tag == "img" and dict(attributes)["src"].startswith("data:image/jpeg;base64,")
        self.opened += tag == "mark"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.closed += tag == "mark"
        while self.path and self.path.pop() != tag:
            pass

    def handle_data(self, text):
        if self.path[-2:] == ["header", "code"]:
            self.dialogues.append(text)
        if {"td", "th"} & set(self.path):
            self.rows[-1][-1] += text


def test_the_demo_goes_from_corpus_to_report(tmp_path, monkeypatch, capsys):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(demo, "load_recipe", lambda name, given: load_recipe(name, [*given, "loop.epochs=1"]))
    result = demo.run_demo(tmp_path / "demo", dialogues=24)
    output = capsys.readouterr().out
    assert result["dialogues"] == 4
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"corpus", "dataset", "run", "evaluation"}
    report = tmp_path / "demo" / "evaluation" / "report.html"
    page = Page()
    page.feed(report.read_text(encoding="utf-8"))
    dialogues = load_dialogues(str(tmp_path / "demo" / "dataset"), "all", "test")
    assert sorted(page.dialogues) == sorted(dialogue["doc_key"] for dialogue in dialogues)
    assert page.pictures >= sum(len(dialogue.get("regions", ())) for dialogue in dialogues) > 0
    assert page.opened == page.closed
    shown = {cells[0]: cells[1] for cells in page.rows if len(cells) > 1}
    for key, name in HEADLINES.items():
        assert shown[name] == f"{100 * result['scores'][key]['value']:.1f}"
    end = output[output.rindex("CoNLL F1") :]
    assert str(report) in end
    assert sum(line.strip().startswith("tiktalkcoref ") for line in end.splitlines()) == 3

    trained = (tmp_path / "demo" / "run" / "summary.json").stat().st_mtime_ns
    again = demo.run_demo(tmp_path / "demo", dialogues=24)
    assert (tmp_path / "demo" / "run" / "summary.json").stat().st_mtime_ns == trained
    assert json.dumps(again["scores"]) == json.dumps(result["scores"])
    assert "1 · " not in capsys.readouterr().out
