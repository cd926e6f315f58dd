"""Results are whole or not there: killed writers, failing writers, concurrent writers, folders that are not ours."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiktalkcoref.files.atomic import ANYTHING, atomic_file, atomic_folder

WRITER = """
import sys, time
from tiktalkcoref.files.atomic import {function}
options = {{"owned": ["*.txt"]}} if "{function}" == "atomic_folder" else {{}}
with {function}(sys.argv[1], **options) as temporary:
    target = temporary / "half.txt" if temporary.is_dir() else temporary
    target.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""

KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from tiktalkcoref.files.atomic import atomic_folder
rename = os.rename
def dies_after_the_old_one_stepped_aside(source, target):
    rename(source, target)
    if str(source) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = dies_after_the_old_one_stepped_aside
with atomic_folder(sys.argv[1], owned=["*.txt"]) as temporary:
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

    with atomic_folder(target, owned=["*.txt"]) as folder:
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
        with atomic_folder(target, owned=["*.txt"]) as folder:
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

    with pytest.raises(RuntimeError), atomic_folder(target, owned=["*.txt"]):
        raise RuntimeError
    assert names(tmp_path) == ["out"]
    assert names(target) == ["old.txt"]


def test_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    for name in ("a.txt", "b.txt"):
        with atomic_folder(target, owned=ANYTHING) as folder:
            (folder / "nested").mkdir()
            (folder / "nested" / name).write_text(name)
        assert names(target / "nested") == [name]
    assert names(target.parent) == ["out"]


def test_an_error_leaves_the_old_result(tmp_path: Path) -> None:
    folder, file = tmp_path / "out", tmp_path / "out.txt"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder, owned=ANYTHING) as temporary:
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
        atomic_folder(target).__enter__()
    with pytest.raises(NotADirectoryError, match="is a file"):
        atomic_folder(target / "all" / "notes.txt").__enter__()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        atomic_file(target).__enter__()
    monkeypatch.chdir(target / "all")
    with pytest.raises(FileExistsError, match="working directory"):
        atomic_folder(target, owned=ANYTHING).__enter__()
    assert (target / "all" / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_owned_files_are_replaced(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "out", owned=("*.jsonl",)) as folder:
            (folder / "a.jsonl").write_text(text)
    assert (tmp_path / "out" / "a.jsonl").read_text() == "new"


def test_a_pattern_stays_within_its_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / "extra").mkdir(parents=True)
    (tmp_path / "out" / "extra" / "mine.jsonl").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds extra/mine.jsonl"), atomic_folder(tmp_path / "out", ["*.jsonl"]):
        pass
    with atomic_folder(tmp_path / "out", ["*.jsonl", "extra/**"]) as folder:
        (folder / "a.jsonl").write_text("a")
    assert names(tmp_path / "out") == ["a.jsonl"]


def test_a_folder_without_the_marker_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    options = {"owned": ["README.md", "*/*.parquet"], "marker": "*/*.parquet"}
    with pytest.raises(FileExistsError, match=r"holds README.md but no \*/\*.parquet"):
        atomic_folder(tmp_path / "out", **options).__enter__()
    (tmp_path / "out" / "celeb").mkdir()
    (tmp_path / "out" / "celeb" / "test.parquet").write_text("ours")
    with atomic_folder(tmp_path / "out", **options) as folder:
        (folder / "README.md").write_text("new")
    assert names(tmp_path / "out") == ["README.md"]


def test_files_written_for_the_owner_alone_are_opened(tmp_path: Path) -> None:
    """safetensors, for one, writes with mode 0600."""
    umask = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "weights").touch(mode=0o600)
            (folder / "script").touch(mode=0o700)
            (folder / "inner").mkdir(mode=0o700)
        with atomic_file(tmp_path / "weights") as file:
            file.chmod(0o600)
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"weights": 0o640, "script": 0o740, "inner": 0o750}
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o640


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="a device or a pipe"):
        atomic_file(tmp_path / "pipe").__enter__()
    assert (tmp_path / "pipe").is_fifo()


def test_leftovers_of_another_target_are_left_alone(tmp_path: Path) -> None:
    process, temporary = start_writer("atomic_file", tmp_path / "a.json")
    kill(process)
    with atomic_file(tmp_path / "a") as file:
        file.write_text("a")
    with atomic_file(tmp_path / "a.json.lock") as file:
        file.write_text("a")
    assert temporary.exists()


def test_a_result_that_comes_between_is_replaced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "out", os.rename

    def another_writer_ends_first(source: Path, to: Path) -> None:
        rename(source, to)
        if Path(source) == target:
            monkeypatch.setattr(os, "rename", rename)
            with atomic_folder(target, owned=ANYTHING) as folder:
                (folder / "between.txt").write_text("between")

    with atomic_folder(target) as folder:
        (folder / "old.txt").write_text("old")
    with atomic_folder(target, owned=ANYTHING) as folder:
        (folder / "new.txt").write_text("new")
        monkeypatch.setattr(os, "rename", another_writer_ends_first)
    assert names(tmp_path) == ["out"]
    assert names(target) == ["new.txt"]


def test_many_writers_of_one_target(tmp_path: Path) -> None:
    """Eight processes replace one folder 20 times each: it is whole whenever somebody looks, and nothing is left."""
    script = """
import sys
from pathlib import Path
from tiktalkcoref.files.atomic import atomic_folder
for turn in range(20):
    with atomic_folder(sys.argv[1], owned=["*.txt"]) as folder:
        for name in "abc":
            (folder / f"{name}.txt").write_text(f"{sys.argv[2]} {turn}")
"""
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    writers = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in range(8)]
    errors = [writer.communicate()[1] for writer in writers]
    assert errors == [""] * 8
    assert names(tmp_path) == ["out"]
    assert len({path.read_text() for path in (tmp_path / "out").iterdir()}) == 1
    assert names(tmp_path / "out") == ["a.txt", "b.txt", "c.txt"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can make a file")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_a_place_that_takes_no_file_is_told_at_once(write):
    with pytest.raises(OSError, match="proc"), write(Path("/proc/nothing")):
        pass
