"""What kills its process: how often one died over a file, and which rows of a shard do it.

A row may break a decoder in a way that no `except` sees, or ask for more memory than there is.
"""

import contextlib
import logging
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .predictor import Predictor
from .sources import Shard, Source

log = logging.getLogger(__name__)


@contextlib.contextmanager
def counted(path: Path) -> Iterator[int]:
    """Around the making of a file: how many processes have died of it so far. An error or an interrupt is no death."""
    tries = path.with_name(f".{path.name}.tries")
    with tries.open("ab") as file:
        file.write(b".")
    deaths = tries.stat().st_size - 1
    if deaths:
        log.warning("%s: the process that made it died (%d times so far); made again", path.name, deaths)
    try:
        yield deaths
    finally:
        tries.unlink(missing_ok=True)


def find_killers(source: Source, shard: Shard, load: Callable[[], Predictor]) -> dict[int, str]:
    """The rows of a shard that twice killed a process which read them alone, by place, with a message.

    Raises:
        RuntimeError: such a process ended with an error of its own.
    """
    killers: dict[int, str] = {}
    start, before = 0, -1
    while start < shard.rows:
        command = [sys.executable, "-m", "tiktalkcoref.inference.deaths"]
        ended = subprocess.run(command, input=pickle.dumps((source, shard, load, start)), capture_output=True)
        if ended.returncode == 0:
            break
        if ended.returncode > 0:
            reason = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"the process that reads rows alone ended with code {ended.returncode}: {reason}")
        last = (ended.stdout.splitlines() or [b""])[-1]
        if not last.startswith(b"row "):
            break  # died of no row: of loading the model, or of the file
        start = int(last[4:])
        if start == before:
            name = signal.Signals(-ended.returncode).name
            killers[start] = f"row {shard.first + start} killed the process that read it, alone and twice ({name})"
            start += 1
        before = int(last[4:])
    return killers


def _read_alone() -> None:
    source, shard, load, start = pickle.load(sys.stdin.buffer)
    predictor = load()
    for number, row in enumerate(source.read(shard)):
        if number >= start:
            print("row", number, flush=True)
            predictor([row], Path(shard.path).parent)
            print("done", flush=True)


if __name__ == "__main__":
    _read_alone()
