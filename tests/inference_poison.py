"""A source with rows that kill the process which looks at them, as a broken decoder would; found by any process."""

import os
import signal
from collections.abc import Iterator
from typing import Any

from tiktalkcoref.inference.sources import FileSource, Shard


class Poison(dict):
    """A row; to be read as a dialogue is the end of its reader."""

    def get(self, key: str, default: Any = None) -> Any:
        if key == "speaker_ids":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().get(key, default)


class PoisonSource(FileSource):
    """Rows whose `doc_key` is `poison` are such."""

    def read(self, shard: Shard) -> Iterator[Any]:
        for row in super().read(shard):
            yield Poison(row) if isinstance(row, dict) and row.get("doc_key") == "poison" else row
