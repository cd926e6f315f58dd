"""The Hub as a push sees it: requests that are repeated, what a repository holds, and one commit that changes it.

A commit whose reply was lost may have been applied. So every step is repeatable: a commit names its parent, and after
every failure the remote tree is read again and compared with the local files, so the answer to "was it applied?" is
never guessed.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from .contents import MANIFEST, Local, Remote, compare, read_manifest
from .retrying import CONFLICT, HubError, retry

T = TypeVar("T")


@dataclass(frozen=True)
class Hub:
    """The client, with its patience: `notify` is told of pauses; `attempts`: at most so many for each request."""

    api: HfApi
    notify: Callable[[str], None] = print
    attempts: int | None = None

    def ask(self, action: Callable[[], T], what: str, also: Sequence[int] = ()) -> T:
        """`action` repeated as `retry` does; `what` it does, for messages."""
        return retry(action, what, also, self.notify, self.attempts)


@dataclass(frozen=True)
class Outcome:
    """What a push came to: the commit that holds the files, whether it is new, the pull request if one was asked."""

    commit: str
    new: bool
    request: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub by type ("model", "dataset", "space") and id."""

    hub: Hub
    type: str
    id: str

    @property
    def url(self) -> str:
        prefix = "" if self.type == "model" else f"{self.type}s/"
        return f"{self.hub.api.endpoint}/{prefix}{self.id}"

    @property
    def _where(self) -> dict[str, Any]:
        return {"repo_id": self.id, "repo_type": self.type}

    def ask(self, action: Callable[[], T], what: str, also: Sequence[int] = ()) -> T:
        """`Hub.ask` with the repository's name in its messages."""
        return self.hub.ask(action, f"{self.type} {self.id}: {what}", also)

    def info(self, revision: str | None = None) -> Any:
        """The Hub's description of the repository (`ModelInfo` and its like), None where there is none."""

        def look() -> Any:
            try:
                return self.hub.api.repo_info(**self._where, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None

        return self.ask(look, "reading its state")

    def read(self, revision: str = "main") -> Remote:
        """The head commit of a revision and the files there, from that very commit.

        Raises:
            HubError: its `MANIFEST` is not one.
        """
        info = self.info(revision)
        if info is None:
            return Remote(None)
        where = {**self._where, "revision": info.sha}

        def tree() -> dict[str, RepoFile]:
            entries = self.hub.api.list_repo_tree(**where, recursive=True)
            return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

        files = self.ask(tree, "listing its files")
        if MANIFEST not in files:
            return Remote(info.sha, files)
        path = self.ask(lambda: self.hub.api.hf_hub_download(**where, filename=MANIFEST), f"reading {MANIFEST}")
        listed = read_manifest(Path(path).read_bytes())
        if listed is None:
            raise HubError(f"{self.url}: {MANIFEST} is not as a push writes it; delete it there, then push again")
        return Remote(info.sha, files, listed)

    def create(self, private: bool, sdk: str | None = None) -> None:
        """Create the repository unless it exists (a lost reply makes the second attempt find it)."""
        options = {**self._where, "private": private, "space_sdk": sdk, "exist_ok": True}
        self.ask(lambda: self.hub.api.create_repo(**options), "creating it")

    def create_branch(self, branch: str) -> None:
        options = {**self._where, "branch": branch, "exist_ok": True}
        self.ask(lambda: self.hub.api.create_branch(**options), f"branch {branch}")

    def commit(
        self, local: Local, message: str, unlisted: Sequence[str], revision: str = "main", create_pr: bool = False
    ) -> Outcome:
        """Bring a branch to the local files in one commit on top of the head that was compared.

        Whatever goes wrong (no answer, a lost reply, somebody else's commit in between), the head is read again:
        files that are there already need no further commit. With `create_pr` the commit becomes a pull request,
        unless an open one proposes the same files.
        """
        before: list[str | None] = []

        def attempt() -> Outcome:
            remote = self.read(revision)
            before.append(remote.head)
            changes = compare(local, remote, unlisted)
            if not changes:
                return Outcome(str(remote.head), new=remote.head != before[0])
            if create_pr and (proposed := self._find_request(local, unlisted)):
                return proposed
            # A commit notes in its operations what it has uploaded: each attempt has its own.
            additions = [copy(local[path]) for path in (*changes.added, *changes.changed)]
            info = self.hub.api.create_commit(
                **self._where,
                operations=[*additions, *(CommitOperationDelete(path, is_folder=False) for path in changes.deleted)],
                commit_message=message,
                revision=revision,
                parent_commit=remote.head,
                create_pr=create_pr,
            )
            return Outcome(info.oid, new=True, request=info.pr_url)

        return self.ask(attempt, "the pull request" if create_pr else "the commit", also=CONFLICT)

    def _find_request(self, local: Local, unlisted: Sequence[str]) -> Outcome | None:
        """The open pull request that proposes these files."""
        for request in self.hub.api.get_repo_discussions(
            **self._where, discussion_type="pull_request", discussion_status="open"
        ):
            proposed = self.read(f"refs/pr/{request.num}")
            if proposed.head is not None and not compare(local, proposed, unlisted):
                return Outcome(proposed.head, new=False, request=request.url)
        return None

    def tag(self, version: str, commit: str) -> str:
        """Tag a commit `v<version>`, or `v<version>-2`, ... where that name already pins another commit.

        A tag is never moved: somebody loads it. A commit that bears a tag of this version keeps it.
        """

        def attempt() -> str:
            names = {ref.name: ref.target_commit for ref in self.hub.api.list_repo_refs(**self._where).tags}
            candidates = [f"v{version}", *(f"v{version}-{number}" for number in range(2, len(names) + 3))]
            found = next(name for name in candidates if names.get(name, commit) == commit)
            if found not in names:
                self.hub.api.create_tag(**self._where, tag=found, revision=commit)
            return found

        return self.ask(attempt, "the version tag", also=CONFLICT)
