"""What the README says was measured: its numbers stand in benchmarks/results."""

import json
import re
from pathlib import Path

import pytest
import readme_results

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?![\w-])")
# Numbers of the README that nobody measured, each with what it is.
NOT_MEASURED = {
    "2025": "the year of the paper",
    "31513": "its pages",
    "31525": "its pages",
    "2023": "the year of TikTalk's licence",
    "3.10": "of Python",
    "3.13": "of Python",
    "95": "the level of the intervals",
    "1": "as in recall@1",
}


def prose(markdown: str) -> str:
    """Without the generated results, code, addresses and comments."""
    before, rest = markdown.split(readme_results.START)
    text = before + rest.split(readme_results.END)[1]
    for pattern in (r"```.*?```", r"<!--.*?-->", r"`[^`]*`", r"\]\([^)]*\)", r"arXiv:[\d.]+"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


def test_the_readme_says_what_was_measured():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == readme_results.with_results(readme), "run python benchmarks/readme_results.py"


def test_a_changed_figure_changes_the_readme():
    results = readme_results.read_results()
    before = readme_results.rendered(results)
    results["text"]["all"]["scores"]["celeb/test"]["conll_f1"]["mean"] += 0.01
    assert readme_results.rendered(results) != before


def test_every_other_number_of_the_readme_is_a_count_or_named():
    counts = json.dumps(readme_results.read_results()["corpus"])
    measured = set(re.findall(r"\d+", counts))
    found = {number.replace(",", "") for number in NUMBER.findall(prose((ROOT / "README.md").read_text("utf-8")))}
    assert found - measured - set(NOT_MEASURED) == set()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_file_of_results_says_how_it_came(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {"what", "command", "commit", "date", "machine", "versions", "seeds", "figures"} <= set(result)
    assert result["figures"]
