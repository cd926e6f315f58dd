"""A job: a source, a model and a folder of results, one file a shard.

A shard's file is there whole or not at all and depends on nothing but its rows and the settings. So any engine may
write it, twice if need be; a job that was stopped goes on with the shards that are missing; and two engines give the
same bytes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tiktalkcoref.files.atomic import atomic_file, atomic_folder
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track

from .deaths import counted, find_killers
from .predictor import Precision, Predictor
from .results import OWN, Format, count_rows, join_files, kept_of, schema_of, write_rows
from .sources import BadRow, Shard, Source
from .videos import save_crop

MANIFEST, SUMMARY, CROPS = "_manifest.json", "_summary.json", "crops"
SHARD_ROWS = 1000
# Deaths of the process that makes a shard. Two may be bad luck; then its rows are tried one by one by another process,
# and those that kill it left out; if that was not it, batches are the reason; in the end the shard is given up.
SUSPECT, ALONE, GIVEN_UP = 2, 3, 5


@dataclass(frozen=True)
class Settings:
    """What the results depend on, beside the source."""

    model: str
    precision: Precision = "auto"
    batch_tokens: int | None = None  # of the device's own choice
    keep: tuple[str, ...] | None = None  # columns of the input; None: doc_key and sentences, where they are there
    format: Format = "parquet"
    shard_rows: int = SHARD_ROWS
    weights: str | None = None  # folder with the weights of the tracker's networks; None: the Hub's

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "shard_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: 1 or more expected")
        taken = [name for name in self.keep or () if name in OWN]
        if taken:
            raise UserError(f"keep: {', '.join(taken)} is the name of a column of the result; rename it in the input")

    def predictor(self) -> Predictor:
        """The model, loaded."""
        return Predictor(self.model, self.precision, self.batch_tokens, self.weights)


@dataclass(frozen=True)
class Done:
    """A shard that is written."""

    number: int
    rows: int
    errors: int


class Job:
    """The shards of a source, those that are missing in `folder`, and where one goes.

    Args:
        crops: what the rows call the folder of the crops of a video's persons, which lies in `folder`.
    Raises:
        UserError: nothing to read; a folder that holds something else, or results of other settings or another input.
    """

    def __init__(self, source: Source, folder: Path, settings: Settings, crops: str = CROPS) -> None:
        # a worker may run in another folder, on another machine
        weights = settings.weights and _whole(settings.weights)
        self.settings = replace(settings, model=_whole(settings.model), weights=weights)
        self.source, self.crops = source, crops
        self.folder = Path(os.path.abspath(folder))
        self.schema = schema_of(settings.keep, source.types())
        self.shards = list(source.shards(settings.shard_rows))
        self.rows = sum(shard.rows for shard in self.shards)
        if not self.rows:
            raise UserError("the input holds no dialogue")
        self._claim()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "shards": []}  # a worker is given its own one by one: there may be a million

    def missing(self) -> list[Shard]:
        """The shards that no run has finished yet."""
        return [shard for shard in self.shards if not self.path(shard).is_file()]

    def path(self, shard: Shard) -> Path:
        """The file of a shard."""
        return self.folder / f"part-{shard.number:06d}.{self.settings.format}"

    def finish(self) -> dict[str, int]:
        """Check that every row is there once, and say so in a file of the folder; gives `rows` and `errors`."""
        counts = [count_rows(self.path(shard)) for shard in self.shards]
        wrong = [self.path(s).name for s, (rows, _) in zip(self.shards, counts, strict=True) if rows != s.rows]
        if wrong:
            raise UserError(f"{self.folder}: damaged: {', '.join(wrong[:5])}; remove them and run the command again")
        for tries in self.folder.glob(".part-*.tries"):  # of a process that died between the file and the end
            tries.unlink(missing_ok=True)
        summary = {"rows": self.rows, "errors": sum(errors for _, errors in counts)}
        _write_json(self.folder / SUMMARY, summary)
        return summary

    def _claim(self) -> None:
        path = self.folder / MANIFEST
        settings = {**asdict(self.settings), "model": _identify(self.settings.model)}
        told = {"input": self.source.identity(), "settings": settings}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before.get("fingerprint") != digest:
                changed = [name for name in told if json.loads(json.dumps(told[name])) != before.get(name)]
                raise UserError(
                    f"{self.folder} holds results of another run (different {' and '.join(changed)}): name another "
                    "folder, or remove this one"
                )
        elif self.folder.is_dir() and any(not file.name.startswith(f".{MANIFEST}") for file in self.folder.iterdir()):
            raise UserError(f"{self.folder} is not empty and holds no results of `tiktalkcoref predict`: name another")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_json(path, {"fingerprint": digest, "rows": self.rows, **told})


class Worker:
    """What an engine runs: makes the files of shards with one loaded model."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._predictor = job.settings.predictor()

    def __call__(self, shard: Shard) -> Done:
        """Read, predict and write one shard."""
        job = self._job
        path = job.path(shard)
        with counted(path) as deaths:
            if deaths >= GIVEN_UP:
                why = f"rows {shard.first} to {shard.last}: their process died {deaths} times; not tried any more"
                rows = kept = [BadRow(why)] * shard.rows
            else:
                rows = kept = list(job.source.read(shard))
            if SUSPECT <= deaths < GIVEN_UP:
                killers = find_killers(job.source, shard, job.settings.predictor)
                rows = [BadRow(killers[n]) if n in killers else row for n, row in enumerate(rows)]

            def save(number: int, entity: dict[str, Any]) -> str:
                """Under the same name with the same content, if it is there already."""
                name = f"{shard.number:06d}/{shard.first + number}-{entity['id']}.png"
                save_crop(entity["crop"], job.folder / CROPS / name)
                return f"{job.crops}/{name}"

            answers = self._predictor(rows, Path(shard.path).parent, save, alone=deaths >= ALONE)
            out = [
                {"row": shard.first + n, **kept_of(row, job.settings.keep), **answer, "error": answer.get("error")}
                for n, (row, answer) in enumerate(zip(kept, answers, strict=True))
            ]
            write_rows(path, out, job.schema)
        return Done(shard.number, len(out), sum(row["error"] is not None for row in out))


def run_local(job: Job) -> Iterator[Done]:
    """Make the missing shards one after another in this process."""
    missing = job.missing()
    worker = Worker(job) if missing else None
    for shard in missing:
        assert worker is not None  # loaded only where there is something to do
        yield worker(shard)


Engine = Callable[[Job], Iterable[Done]]


def predict_files(source: Source, output: Path, settings: Settings, engine: Engine = run_local) -> dict[str, int]:
    """Predict all rows of a source; one that was stopped goes on where it was.

    Args:
        output: a folder, which gets a file a shard, and `crops/` where rows name videos; with a suffix (.jsonl,
            .parquet), one file, and the crops go into the folder `<stem>_video` beside it.
    Returns:
        `rows` and, of these, `errors`.
    Raises:
        UserError: see `Job`. IsADirectoryError: a file was named, and is a folder.
    """
    check_output(output, source.files())
    if not output.suffix:
        return _run(Job(source, output, settings), engine)
    beside = output.with_name(f"{output.stem}_video")
    with atomic_file(output) as temporary:  # first: an output that cannot be written is told before the work
        parts = output.with_name(f".{output.name}.parts")
        job = Job(source, parts, settings, f"{beside.name}/{CROPS}")
        summary = _run(job, engine)
        if (parts / CROPS).is_dir():
            with atomic_folder(beside, owned=[f"{CROPS}/**", "report.html"]) as folder:
                shutil.copytree(parts / CROPS, folder / CROPS)
        join_files([job.path(shard) for shard in job.shards], temporary, settings.format)
    shutil.rmtree(parts)
    return summary


def check_output(output: Path, inputs: Iterable[Path | str]) -> None:
    """Raises: UserError where the predictions would take the place of what they are made from."""
    if any(os.path.realpath(output) == os.path.realpath(path) for path in inputs):
        raise UserError(f"{output} is an input: name another place for the predictions")


def _run(job: Job, engine: Engine) -> dict[str, int]:
    for _ in track(engine(job), "predicting", len(job.missing())):
        pass
    return job.finish()


def _whole(name: str) -> str:
    """The absolute path of what is here; else the name, of the Hub."""
    return os.path.abspath(name) if os.path.exists(name) else name


def _identify(model: str) -> Any:
    """A folder's weights by names, sizes and times; else the name."""
    folder = Path(model)
    files = sorted(path for path in folder.rglob("*.safetensors")) if folder.is_dir() else []
    return [model, [[path.name, *_stamp(path)] for path in files]] if files else model


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
