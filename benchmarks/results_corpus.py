"""The counts of the published annotations, as a file of results.

python benchmarks/results_corpus.py [--data-dir FOLDER] [--annotations FILE] [--output FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from record import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="upstream's files; downloaded where left out")
    parser.add_argument("--annotations", help="the annotation file, if not in --data-dir")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "corpus.json")
    arguments = parser.parse_args()
    given = [("--data-dir", arguments.data_dir), ("--annotations", arguments.annotations)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tiktalkcoref.cli", "stats", "--output-dir", folder]
        subprocess.run([*command, *(word for pair in given if pair[1] for word in pair)], check=True)
        figures = json.loads((Path(folder) / "statistics.json").read_text(encoding="utf-8"))
    record(arguments.output, "Counts of the published annotations", figures)


if __name__ == "__main__":
    main()
