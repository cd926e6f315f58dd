"""The README's results, written from `benchmarks/results/*.json`.

    python benchmarks/readme_results.py [--check]

Fills `readme_results.md.jinja` and puts it between the two marks of the README. `--check` writes nothing and ends
with 1 if the README says anything else. Run it after a measurement was recorded; a test does the same.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from tiktalkcoref.files.atomic import atomic_file

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
START, END = "<!-- from benchmarks/results, by benchmarks/readme_results.py -->\n", "<!-- end of the results -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the README differs")
    arguments = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    new = with_results(old)
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "README.md", "as measured"))
    if not arguments.check:
        with atomic_file(README) as temporary:
            temporary.write_text(new, encoding="utf-8")
    sys.exit(arguments.check and old != new)


def with_results(readme: str) -> str:
    """The README with its results as they were measured."""
    before, rest = readme.split(START)
    return before + START + rendered(read_results()) + END + rest.split(END)[1]


def read_results() -> dict[str, Any]:
    """The figures of every table, by the name of its file."""
    files = sorted((FOLDER / "results").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))["figures"] for path in files}


def rendered(results: Mapping[str, Any]) -> str:
    """The section, from the figures of every table."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    filters = (percent, points, p, estimate, millions, gib, minutes)
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template("readme_results.md.jinja").render(results)


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """Of a difference, such as `+1.4`."""
    return f"{100 * value:+.1f}"


def p(value: float) -> str:
    """Such as `0.002`; 10,000 resamples know no less than 0.0001."""
    return f"{value:.2g}"


def estimate(score: Mapping[str, float], mark: str = "") -> str:
    """Such as `71.6 [54.9, 81.3]`."""
    return f"{mark}{percent(score['mean'])}{mark} [{percent(score['low'])}, {percent(score['high'])}]"


def millions(value: float, digits: int = 1) -> str:
    return f"{value / 1e6:.{digits}f}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f}"


def gib(value: float) -> str:
    return f"{value / 2**30:.1f}"


if __name__ == "__main__":
    main()
