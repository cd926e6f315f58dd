"""`tiktalkcoref push`: check rights and names, build the folders, show the changes, one commit a repository, a tag."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from rich.console import Console

from tiktalkcoref import __version__
from tiktalkcoref.files.errors import UserError

from .building import build, check_target, temporary_folder
from .cards import check_card
from .contents import MANIFEST, Changes, LocalFile, Remote, compare, read_folder
from .kind import Kind, Sources
from .kinds import KINDS
from .remote import Outcome, Repository
from .retrying import HubError, UnreachableError, retry
from .rights import check_rights, find_account

COLLECTION = "TikTalkCoref"
TYPES = ("model", "dataset", "space")
DRY_ATTEMPTS = 3  # a dry run changes nothing: it does not wait long for a Hub that stays away


@dataclass(frozen=True)
class Options:
    """How to push: see `tiktalkcoref push --help`."""

    namespace: str
    names: dict[str, str]  # kind -> name without the namespace
    private: bool = False
    revision: str = "main"
    dry_run: bool = False
    create_pr: bool = False
    collection: bool = False
    build_dir: Path | None = None  # keep the built folders here


@dataclass(frozen=True)
class Pushed:
    """What became of one repository. `outcome` is None in a dry run."""

    kind: str
    url: str
    changes: Changes
    outcome: Outcome | None = None
    tag: str | None = None


def push(kinds: Sequence[str], sources: Sources, options: Options, console: Console) -> list[Pushed]:
    """Push the repositories of these kinds, one after the other.

    A dry run needs neither token nor network; it says what it could not compare.

    Raises:
        ValueError: names, sources or cards that cannot be pushed; nothing was created.
        HubError: the Hub refused (nothing was created), or did not answer (the same command continues).
    """
    ids = repository_ids(options)
    if options.create_pr and options.revision != "main":
        raise UserError(f"--create-pr proposes a change of main: leave out --revision {options.revision}")
    for name in kinds:
        KINDS[name].check(sources)
        if options.build_dir:
            check_target(options.build_dir / name, sources)

    def notify(message: str) -> None:
        console.print(message, style="dim", highlight=False, markup=False)

    api = HfApi(library_name="tiktalkcoref", library_version=__version__)
    attempts = DRY_ATTEMPTS if options.dry_run else None
    repos = {name: Repository(api, KINDS[name].type, ids[name], notify, attempts) for name in kinds}
    exists = _look(repos, options, notify)

    pushed = []
    with temporary_folder() as scratch:
        folders = {name: (options.build_dir or scratch) / name for name in kinds}
        for name in kinds:
            for line in build(partial(_fill, KINDS[name], sources, ids), folders[name]):
                notify(line)
        for name in kinds:
            local = read_folder(folders[name])
            there = None if exists is None else exists[name]
            pushed.append(_push_one(name, repos[name], there, local, options, console))
    if options.collection and not options.dry_run:
        console.print(f"collection {_collect(api, repos, options)}")
    return pushed


def _fill(kind: Kind, sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Build one repository folder, with a card that the Hub takes."""
    lines = kind.build(sources, ids, folder)
    check_card(folder / "README.md", kind.type)
    return lines


def _look(repos: dict[str, Repository], options: Options, notify: Callable[[str], None]) -> dict[str, bool] | None:
    """Check token, rights and names; which of the repositories exist, None where the Hub cannot be reached (dry run).

    Raises:
        HubError: see `find_account`, `check_rights` and `check_name`.
    """
    first = next(iter(repos.values()))
    try:
        account = find_account(first.api, notify, first.attempts, optional=options.dry_run)
        if account is None:
            notify("no Hub token: rights were not checked, and private repositories look as if they were not there")
        elif not options.create_pr:  # anybody may propose
            check_rights(account, options.namespace)
        return {name: check_name(repo, KINDS[name], options) for name, repo in repos.items()}
    except UnreachableError as error:
        if not options.dry_run:
            raise
        notify(f"{error}: nothing was compared, every file is shown")
        return None


def _push_one(
    name: str,
    repo: Repository,
    exists: bool | None,
    local: dict[str, LocalFile],
    options: Options,
    console: Console,
) -> Pushed:
    """Show and push one repository; `exists` is None where the Hub could not be asked."""
    kind = KINDS[name]
    unlisted = [pattern.replace("{name}", re.escape(repo.id.split("/")[1])) for pattern in kind.unlisted]
    remote = Remote(None) if exists is None else repo.read(options.revision)
    changes = compare(local, remote, unlisted)
    console.print(f"[bold]{name}[/bold] {repo.url}" + {None: " (not compared)", False: " (new)", True: ""}[exists])
    for sign, path in changes:
        size = f"  {local[path].size:,} bytes" if path in local else ""
        if path != MANIFEST:
            console.print(f"  {sign} {path}{size}", highlight=False, markup=False)
    if not changes:
        console.print("  nothing to change")
    if options.dry_run:
        return Pushed(name, repo.url, changes)

    message = f"Update to {__version__}" if local.keys() & remote.files.keys() else f"Release {__version__}"
    if options.create_pr:
        outcome = repo.open_request(local, message, unlisted)
        if outcome.request:
            console.print(f"  pull request {outcome.request}" + ("" if outcome.new else " (already open)"))
        return Pushed(name, repo.url, changes, outcome)
    if not exists:
        repo.create(options.private, kind.sdk)
    if options.revision != "main":
        repo.create_branch(options.revision)
    outcome = repo.commit(local, message, options.revision, unlisted)
    label = repo.tag(__version__, outcome.commit) if options.revision == "main" else None
    if outcome.new:
        console.print(f"  commit {repo.url}/commit/{outcome.commit}", highlight=False)
    if label:
        console.print(f"  version {label}: {repo.url}/tree/{label}", highlight=False)
    return Pushed(name, repo.url, changes, outcome, label)


def repository_ids(options: Options) -> dict[str, str]:
    """The repository id of every kind, named or not: cards link to each other.

    Raises:
        ValueError: a name that the Hub, or `evaluate`, cannot take; one name for two kinds.
    """
    names = {kind: options.names.get(kind, KINDS[kind].default_name) for kind in KINDS}
    for kind, name in names.items():
        if list(names.values()).count(name) > 1:
            raise UserError(f"two kinds would be called {name}: give each its own with --name KIND=NAME")
        if kind == "metric" and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"metric name {name!r}: its module is imported under it, so letters, digits, _ and - only")
        try:
            validate_repo_id(f"{options.namespace}/{name}")
        except HFValidationError as error:
            raise UserError(" ".join(str(error).split())) from error
    return {kind: f"{options.namespace}/{name}" for kind, name in names.items()}


def check_name(repo: Repository, kind: Kind, options: Options) -> bool:
    """Whether the repository exists; refuse a name that is taken by something else.

    Raises:
        HubError: the name belongs to another type or to a repository of somebody else's making, a private push would
            land in public, or a pull request was asked for a repository that is not there.
    """
    info = repo.info()
    if info is None:
        for other in TYPES:
            if other != kind.type and Repository(repo.api, other, repo.id, repo.notify, repo.attempts).info():
                raise HubError(f"{repo.id} is a {other} already: give the {kind.type} another name with --name")
        if options.create_pr:
            raise HubError(f"there is no {kind.type} {repo.id} to propose a change to: push it first")
        return False
    if options.private and not info.private:
        raise HubError(f"{repo.url} is public: make it private in its settings, or leave out --private")
    files = {sibling.rfilename for sibling in info.siblings or []}
    marker = (kind.marker or MANIFEST).format(name=repo.id.split("/")[1])
    if files - {".gitattributes", "README.md"} and not any(file.startswith((marker, MANIFEST)) for file in files):
        raise HubError(f"{repo.url} holds something else (no {marker}): give another name with --name")
    return True


def _collect(api: HfApi, repos: dict[str, Repository], options: Options) -> str:
    """Put the repositories into the namespace's collection; its address."""
    collection = retry(
        lambda: api.create_collection(COLLECTION, namespace=options.namespace, private=options.private, exists_ok=True),
        "the collection",
    )
    for repo in repos.values():
        item: dict[str, Any] = {"item_id": repo.id, "item_type": repo.type, "exists_ok": True}
        repo.retry(partial(api.add_collection_item, collection.slug, **item), "adding it to the collection")
    return str(collection.url)
