"""The kinds of repository that `push` knows, in the order in which they are pushed.

A kind is a line in the table `KINDS`: the Hub's type for it, its usual name, how its folder is built. Another kind is
another line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tiktalkcoref.files.errors import UserError

from . import dataset_repo, metric_repo, model_repo


@dataclass(frozen=True)
class Sources:
    """Where the content comes from.

    `dataset`: the folder that `tiktalkcoref prepare` wrote. `model`: the folder of a
    training run, or what `save_pretrained` wrote.
    `scores`: files `scores.json` that `tiktalkcoref evaluate` wrote for this model. `base_models`: Hub ids that the
    weights started from, where the run's recipe does not name them.
    """

    dataset: Path = Path("tiktalkcoref")
    model: Path | None = None
    scores: tuple[Path, ...] = ()
    base_models: tuple[str, ...] = ()
    with_pictures: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of repository.

    Attributes:
        type: the Hub's type: "dataset", "model" or "space".
        default_name: the name without the namespace.
        check: refuses sources that cannot be pushed, before the Hub is asked; cheap.
        build: writes the repository folder, given the sources, the repository ids of all kinds, and the folder.
        owned: patterns of files that a push writes itself, so that stale ones are deleted.
        sdk: of a Space.
        marker: a file that tells a Space of this kind from another one; `{name}` is the repository's name.
    """

    type: str
    default_name: str
    check: Callable[[Sources], None]
    build: Callable[[Sources, dict[str, str], Path], None]
    owned: tuple[str, ...] = field(default=("README.md", "*.py"))
    sdk: str | None = None
    marker: str | None = None


KINDS: dict[str, Kind] = {
    "dataset": Kind(
        type="dataset",
        default_name="tiktalkcoref",
        check=dataset_repo.check,
        build=dataset_repo.build,
        owned=("README.md", "*.parquet"),
    ),
    "metric": Kind(
        type="space",
        default_name="tiktalkcoref_metric",
        check=metric_repo.check,
        build=metric_repo.build,
        sdk="gradio",
        marker="{name}.py",
    ),
    "model": Kind(
        type="model",
        default_name="tiktalkcoref-base",
        check=model_repo.check,
        build=model_repo.build,
        owned=("README.md", "*.py", "*.json", "*.txt", "*.safetensors"),
    ),
}


def parse_names(given: list[str], what: str) -> dict[str, str]:
    """The values of `--name` as kind -> name. `what` is the kind that is pushed, or "all".

    Raises:
        ValueError: a name without its kind where several are pushed, or an unknown kind.
    """
    names = {}
    for value in given:
        kind, separator, name = value.rpartition("=")
        if not separator:
            if what == "all":
                raise UserError(f"--name {value}: which one? write KIND=NAME, with a kind of {', '.join(KINDS)}")
            kind = what
        if kind not in KINDS:
            raise UserError(f"--name {value}: unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
        names[kind] = name
    return names
