"""The package as pip installs it: the version, the citation, the map, and a base without torch."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import tiktalkcoref
from tiktalkcoref.files.errors import ISSUES

ROOT = Path(__file__).resolve().parent.parent


def test_the_version_and_the_tracker_are_told_once() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r'^version = "', project, re.MULTILINE)
    assert f'Issues = "{ISSUES}"' in project
    assert re.fullmatch(r"\d+\.\d+\.\d+", tiktalkcoref.__version__)


def test_the_citation_names_the_paper() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert names == ["Xingyu Li", "Chen Gong", "Guohong Fu"]
    assert (paper["year"], paper["start"], paper["end"]) == (2025, 31513, 31525)


def test_the_map_names_what_is_there() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    tests = re.findall(r"`(?:tests/)?(test_\w+\.py)`", text)
    assert len(tests) >= 14
    assert [name for name in tests if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_installs_without_torch_and_works(sample_corpus: Path, tmp_path: Path) -> None:
    """`pip install .` into an empty environment; needs a package index."""
    ignored = shutil.ignore_patterns(".*", "build", "tiktalkcoref", "runs", "demo", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=ignored)  # setuptools builds inside the source
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: object) -> str:
        command = [str(binaries / program), *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("python", "-m", "pip", "install", "--quiet", wheel)
    assert "torch" not in run("python", "-m", "pip", "list").split()
    assert run("python", "-c", "from tiktalkcoref import score, TikTalkCoref; print(score.__name__)") == "score\n"
    assert "24" in run("tiktalkcoref", "stats", "--data-dir", sample_corpus)
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"doc_key": "1", "clusters": [[[0, 1], [3, 3]]]}\n', encoding="utf-8")
    assert "100.0" in run("tiktalkcoref", "score", "--gold", gold, "--predicted", gold)
