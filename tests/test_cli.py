"""The command line itself: quick, one message for what a user can mend, a bug called a bug, nothing obeyed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiktalkcoref
from tiktalkcoref.cli import app
from tiktalkcoref.files.errors import ISSUES

BLOCKED = """
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
def find_base(name, path=None, target=None):
    extras = ("torch", "torchvision", "transformers", "timm", "accelerate", "safetensors")
    return None if name.partition(".")[0] in extras else find_spec(name, path, target)
PathFinder.find_spec = staticmethod(find_base)
"""


def run_code(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def run_main(*arguments: object, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, after some code."""
    code = f"{before}\nimport sys\nsys.argv[0] = 'tiktalkcoref'\nfrom tiktalkcoref.cli import main\nmain()"
    return run_code(code, *arguments, **environment)


def best_of(code: str, runs: int = 5) -> float:
    """Seconds of the quickest run: what else the machine does is not ours."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_import_and_help_are_instant() -> None:
    """Bars: 0.1 s and 0.5 s; asserted with a factor of two for slow machines."""
    idle = best_of("pass")
    assert best_of("import tiktalkcoref") - idle < 0.2
    assert best_of("import sys; sys.argv = ['tiktalkcoref', '--help']; import tiktalkcoref.cli as c; c.main()") < 1.0
    loaded = run_code("import sys, tiktalkcoref.cli; print({'numpy', 'datasets', 'torch'} & set(sys.modules))").stdout
    assert loaded == "set()\n"


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"tiktalkcoref {tiktalkcoref.__version__}\n")


def test_the_base_works_without_the_model_libraries(sample_corpus: Path, tmp_path: Path) -> None:
    stats = run_main("stats", "--data-dir", sample_corpus, before=BLOCKED)
    assert stats.returncode == 0, stats.stderr
    assert "24" in stats.stdout
    (tmp_path / "gold.jsonl").write_text('{"doc_key": "1", "clusters": [[[0, 1], [3, 3]]]}\n')
    score = run_main("score", "--gold", tmp_path / "gold.jsonl", "--predicted", tmp_path / "gold.jsonl", before=BLOCKED)
    assert score.returncode == 0, score.stderr
    assert "100.0" in score.stdout
    assert run_code(f"{BLOCKED}\nfrom tiktalkcoref import TikTalkCoref, compare, score, write_sample").stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "sample"],
        ["evaluate", "--model", "m", "--dataset", "sample", "--output-dir", "out"],
        ["predict", "--model", "m", "他"],
        ["demo", "--output", "out"],
    ],
)
def test_a_missing_extra_is_named(arguments: list[str], tmp_path: Path) -> None:
    result = run_main(*arguments, before=f"import os\nos.chdir({str(tmp_path)!r})\n{BLOCKED}")
    assert result.returncode == 1
    assert result.stderr == (
        "error: torch, transformers, timm, accelerate, safetensors are not installed: "
        "pip install 'tiktalkcoref[model]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_public_name_that_needs_an_extra_says_so() -> None:
    result = run_code(
        f"{BLOCKED}\ntry:\n    from tiktalkcoref import TikTalkCorefModel\nexcept ImportError as e: print(e)"
    )
    assert result.stdout.endswith("pip install 'tiktalkcoref[model]'\n")


def test_a_fault_of_the_program_is_called_a_bug(tmp_path: Path) -> None:
    before = (
        "import tiktalkcoref.sample as s\n"
        "def write_sample(*a, **k): return int('\\x1b]52;x')\n"
        "s.write_sample = write_sample"
    )
    result = run_main("sample", "--output", tmp_path / "out", before=before, TMPDIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("this is a bug: ValueError: invalid literal for int()")
    assert "\x1b]" not in result.stderr
    (written,) = tmp_path.glob("tiktalkcoref-*.txt")
    assert f"The traceback is in {written}; please report it: {ISSUES}" in result.stderr
    assert "in write_sample" in written.read_text(encoding="utf-8")
    debug = run_main("--debug", "sample", "--output", tmp_path / "out", before=before, TMPDIR=str(tmp_path))
    assert "Traceback" in debug.stderr
    assert len(list(tmp_path.glob("tiktalkcoref-*.txt"))) == 1


def test_a_full_disk_has_a_message(tmp_path: Path) -> None:
    before = (
        "import errno, tiktalkcoref.files.atomic as a\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "a._put_in_place = full"
    )
    result = run_main("sample", "--output", tmp_path / "out", "--dialogues", 12, before=before)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the disk is full: make room")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or os.name == "nt", reason="POSIX signals")
def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    before = (
        "import os, signal, tiktalkcoref.files.atomic as a\n"
        "def ended(*_): os.kill(os.getpid(), signal.SIGTERM)\n"
        "a._put_in_place = ended"
    )
    result = run_main("sample", "--output", tmp_path / "out", "--dialogues", 12, before=before)
    assert result.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "--model", "m", "--batch-size", "0", "他"],
        ["evaluate", "--model", "m", "--dataset", "d", "--output-dir", "o", "--batch-size", "0"],
        ["score", "--gold", "g", "--predicted", "p", "--n-resamples", "-1"],
        ["score", "--gold", "g", "--predicted", "p", "--k", "0"],
        ["score", "--gold", "g", "--predicted", "p", "--confidence-level", "95"],
    ],
)
def test_numbers_out_of_range_are_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def hostile_corpus(sample_corpus: Path, folder: Path) -> Path:
    """A copy in which titles and the words of the dialogues carry an OSC 52 sequence, which writes the clipboard."""
    folder.mkdir()
    for path in sample_corpus.glob("*.jsonl"):
        text = path.read_text(encoding="utf-8").replace('"title": "', '"title": "\\u001b]52;c;eA==\\u0007')
        (folder / path.name).write_text(text.replace('["', '["\\u001b'), encoding="utf-8")
    return folder


def test_what_a_corpus_holds_is_shown_and_not_obeyed(sample_corpus: Path, tmp_path: Path) -> None:
    folder = hostile_corpus(sample_corpus, tmp_path / "hostile\x1b]0;x\x07")
    for arguments in (["show"], ["validate"], ["validate", "--plain"], ["stats"], ["show", "no such \x1b[2J"]):
        result = run_main(*arguments, "--data-dir", folder, FORCE_COLOR="1")
        for sequence in ("\x1b]", "\x07", "\x1b[2J"):
            assert sequence not in result.stdout + result.stderr, arguments
    assert r"\x1b" in run_main("show", "no such \x1b[2J", "--data-dir", folder).stderr


def test_show_on_a_console_that_lacks_a_character(sample_corpus: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tiktalkcoref.cli", "show", "--data-dir", str(sample_corpus)],
        env={**os.environ, "PYTHONIOENCODING": "gbk"},
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert "]1" in result.stdout.decode("gbk")


def test_a_folder_of_the_packages_name_does_not_shadow_it(sample_corpus: Path, tmp_path: Path) -> None:
    """`prepare` writes ./tiktalkcoref; an editable install, unless it is a strict one, is shadowed there."""
    (tmp_path / "tiktalkcoref" / "celeb").mkdir(parents=True)
    (tmp_path / "tiktalkcoref" / "README.md").touch()
    result = run_code(
        f"import os, sys; os.chdir({str(tmp_path)!r})\nfrom tiktalkcoref import score; print(score.__name__)"
    )
    assert result.stdout == "score\n", result.stderr
