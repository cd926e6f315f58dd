"""How problems are printed."""

from rich.console import Console

from tiktalkcoref.corpus.problems import Problem
from tiktalkcoref.corpus.validation import problem_line, problem_tables, summary

PROBLEMS = [
    Problem("error", "data/split.jsonl", None, None, None, "the file is empty"),
    Problem("warning", "data/all.jsonl", 7, "701", "visual_annotations[0].bbox", "[bold]odd[/bold]"),
    Problem("error", "data/all.jsonl", 9, "702", "clusters", "out of range"),
]


def test_lines_as_compilers_print_them() -> None:
    assert [problem_line(problem) for problem in PROBLEMS] == [
        "data/split.jsonl: error: the file is empty",
        "data/all.jsonl:7: warning: 701: visual_annotations[0].bbox: [bold]odd[/bold]",
        "data/all.jsonl:9: error: 702: clusters: out of range",
    ]


def test_tables_by_file() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(problem_tables(PROBLEMS))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert ["data/split.jsonl"] in lines
    assert lines.index(["data/split.jsonl"]) < lines.index(["data/all.jsonl"])
    assert ["7", "warning", "701", "visual_annotations[0].bbox", "[bold]odd[/bold]"] in lines
    assert ["9", "error", "702", "clusters", "out", "of", "range"] in lines


def test_summary() -> None:
    assert summary(PROBLEMS) == "2 errors, 1 warning"
    assert summary([]) == "0 errors, 0 warnings"
