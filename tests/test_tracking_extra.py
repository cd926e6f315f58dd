"""Without the extra `tracking` everything imports; a video says what to install."""

import subprocess
import sys
import textwrap


def run(program: str) -> str:
    blocked = """
        import sys
        from importlib.abc import MetaPathFinder

        class Absent(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("cv2", "av", "scenedetect"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
    """
    code = textwrap.dedent(blocked) + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_imports() -> None:
    run("""
        import tiktalkcoref, tiktalkcoref.tracking as tracking
        for name in dir(tracking):
            getattr(tracking, name)
    """)


def test_a_video_says_what_to_install(tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"0")
    said = run(f"""
        from tiktalkcoref.tracking import VideoTracker
        from tiktalkcoref.tracking.video import Video
        for call in (lambda: Video({str(tmp_path / "a.mp4")!r}), VideoTracker):
            try:
                call()
            except ImportError as error:
                print(error)
    """)
    assert said.count("pip install 'tiktalkcoref[tracking]'") == 2


def test_opencv_is_quiet() -> None:
    """It warns at every network unless it is told not to, before it is imported."""
    code = (
        "import os; os.environ.pop('OPENCV_LOG_LEVEL', None); from tiktalkcoref.tracking.extra import load; load('os')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "; print(os.environ['OPENCV_LOG_LEVEL'])"], capture_output=True, text=True
    )
    assert done.stdout == "ERROR\n", done.stderr
