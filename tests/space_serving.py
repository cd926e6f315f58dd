"""The demo in a process of its own, its sockets blocked but for loopback; shared by the tests of the Space."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hub_server import LocalHub, client_environment


@contextlib.contextmanager
def serving(model: Path | str, home: Path, stop: int = signal.SIGINT) -> Iterator[tuple[str, subprocess.Popen]]:
    """`tiktalkcoref app` for a model: its address and its process. Uploads lie under `home/temporary`."""
    (home / "temporary").mkdir(parents=True, exist_ok=True)
    with LocalHub() as hub, (home / "log").open("w+") as log:
        environment = client_environment(hub, home) | {"TMPDIR": str(home / "temporary"), "PYTHONUNBUFFERED": "1"}
        if shared := os.environ.get("TIKTALKCOREF_SHARED"):
            environment["TIKTALKCOREF_TRACKING_WEIGHTS"] = str(Path(shared) / "weights")
        script = Path(sys.executable).with_name("tiktalkcoref")
        command = [sys.executable, str(script), "app", "--model", str(model)]
        process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        try:
            yield wait_for(process, home / "log"), process
        finally:
            process.send_signal(stop)
            process.wait(60)
    blocked = home / "blocked"
    assert not blocked.exists(), f"other hosts were tried: {blocked.read_text()}"


def memory(process: subprocess.Popen) -> int:
    """Resident memory, bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def upload_folders(home: Path) -> list[Path]:
    return sorted((home / "temporary").glob("tiktalkcoref-space-*"))


def wait_for(process: subprocess.Popen, log: Path) -> str:
    """The address that the page says in its log once it serves."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        text = log.read_text()
        if found := re.search(r"http://127\.0\.0\.1:\d+", text):
            return found[0]
        assert process.poll() is None, text
        time.sleep(0.2)
    raise AssertionError(f"the app did not start\n{log.read_text()}")
