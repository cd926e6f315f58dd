"""Every snippet of README and docs runs, in a folder with a sample corpus, its dataset and a small model."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Snippets that no test can run as they stand, each with the reason.
NOT_RUN = {
    "make demo": "the demo and the tests themselves",
    "pip install '.": "tested by installing the wheel; the page in tests/test_space_*.py",
    "tiktalkcoref backbone": "downloads; each command in tests/test_training_*.py, test_evaluation.py, test_cli.py",
    "benchmarks/results_text.py": "trains for hours",
    "benchmarks/bench_sample.py": "trains three times",
    "NAME": "run against a local Hub by tests/test_hub_push.py and test_hub_load.py",
    "tiktalkcoref track": "needs the weights of the face networks",
    'weights="weights"': "likewise",
    "HOST": "several machines; on one by tests/test_inference_ray.py and the snippet after it",
}


def snippets() -> list:
    found = []
    for page in PAGES:
        for number, (language, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), start=1):
            found.append(pytest.param(language, code, id=f"{page.stem}-{number}"))
    return found


@pytest.fixture
def workplace(tmp_path, sample_corpus, dataset, tiny_model_folder, monkeypatch) -> Path:
    """A folder as the pages suppose it: `corpus`, `tiktalkcoref` (as `prepare` writes it), `model`."""
    shutil.copytree(sample_corpus, tmp_path / "corpus")
    shutil.copytree(dataset, tmp_path / "tiktalkcoref")
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize(("language", "code"), snippets())
def test_snippet_runs(language, code, workplace):
    for start, reason in NOT_RUN.items():
        if start in code:
            pytest.skip(reason)
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
