"""The kinds of repository that `push` knows, in the order in which they are pushed: one module and one line each."""

import re

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tiktalkcoref.files.errors import UserError

from . import dataset_repo, metric_repo, model_repo, space_repo
from .kind import Kind, Sources

__all__ = ["KINDS", "Kind", "Sources", "parse_names", "repository_ids"]

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


def repository_ids(namespace: str, given: dict[str, str]) -> dict[str, str]:
    """The repository id of every kind, named or not: cards link to each other.

    Raises:
        ValueError: a name that the Hub, or `evaluate`, cannot take; one name for two kinds.
    """
    names = {kind: given.get(kind, KINDS[kind].default_name) for kind in KINDS}
    for kind, name in names.items():
        if list(names.values()).count(name) > 1:
            raise UserError(f"two kinds would be called {name}: give each its own with --name KIND=NAME")
        if kind == "metric" and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"metric name {name!r}: its module is imported under it, so letters, digits, _ and - only")
        try:
            validate_repo_id(f"{namespace}/{name}")
        except HFValidationError as error:
            raise UserError(" ".join(str(error).split())) from error
    return {kind: f"{namespace}/{name}" for kind, name in names.items()}
