"""Results are whole or not there: killed writers, failing writers, concurrent writers, folders that are not ours."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiktalkcoref.files import atomic
from tiktalkcoref.files.atomic import atomic_file, atomic_folder

WRITER = """
import sys, time
from tiktalkcoref.files.atomic import {function}
with {function}(sys.argv[1]) as temporary:
    target = temporary / "half.txt" if temporary.is_dir() else temporary
    target.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""

KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from tiktalkcoref.files import atomic
atomic._exchange = lambda first, second: False
rename, calls = os.rename, []
def dies_at_the_second(source, target):
    calls.append(source)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.rename = dies_at_the_second
with atomic.atomic_folder(sys.argv[1]) as temporary:
    (temporary / "new.txt").write_text("new")
"""


def start_writer(function: str, target: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.format(function=function), str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("old", [True, False])
def test_folder_of_a_killed_writer(tmp_path: Path, old: bool) -> None:
    target = tmp_path / "out"
    if old:
        target.mkdir()
        (target / "old.txt").write_text("old")
    process, temporary = start_writer("atomic_folder", target)
    kill(process)
    assert (temporary / "half.txt").read_text() == "half"  # it was killed half-way
    assert names(target) == ["old.txt"] if old else not target.exists()

    with atomic_folder(target) as folder:
        (folder / "new.txt").write_text("new")
    assert names(tmp_path) == ["out"]  # the dead writer's temporary is gone too
    assert names(target) == ["new.txt"]


@pytest.mark.parametrize("old", [True, False])
def test_file_of_a_killed_writer(tmp_path: Path, old: bool) -> None:
    target = tmp_path / "scores.json"
    if old:
        target.write_text("old")
    process, temporary = start_writer("atomic_file", target)
    kill(process)
    assert temporary.suffix == ".json"
    assert target.read_text() == "old" if old else not target.exists()

    with atomic_file(target) as file:
        file.write_text("new")
    assert names(tmp_path) == ["scores.json"]
    assert target.read_text() == "new"


def test_temporary_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    process, temporary = start_writer("atomic_folder", target)
    try:
        with atomic_folder(target) as folder:
            (folder / "new.txt").write_text("new")
        assert (temporary / "half.txt").exists()
        assert names(target) == ["new.txt"]
    finally:
        kill(process)


def test_killed_between_two_renames_the_old_folder_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    process = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES, str(target)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()

    with pytest.raises(RuntimeError), atomic_folder(target):
        raise RuntimeError
    assert names(tmp_path) == ["out"]
    assert names(target) == ["old.txt"]


@pytest.mark.parametrize("exchange", [True, False])
def test_replaces_a_folder_as_a_whole(tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
    target = tmp_path / "deep" / "out"
    for name in ("a.txt", "b.txt"):
        with atomic_folder(target) as folder:
            (folder / "nested").mkdir()
            (folder / "nested" / name).write_text(name)
        assert names(target / "nested") == [name]
    assert names(target.parent) == ["out"]


def test_an_error_leaves_the_old_result(tmp_path: Path) -> None:
    folder, file = tmp_path / "out", tmp_path / "out.txt"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as temporary:
        (temporary / "half.txt").write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), atomic_file(file) as temporary:
        temporary.write_text(str(1 / 0))
    assert names(tmp_path) == ["out", "out.txt"]
    assert names(folder) == ["old.txt"]
    assert file.read_text() == "old"


def test_results_have_the_permissions_of_ordinary_files(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    with atomic_file(tmp_path / "a.txt") as file:
        file.write_text("a")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "real" / "a.txt").exists()


def test_folders_that_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    (target / "all").mkdir(parents=True)
    (target / "all" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds all/notes.txt, which is no file that is written here"):
        atomic_folder(target, owned=("*.jsonl", "all/*.jsonl")).__enter__()
    with pytest.raises(FileExistsError, match="already exists and is not empty"):
        atomic_folder(target, overwrite=False).__enter__()
    with pytest.raises(NotADirectoryError, match="is a file"):
        atomic_folder(target / "all" / "notes.txt").__enter__()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        atomic_file(target).__enter__()
    monkeypatch.chdir(target / "all")
    with pytest.raises(FileExistsError, match="working directory"):
        atomic_folder(target).__enter__()
    assert (target / "all" / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_owned_files_are_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "out", owned=("*.jsonl",)) as folder:
            (folder / "a.jsonl").write_text(text)
    assert (tmp_path / "out" / "a.jsonl").read_text() == "new"
