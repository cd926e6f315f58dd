"""The shards of a job made by Ray Data: a pool of actors with one model each, on this machine or a cluster.

What travels are the places of shards; each actor reads its rows and writes its file itself, so input and output must
be where all machines see them. An actor that dies is started again and its shard made again, as often as it takes:
since a shard's file is there whole or not at all, no row is lost and none is doubled; and since the deaths over a shard
are counted, a row that kills each actor comes to an end (see `deaths`).
"""

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.extras import need

from .job import Done, Job, Worker
from .sources import Shard


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
            UserError: no cluster at the address, or one without room for the actors; what an actor met with (no model,
                a full disk).
        """
        need("scale", "ray")
        missing = job.missing()
        if not missing:
            return
        actors = min(self.actors, len(missing))
        with self._started(actors) as ray:
            done = (
                ray.data.from_items([asdict(shard) for shard in missing])
                .repartition(target_num_rows_per_block=1)
                .map(
                    _Actor,
                    fn_constructor_kwargs={"job": job, "threads": self.cpus},
                    # one shard at work and one waiting: more would wait behind a slow one while another actor is idle
                    compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
                    num_cpus=self.cpus,
                    num_gpus=self.gpus,
                )
            )
            for row in done.iter_rows():
                if row["failure"]:
                    raise UserError(row["failure"])
                yield Done(row["number"], row["rows"], row["errors"])

    @contextlib.contextmanager
    def _started(self, actors: int) -> Iterator[Any]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import
        # in each run its core warns of actors' arguments in the object store, where Ray Data puts and keeps them
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if self.address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nobody else is to reach it; else it writes a token
            os.environ.setdefault("RAY_worker_niceness", "0")  # as urgent as the command itself; 15 by default
        import ray
        import ray.data

        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
            if self.address is None:
                # these CPUs are slots: Ray Data waits for ever where the actors take them all
                slots = max(os.cpu_count() or 1, actors * self.cpus + 2)
                own: dict[str, Any] = {"num_cpus": slots, "include_dashboard": False, "_temp_dir": folder}
                ray.init(address="local", **own, **quiet)
            else:
                _check_answer(self.address)
                ray.init(address=self.address, **quiet)
            try:
                self._check_room(actors, ray.cluster_resources())
                ray.data.DataContext.get_current().enable_progress_bars = False
                logging.getLogger("ray.data").setLevel(logging.ERROR)
                yield ray
            finally:
                ray.shutdown()

    def _check_room(self, actors: int, resources: dict[str, float]) -> None:
        """Where actors take every CPU, or more than there are, Ray Data waits for ever and says nothing."""
        for name, needed in (("CPU", actors * self.cpus + 2), ("GPU", actors * self.gpus)):
            if resources.get(name, 0) < needed:
                raise UserError(
                    f"{self.address or 'this machine'} has {resources.get(name, 0):g} {name}s; {actors} actors need "
                    f"{needed:g} (two CPUs are Ray Data's own): take fewer --actors"
                )


def _check_answer(address: str) -> None:
    """Ray itself tries for many minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"no Ray cluster answers at {address}: {error}") from error


class _Actor:
    def __init__(self, job: Job, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._failure = ""
        self._worker: Worker | None = None
        try:
            self._worker = Worker(job)
        except Exception as error:  # told with the first shard: Ray would start the actor again and again
            self._failure = f"{type(error).__name__}: {error}"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = Shard(**row)
        done, failure = Done(shard.number, 0, 0), self._failure
        if self._worker is not None:
            try:
                done = self._worker(shard)
            except Exception as error:
                failure = f"shard {shard.number}: {type(error).__name__}: {error}"
        return {**asdict(done), "failure": failure}
