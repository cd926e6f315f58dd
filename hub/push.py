"""`tiktalkcoref push`: check rights and names, build the folders, show the changes, one commit a repository, a tag."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from rich.console import Console

from tiktalkcoref import __version__
from tiktalkcoref.files.errors import UserError

from .cards import check_card
from .kinds import KINDS, Kind, Sources
from .remote import Changes, HubError, Outcome, Repository, commit, compare, open_request, read_folder, retry, tag
from .rights import check_rights, who

COLLECTION = "TikTalkCoref"
_TYPES = ("model", "dataset", "space")


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

    Raises:
        ValueError: names, sources or cards that cannot be pushed; nothing was created.
        HubError: the Hub refused (nothing was created), or did not answer (the same command continues).
    """
    ids = repository_ids(options)
    if options.create_pr and options.revision != "main":
        raise UserError(f"--create-pr proposes a change of main: leave out --revision {options.revision}")
    for name in kinds:
        KINDS[name].check(sources)
    api = HfApi(library_name="tiktalkcoref", library_version=__version__)
    account = who(api)
    if not options.create_pr:  # anybody may propose
        check_rights(account, options.namespace)

    def notify(message: str) -> None:
        console.print(message, style="dim", highlight=False, markup=False)

    repos = {name: Repository(api, KINDS[name].type, ids[name], notify) for name in kinds}
    exists = {name: check_name(repos[name], KINDS[name], options) for name in kinds}

    with tempfile.TemporaryDirectory(prefix="tiktalkcoref-push-") as scratch:
        root = options.build_dir or Path(scratch)
        folders = {}
        for name in kinds:
            folders[name] = root / name
            folders[name].mkdir(parents=True, exist_ok=True)
            KINDS[name].build(sources, ids, folders[name])
            check_card(folders[name] / "README.md", KINDS[name].type)
        pushed = [_push_one(name, repos[name], exists[name], folders[name], options, console) for name in kinds]
    if options.collection and not options.dry_run:
        console.print(f"collection {_collect(api, repos, options)}")
    return pushed


def _push_one(name: str, repo: Repository, exists: bool, folder: Path, options: Options, console: Console) -> Pushed:
    kind, local = KINDS[name], read_folder(folder)
    remote = repo.read(options.revision)
    changes = compare(local, remote, kind.owned)
    console.print(f"[bold]{name}[/bold] {repo.url}" + ("" if exists else " (new)"))
    for sign, path in changes:
        size = f"  {local[path].size:,} bytes" if path in local else ""
        console.print(f"  {sign} {path}{size}", highlight=False, markup=False)
    if not changes:
        console.print("  nothing to change")
    if options.dry_run:
        return Pushed(name, repo.url, changes)

    message = f"Update to {__version__}" if local.keys() & remote.files.keys() else f"Release {__version__}"
    if options.create_pr:
        outcome = open_request(repo, local, message, kind.owned)
        if outcome.request:
            console.print(f"  pull request {outcome.request}" + ("" if outcome.new else " (already open)"))
        return Pushed(name, repo.url, changes, outcome)
    if not exists:
        repo.create(options.private, kind.sdk)
    if options.revision != "main":
        repo.create_branch(options.revision)
    outcome = commit(repo, local, message, options.revision, kind.owned)
    label = tag(repo, __version__, outcome.commit) if options.revision == "main" else None
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
        HubError: the name belongs to another type or another Space, a private push would land in public, or a pull
            request was asked for a repository that is not there.
    """
    info = repo.info()
    if info is None:
        for other in _TYPES:
            if other != kind.type and Repository(repo.api, other, repo.id, repo.notify).info() is not None:
                raise HubError(f"{repo.id} is a {other} already: give the {kind.type} another name with --name")
        if options.create_pr:
            raise HubError(f"there is no {kind.type} {repo.id} to propose a change to: push it first")
        return False
    if options.private and not info.private:
        raise HubError(f"{repo.url} is public: make it private in its settings, or leave out --private")
    if kind.marker:
        marker = kind.marker.format(name=repo.id.split("/")[1])
        files = {sibling.rfilename for sibling in info.siblings or []}
        if files - {".gitattributes", "README.md"} and marker not in files:
            raise HubError(f"{repo.url} holds something else (no {marker}): give another name with --name")
    return True


def _collect(api: HfApi, repos: dict[str, Repository], options: Options) -> str:
    """Put the repositories into the namespace's collection; its address."""

    def create() -> object:
        return api.create_collection(COLLECTION, namespace=options.namespace, private=options.private, exists_ok=True)

    collection = retry(create, "the collection")
    for repo in repos.values():
        retry(lambda repo=repo: api.add_collection_item(collection.slug, repo.id, repo.type, exists_ok=True), repo.id)
    return collection.url
