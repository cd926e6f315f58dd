"""One repository on the Hub: what is there, what would change, and one commit that changes it.

The Hub's clients retry downloads and uploads, but not creating a repository or a commit, and a commit whose reply was
lost may have been applied. Here every step is repeatable: a commit names its parent, and after every failure the
remote tree is read again and compared with the local files, so the answer to "was it applied?" is never guessed.
"""

import fnmatch
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import get_session

try:
    import httpx2 as httpx  # huggingface_hub 2
except ImportError:
    import httpx  # huggingface_hub 1

T = TypeVar("T")

ATTEMPTS = 10
LONGEST_WAIT = 8.0  # seconds between two attempts
TIMEOUT = 300.0  # seconds without a byte; the client itself would wait for ever
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CONFLICT = (409, 412)


class HubError(OSError):
    """The Hub refused, or did not answer: one line that says what to do."""


# Retries


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, None where there was no answer."""
    response = getattr(_root(error), "response", None)
    return getattr(response, "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: no connection, a busy server, HTML where JSON was expected."""
    error = _root(error)
    if isinstance(error, HfHubHTTPError):
        return status_of(error) in _TRANSIENT
    if isinstance(error, OfflineModeIsEnabled):
        return False
    # RuntimeError: what the xet storage client makes of a broken connection
    return isinstance(error, (httpx.TransportError, ConnectionError, TimeoutError, json.JSONDecodeError, RuntimeError))


def _root(error: BaseException) -> BaseException:
    """The error itself: uploads wrap what went wrong in a RuntimeError."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def retry(action: Callable[[], T], what: str, also: Sequence[int] = (), notify: Callable[[str], None] = print) -> T:
    """Call `action` until it succeeds, up to ten times with growing pauses.

    `also`: further statuses that mean "read again and repeat" (409 and 412 for a commit).

    Raises:
        HubError: the Hub refused, or gave no answer in ten attempts.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            get_session().timeout = TIMEOUT
            return action()
        except Exception as error:
            if not is_transient(error) and status_of(error) not in also:
                if isinstance(_root(error), HfHubHTTPError):
                    raise HubError(f"{what}: {explain(error)}") from error
                raise
            if attempt == ATTEMPTS:
                raise HubError(
                    f"{what}: no success in {ATTEMPTS} attempts, the last one: {explain(error)}; nothing is "
                    "half-done, the same command continues"
                ) from error
            wait = min(LONGEST_WAIT, 0.25 * 2**attempt) * random.uniform(0.5, 1)
            notify(f"{what}: {explain(error)}; attempt {attempt + 1} of {ATTEMPTS} in {wait:.1f} s")
            time.sleep(wait)
    raise AssertionError("unreachable")


def explain(error: BaseException) -> str:
    """An error of the clients as a single line."""
    error, status = _root(error), status_of(error)
    if status in _CONFLICT:
        return f"another commit came first ({status})"
    if status is not None:
        return " ".join(f"the Hub answered {status} {getattr(error, 'server_message', None) or ''}".split())
    return " ".join((str(error) or type(error).__name__).split())


# Local and remote files


@dataclass(frozen=True)
class LocalFile:
    """A file to be pushed. Both hashes are taken: the Hub decides which files are LFS."""

    path: Path
    size: int
    git_oid: str
    sha256: str


def read_folder(folder: Path) -> dict[str, LocalFile]:
    """The files of a repository folder by their path in the repository."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
        if path.is_file() and not hidden:
            size = path.stat().st_size
            git, sha = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    git.update(chunk)
                    sha.update(chunk)
            files[name] = LocalFile(path, size, git.hexdigest(), sha.hexdigest())
    return files


@dataclass(frozen=True)
class Remote:
    """A revision as it stands: `head` is None where the repository or the revision does not exist."""

    head: str | None
    files: dict[str, RepoFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Repository:
    """A repository by type ("model", "dataset", "space") and id, with the client that talks to it."""

    api: HfApi
    type: str
    id: str
    notify: Callable[[str], None] = print

    @property
    def url(self) -> str:
        prefix = "" if self.type == "model" else f"{self.type}s/"
        return f"{self.api.endpoint}/{prefix}{self.id}"

    def _where(self) -> dict[str, str]:
        return {"repo_id": self.id, "repo_type": self.type}

    def _retry(self, action: Callable[[], T], what: str, also: Sequence[int] = ()) -> T:
        return retry(action, f"{self.type} {self.id}: {what}", also, self.notify)

    def info(self, revision: str | None = None) -> object | None:
        """The Hub's description of the repository, None where there is none."""

        def read() -> object | None:
            try:
                return self.api.repo_info(**self._where(), revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None

        return self._retry(read, "reading its state")

    def read(self, revision: str = "main") -> Remote:
        """The head commit of a revision and the files there, from that very commit."""
        info = self.info(revision)
        if info is None:
            return Remote(None)

        def tree() -> dict[str, RepoFile]:
            entries = self.api.list_repo_tree(**self._where(), revision=info.sha, recursive=True)
            return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

        return Remote(info.sha, self._retry(tree, "listing its files"))

    def create(self, private: bool, sdk: str | None = None) -> None:
        """Create the repository unless it exists (a lost reply makes the second attempt find it)."""
        self._retry(
            lambda: self.api.create_repo(self.id, repo_type=self.type, private=private, space_sdk=sdk, exist_ok=True),
            "creating it",
        )

    def create_branch(self, branch: str) -> None:
        self._retry(lambda: self.api.create_branch(**self._where(), branch=branch, exist_ok=True), f"branch {branch}")


@dataclass(frozen=True)
class Changes:
    """Paths that a push would add, change and delete."""

    added: list[str]
    changed: list[str]
    deleted: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for sign, paths in (("+", self.added), ("~", self.changed), ("-", self.deleted)):
            yield from ((sign, path) for path in paths)


def compare(local: dict[str, LocalFile], remote: Remote, owned: Sequence[str]) -> Changes:
    """What separates the remote files from the local ones.

    Files that people added on the Hub stay, unless they match a pattern of `owned`: names that a push writes itself,
    where a stale file would be read as data (an old shard) or run as code.
    """
    changed = []
    for path in sorted(local.keys() & remote.files.keys()):
        there = remote.files[path]
        same = there.lfs.sha256 == local[path].sha256 if there.lfs else there.blob_id == local[path].git_oid
        if not same:
            changed.append(path)
    stale = [path for path in remote.files.keys() - local.keys() if any(fnmatch.fnmatch(path, name) for name in owned)]
    return Changes(sorted(local.keys() - remote.files.keys()), changed, sorted(stale))


# The one commit


@dataclass(frozen=True)
class Outcome:
    """What a push came to: the commit that holds the files, whether it is new, the pull request if one was asked."""

    commit: str
    new: bool
    request: str | None = None


def commit(
    repo: Repository, local: dict[str, LocalFile], message: str, revision: str = "main", owned: Sequence[str] = ()
) -> Outcome:
    """Bring a branch to the local files in one commit on top of the head that was compared.

    Whatever goes wrong (no answer, a lost reply, somebody else's commit in between), the head is read again: files
    that are there already need no further commit.
    """
    before: list[str | None] = []

    def attempt() -> Outcome:
        remote = repo.read(revision)
        before.append(remote.head)
        changes = compare(local, remote, owned)
        if not changes:
            return Outcome(remote.head, new=remote.head != before[0])
        info = repo.api.create_commit(
            **repo._where(),
            operations=_operations(changes, local),
            commit_message=message,
            revision=revision,
            parent_commit=remote.head,
        )
        return Outcome(info.oid, new=True)

    return repo._retry(attempt, "the commit", also=_CONFLICT)


def open_request(repo: Repository, local: dict[str, LocalFile], message: str, owned: Sequence[str] = ()) -> Outcome:
    """Open a pull request that brings `main` to the local files, unless an open one already does."""

    def attempt() -> Outcome:
        main = repo.read()
        changes = compare(local, main, owned)
        if not changes:
            return Outcome(main.head, new=False)
        for request in repo.api.get_repo_discussions(
            **repo._where(), discussion_type="pull_request", discussion_status="open"
        ):
            proposed = repo.read(f"refs/pr/{request.num}")
            if proposed.head is not None and not compare(local, proposed, owned):
                return Outcome(proposed.head, new=False, request=request.url)
        info = repo.api.create_commit(
            **repo._where(),
            operations=_operations(changes, local),
            commit_message=message,
            parent_commit=main.head,
            create_pr=True,
        )
        return Outcome(info.oid, new=True, request=info.pr_url)

    return repo._retry(attempt, "the pull request", also=_CONFLICT)


def _operations(changes: Changes, local: dict[str, LocalFile]) -> list[CommitOperationAdd | CommitOperationDelete]:
    additions = [CommitOperationAdd(path, local[path].path) for path in [*changes.added, *changes.changed]]
    return [*additions, *(CommitOperationDelete(path, is_folder=False) for path in changes.deleted)]


def tag(repo: Repository, version: str, commit: str) -> str:
    """Tag a commit `v<version>`, or `v<version>-2`, ... where that name already pins another commit.

    A tag is never moved: somebody loads it. A commit that bears a tag of this version keeps it.
    """

    def attempt() -> str:
        names = {ref.name: ref.target_commit for ref in repo.api.list_repo_refs(**repo._where()).tags}
        candidates = [f"v{version}", *(f"v{version}-{number}" for number in range(2, len(names) + 3))]
        for name in candidates:
            if names.get(name) == commit:
                return name
        free = next(name for name in candidates if name not in names)
        repo.api.create_tag(**repo._where(), tag=free, revision=commit)
        return free

    return repo._retry(attempt, "the version tag", also=_CONFLICT)
