"""`tiktalkcoref push`: check rights and names, build the folders, show the changes, one commit a repository, a tag."""

import contextlib
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from huggingface_hub import HfApi
from rich.console import Console

from tiktalkcoref import __version__
from tiktalkcoref.files.atomic import ANYTHING, atomic_folder
from tiktalkcoref.files.errors import UserError

from .cards import check_card
from .contents import MANIFEST, Local, Remote, check_target, compare, read_folder, write_manifest
from .kinds import KINDS, Kind, Sources, repository_ids
from .remote import Hub, Repository
from .retrying import UnreachableError
from .rights import check_name, check_rights, find_account

COLLECTION = "TikTalkCoref"
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


def push(kinds: Sequence[str], sources: Sources, options: Options, console: Console) -> None:
    """Push the repositories of these kinds, one after the other.

    A dry run needs neither token nor network; it says what it could not compare.

    Raises:
        ValueError: names, sources or cards that cannot be pushed; nothing was created.
        HubError: the Hub refused (nothing was created), or did not answer (the same command continues).
    """
    ids = repository_ids(options.namespace, options.names)
    if options.create_pr and options.revision != "main":
        raise UserError(f"--create-pr proposes a change of main: leave out --revision {options.revision}")
    for name in kinds:
        KINDS[name].check(sources)
        if options.build_dir:
            check_target(options.build_dir / name, sources)

    def notify(message: str) -> None:
        console.print(message, style="dim", highlight=False, markup=False)

    api = HfApi(library_name="tiktalkcoref", library_version=__version__)
    hub = Hub(api, notify, DRY_ATTEMPTS if options.dry_run else None)
    repos = {name: Repository(hub, KINDS[name].type, ids[name]) for name in kinds}
    exists = _look(hub, repos, options)
    with _temporary_folder() as scratch:
        folders = {name: (options.build_dir or scratch) / name for name in kinds}
        for name, folder in folders.items():
            for line in _build(KINDS[name], sources, ids, folder):
                notify(line)
        for name, folder in folders.items():
            _push_one(name, repos[name], exists[name], read_folder(folder), options, console)
    if options.collection and not options.dry_run:
        console.print(f"collection {_collect(hub, repos, options)}")


def _build(kind: Kind, sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Put a repository's content into the place of `folder`, with a card that the Hub takes; lines for the user."""
    with atomic_folder(folder, owned=ANYTHING) as unfinished:
        lines = kind.build(sources, ids, unfinished)
        check_card(unfinished / "README.md", kind.type)
        write_manifest(unfinished)
    return lines


def _look(hub: Hub, repos: dict[str, Repository], options: Options) -> dict[str, bool | None]:
    """Check token, rights and names; which repositories exist, None where the Hub cannot be reached (dry run).

    Raises:
        HubError: see `find_account`, `check_rights` and `check_name`.
    """
    try:
        account = find_account(hub, optional=options.dry_run)
        if account is None:
            hub.notify("no Hub token: rights were not checked, and private repositories look as if they were not there")
        elif not options.create_pr:  # anybody may propose
            check_rights(account, options.namespace)
        return {name: check_name(repo, KINDS[name], options.private, options.create_pr) for name, repo in repos.items()}
    except UnreachableError as error:
        if not options.dry_run:
            raise
        hub.notify(f"{error}: nothing was compared, every file is shown")
        return dict.fromkeys(repos)


def _push_one(
    name: str, repo: Repository, exists: bool | None, local: Local, options: Options, console: Console
) -> None:
    """Show and push one repository; `exists` is None where the Hub could not be asked."""
    escaped = re.escape(repo.id.split("/")[1])
    unlisted = [pattern.replace("{name}", escaped) for pattern in KINDS[name].unlisted]
    remote = Remote(None) if exists is None else repo.read(options.revision)
    changes = compare(local, remote, unlisted)
    state = {None: " (not compared)", False: " (new)", True: ""}[exists]
    console.print(f"[bold]{name}[/bold] {repo.url}{state}")
    for sign, paths in (("+", changes.added), ("~", changes.changed), ("-", changes.deleted)):
        for path in paths:
            size = f"  {local[path].upload_info.size:,} bytes" if path in local else ""
            if path != MANIFEST:
                console.print(f"  {sign} {path}{size}", highlight=False, markup=False)
    if not changes:
        console.print("  nothing to change")
    if options.dry_run:
        return

    if not exists:
        repo.create(options.private, KINDS[name].sdk)
    if options.revision != "main":
        repo.create_branch(options.revision)
    message = f"Update to {__version__}" if local.keys() & remote.files.keys() else f"Release {__version__}"
    outcome = repo.commit(local, message, unlisted, options.revision, options.create_pr)
    if outcome.request:
        console.print(f"  pull request {outcome.request}" + ("" if outcome.new else " (already open)"))
    elif outcome.new:
        console.print(f"  commit {repo.url}/commit/{outcome.commit}", highlight=False)
    if options.revision == "main" and not options.create_pr:
        label = repo.tag(__version__, outcome.commit)
        console.print(f"  version {label}: {repo.url}/tree/{label}", highlight=False)


def _collect(hub: Hub, repos: dict[str, Repository], options: Options) -> str:
    """Put the repositories into the namespace's collection; its address."""
    about: dict[str, Any] = {"namespace": options.namespace, "private": options.private, "exists_ok": True}
    collection = hub.ask(lambda: hub.api.create_collection(COLLECTION, **about), "the collection")
    for repo in repos.values():
        item: dict[str, Any] = {"item_id": repo.id, "item_type": repo.type, "exists_ok": True}
        repo.ask(partial(hub.api.add_collection_item, collection.slug, **item), "adding it to the collection")
    return str(collection.url)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is removed when the block ends, also by SIGTERM, which else ends a process at once."""
    with tempfile.TemporaryDirectory(prefix="tiktalkcoref-push-", ignore_cleanup_errors=True) as name:

        def end(number: int, _: FrameType | None) -> None:
            shutil.rmtree(name, ignore_errors=True)  # first: uploads in other threads may take their time to end
            raise SystemExit(128 + number)

        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield Path(name)
            return
        before = signal.signal(signal.SIGTERM, end)
        try:
            yield Path(name)
        finally:
            signal.signal(signal.SIGTERM, before)
