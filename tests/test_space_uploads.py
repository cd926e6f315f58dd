"""Uploads of the Space go: with their visitor, and at the next start after a kill."""

import os
import subprocess
import sys

from tiktalkcoref.space.uploads import Uploads, open_folder


def test_what_a_killed_app_left_is_removed_and_a_living_one_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    left, alive, foreign = (tmp_path / f"tiktalkcoref-space-{n}" for n in (killed.pid, os.getppid(), "notes"))
    for folder in (left, alive, foreign):
        folder.mkdir()
        (folder / "upload.mp4").write_bytes(b"x")
    folder = open_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, foreign.name, folder.name])
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_visitor_takes_his_uploads_along_and_nothing_else(tmp_path):
    folder, outside = tmp_path / "uploads", tmp_path / "outside.png"
    folder.mkdir()
    names = ["mine.png", "both.png", "example-two.jpg", "never.png"]
    mine, both, example, never = (folder / name for name in names)
    for path in (mine, both, example, never, outside):
        path.write_bytes(b"x")
    uploads = Uploads(folder)
    uploads.remember("a", [str(path) for path in (mine, both, example, outside)] + [None])
    uploads.remember("b", [str(both)])
    uploads.forget("a")
    assert [path.exists() for path in (mine, both, example, never, outside)] == [False, True, True, True, True]
    uploads.forget("b")
    assert not both.exists()
    uploads.forget("nobody")
    assert uploads.holds(str(never))
    assert not uploads.holds(str(folder / ".." / "outside.png"))
