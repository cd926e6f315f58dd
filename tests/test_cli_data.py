"""The data commands as a user calls them: options, output, exit codes, errors on one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tiktalkcoref.cli import app

COMMANDS = ("prepare", "split", "stats", "validate", "export", "show")


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(app, [str(argument) for argument in arguments])


def run_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Through `main()`, in a process of its own."""
    command = [sys.executable, "-m", "tiktalkcoref.cli", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    for option in ("--data-dir", "--annotations", "--splits", "--titles"):
        assert option in result.output


def test_prepare(sample_corpus: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiktalkcoref"
    pictures = ("--frames-dir", sample_corpus / "frames", "--regions-dir", sample_corpus / "faces_all")
    result = run("prepare", "--data-dir", sample_corpus, *pictures, "--output-dir", target)
    assert result.exit_code == 0, result.output
    boxes = len(list((sample_corpus / "faces_all").iterdir()))
    assert f"wrote 24 dialogues in five configs to {target}\n" in result.stdout
    assert f"region pictures: {boxes} embedded, 0 missing in {sample_corpus / 'faces_all'}\n" in result.stdout
    assert (target / "celeb" / "test-00000-of-00001.parquet").exists()


def test_prepare_writes_into_the_working_directory_by_default(
    sample_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("prepare", "--data-dir", sample_corpus).exit_code == 0
    assert (tmp_path / "tiktalkcoref" / "README.md").exists()


def test_split(sample_corpus: Path, tmp_path: Path) -> None:
    result = run("split", "--data-dir", sample_corpus, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote 20 files of 24 dialogues to {tmp_path / 'out'}\n"
    assert len(read_lines(tmp_path / "out" / "all.textual.jsonl")) == 24


def test_files_may_be_named_one_by_one(sample_corpus: Path, tmp_path: Path) -> None:
    names = {
        "--annotations": "all_textual_and_visual_annotations_format.jsonl",
        "--splits": "split.jsonl",
        "--titles": "video_titles.jsonl",
    }
    options = [part for option, name in names.items() for part in (option, sample_corpus / name)]
    assert run("split", *options, "--output-dir", tmp_path / "out").exit_code == 0
    assert run("split", "--data-dir", sample_corpus, "--output-dir", tmp_path / "other").exit_code == 0
    assert read_lines(tmp_path / "out" / "all.visual.jsonl") == read_lines(tmp_path / "other" / "all.visual.jsonl")


def test_stats(sample_corpus: Path, tmp_path: Path) -> None:
    result = run("stats", "--data-dir", sample_corpus, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["dialogues", "minutes", "mentions", "clusters", "singletons", "boxes"] in rows
    assert any(row[:2] == ["all", "24"] for row in rows)
    assert ["published", "1,012", "519.65", "2,179", "1,435", "–", "955"] in rows
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".png", ".png", ".png", ".png"]


def test_stats_writes_nothing_unless_asked(
    sample_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("stats", "--data-dir", sample_corpus).exit_code == 0
    assert list(tmp_path.iterdir()) == []


def broken_corpus(sample_corpus: Path, folder: Path) -> Path:
    """A copy in which the second dialogue is reversed, the third in no split, the fourth not JSON."""
    folder.mkdir()
    for path in sample_corpus.glob("*.jsonl"):
        (folder / path.name).write_bytes(path.read_bytes())
    annotations = folder / "all_textual_and_visual_annotations_format.jsonl"
    lines = read_lines(annotations)
    record = json.loads(lines[1])
    record["clusters"][0][0] = [3, 1]
    lines[1] = json.dumps(record, ensure_ascii=False)
    lines[3] = lines[3][:-10]
    annotations.write_text("\n".join(lines), encoding="utf-8")
    missing = json.loads(lines[2])["doc_key"]
    splits = [line for line in read_lines(folder / "split.jsonl") if missing not in line]
    (folder / "split.jsonl").write_text("\n".join(splits), encoding="utf-8")
    return folder


def test_validate(sample_corpus: Path, tmp_path: Path) -> None:
    result = run("validate", "--data-dir", sample_corpus)
    assert result.exit_code == 0, result.output  # the sample has boxes of no cluster: warnings
    assert result.stdout.splitlines()[-1].startswith("0 errors, ")
    assert run("validate", "--data-dir", sample_corpus, "--strict").exit_code == 1

    folder = broken_corpus(sample_corpus, tmp_path / "broken")
    result = run("validate", "--data-dir", folder)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("3 errors, ")
    for message in ("reversed offsets [3, 1]", "not in the split file", "broken JSON"):
        assert message in " ".join(result.stdout.split())


def test_validate_plain(sample_corpus: Path, tmp_path: Path) -> None:
    folder = broken_corpus(sample_corpus, tmp_path / "broken")
    result = run("validate", "--data-dir", folder, "--plain")
    assert result.exit_code == 1
    errors = [line for line in result.stdout.splitlines() if ": error: " in line]
    name = folder / "all_textual_and_visual_annotations_format.jsonl"
    assert [line.split(": ")[0] for line in errors] == [f"{name}:{number}" for number in (2, 3, 4)]
    assert "3 errors" in result.stderr
    assert "3 errors" not in result.stdout  # lines alone, for programs


def test_validate_pictures(sample_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    options = ("--data-dir", sample_corpus, "--regions-dir", tmp_path / "none")
    listed = run("validate", *options, "--plain")
    assert listed.exit_code == 0
    boxes = len(list((sample_corpus / "faces_all").iterdir()))
    assert listed.stdout.count(": warning: ") >= boxes
    assert "no picture " in listed.stdout
    assert run("validate", *options, "--require-images").exit_code == 1


@pytest.mark.parametrize(("file_format", "suffix"), [("conll", "conll"), ("jsonlines", "jsonlines")])
def test_export(sample_corpus: Path, tmp_path: Path, file_format: str, suffix: str) -> None:
    result = run("export", file_format, "--data-dir", sample_corpus, "--output-dir", tmp_path, "--config", "celeb")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / f'train.{suffix}'}: 8\n" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{split}.{suffix}" for split in ("train", "validation", "test")
    )


def test_export_pictures(sample_corpus: Path, tmp_path: Path) -> None:
    options = ("--data-dir", sample_corpus, "--output-dir", tmp_path / "clip")
    result = run("export", "chinese-clip", *options, "--regions-dir", sample_corpus / "faces_all")
    assert result.exit_code == 0, result.output
    assert len(read_lines(tmp_path / "clip" / "test_texts.jsonl")) > 0


def test_show(sample_corpus: Path) -> None:
    first = run("show", "--data-dir", sample_corpus)
    assert first.exit_code == 0, first.output
    annotations = sample_corpus / "all_textual_and_visual_annotations_format.jsonl"
    record = json.loads(read_lines(annotations)[5])
    shown = run("show", record["doc_key"], "--data-dir", sample_corpus).stdout
    assert shown.startswith(record["doc_key"])
    assert record["clusters_str"][0][0] in shown
    assert "]₁" in shown
    assert not first.stdout.startswith(record["doc_key"])
    drawn = {run("show", "--data-dir", sample_corpus, "--random", "--seed", seed).stdout for seed in (0, 0, 1, 2, 3)}
    assert 1 < len(drawn) < 5


def test_wrong_usage_exits_with_2(sample_corpus: Path) -> None:
    assert run("split", "--data-dir", sample_corpus).exit_code == 2  # no --output-dir
    assert run("export", "xml", "--data-dir", sample_corpus, "--output-dir", "x").exit_code == 2
    result = run("show", "123", "--random", "--data-dir", sample_corpus)
    assert result.exit_code == 2
    assert "name a dialogue or draw one" in result.stderr


def test_mendable_errors_are_one_line(sample_corpus: Path, tmp_path: Path) -> None:
    folder = broken_corpus(sample_corpus, tmp_path / "broken")
    (folder / "annotations.jsonl").write_text("{}\n")
    result = run_process("split", "--data-dir", folder, "--output-dir", tmp_path / "out")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "all_textual_and_visual_annotations_format.jsonl, annotations.jsonl" in result.stderr

    (folder / "annotations.jsonl").unlink()
    result = run_process("split", "--data-dir", folder, "--output-dir", tmp_path / "out")
    assert result.returncode == 1
    assert "line 2" in result.stderr
    assert "reversed offsets [3, 1]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    assert "Traceback" in run_process("--debug", "split", "--data-dir", folder, "--output-dir", tmp_path / "out").stderr


def test_without_files_and_without_network(tmp_path: Path) -> None:
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "no_proxy": "",
        "https_proxy": "http://0.0.0.0:9",
    }
    result = run_process("stats", **environment)
    assert result.returncode == 1
    for name in ("all_textual_and_visual_annotations.jsonl", "split.jsonl", "video_titles.jsonl"):
        assert name in result.stderr
    assert "Traceback" not in result.stderr
