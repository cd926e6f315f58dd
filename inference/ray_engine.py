"""The shards of a job made by Ray Data: a pool of actors with one model each, on this machine or a cluster.

What travels are the numbers of shards; each actor reads its rows and writes its file itself, so input and output must
be where all machines see them. An actor that dies is started again and its shard made again: since a shard's file
is there whole or not at all, no row is lost and none is doubled.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.extras import need

from .job import Done, Job, Worker

DEATHS = 3  # of an actor, and tries of a shard: one that kills whoever makes it would else be tried for ever
ROUNDS = 2


@dataclass(frozen=True)
class RayEngine:
    """An engine for `predict_files`.

    Args:
        address: of a cluster; None starts Ray on this machine, for this run.
        actors: models at work.
        gpus: of each actor; a fraction lets several share one.
        cpus: threads of each actor.
    """

    address: str | None = None
    actors: int = 2
    gpus: float = 0
    cpus: int = 1

    def __call__(self, job: Job) -> Iterator[Done]:
        """Make the missing shards.

        Raises:
            MissingExtraError: Ray is not installed.
            UserError: what an actor met with (no model, a full disk); shards whose actors died again and again.
        """
        need("scale", "ray")
        if not job.missing():
            return
        with self._started():
            for _ in range(ROUNDS):
                yield from self._make(job)
                if not (left := job.missing()):
                    return
        rows = ", ".join(f"{shard.first} to {shard.first + shard.rows - 1}" for shard in left[:3])
        raise UserError(
            f"{len(left)} of {len(job.shards)} shards killed every actor that made them (rows {rows}; out of memory?): "
            "all others are written; run the command again with fewer actors or --batch-tokens, or without these rows"
        )

    def _make(self, job: Job) -> Iterator[Done]:
        import ray

        numbers = ray.data.from_items([{"number": shard.number} for shard in job.missing()])
        done = numbers.repartition(target_num_rows_per_block=1).map_batches(
            _Actor,
            fn_constructor_kwargs={"job": job, "threads": self.cpus},
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(self.actors, len(job.missing()))),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            ray_remote_args_fn=lambda: {"max_restarts": DEATHS, "max_task_retries": DEATHS},
        )
        for row in done.iter_rows():
            if row["failure"]:
                raise UserError(row["failure"])
            yield Done(row["number"], row["rows"], row["errors"])

    @contextlib.contextmanager
    def _started(self) -> Iterator[None]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import
        if self.address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nobody else is to reach it; else it writes a token
        import ray
        import ray.data

        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
            if self.address is None:
                # these CPUs are slots: Ray Data waits for ever where the actors take them all
                slots = max(os.cpu_count() or 1, self.actors * self.cpus + 2)
                own: dict[str, Any] = {"num_cpus": slots, "include_dashboard": False, "_temp_dir": folder}
                ray.init(address="local", **own, **quiet)
            else:
                ray.init(address=self.address, **quiet)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.max_errored_blocks = -1  # of actors that died; what an actor can tell comes as a row
            try:
                yield
            finally:
                ray.shutdown()


class _Actor:
    def __init__(self, job: Job, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._job, self._failure = job, ""
        self._worker: Worker | None = None
        try:
            self._worker = Worker(job)
        except Exception as error:  # told with the first shard: Ray would start the actor again and again
            self._failure = f"{type(error).__name__}: {error}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        number = int(batch["number"][0])
        done, failure = Done(number, 0, 0), self._failure
        if self._worker is not None:
            try:
                done = self._worker(self._job.shards[number])
            except Exception as error:
                failure = f"shard {number}: {type(error).__name__}: {error}"
        return {"number": [number], "rows": [done.rows], "errors": [done.errors], "failure": [failure]}
