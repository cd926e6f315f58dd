"""The kinds of repository that `push` knows, in the order in which they are pushed: one module and one line each."""

from tiktalkcoref.files.errors import UserError

from . import dataset_repo, metric_repo, model_repo, space_repo
from .kind import Kind, Sources

__all__ = ["KINDS", "Kind", "Sources", "parse_names"]

KINDS: dict[str, Kind] = {
    "dataset": dataset_repo.KIND,
    "metric": metric_repo.KIND,
    "model": model_repo.KIND,
    "space": space_repo.KIND,
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
