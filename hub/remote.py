"""One repository on the Hub: what is there, and one commit that changes it.

A commit whose reply was lost may have been applied. So every step is repeatable: a commit names its parent, and after
every failure the remote tree is read again and compared with the local files, so the answer to "was it applied?" is
never guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from .contents import MANIFEST, Changes, LocalFile, Remote, compare, read_manifest
from .retrying import CONFLICT, HubError, retry

T = TypeVar("T")


@dataclass(frozen=True)
class Repository:
    """A repository by type ("model", "dataset", "space") and id, with the client that talks to it.

    `notify` is told of pauses; `attempts`: at most so many for each request.
    """

    api: HfApi
    type: str
    id: str
    notify: Callable[[str], None] = print
    attempts: int | None = None

    @property
    def url(self) -> str:
        prefix = "" if self.type == "model" else f"{self.type}s/"
        return f"{self.api.endpoint}/{prefix}{self.id}"

    @property
    def _where(self) -> dict[str, Any]:
        return {"repo_id": self.id, "repo_type": self.type}

    def retry(self, action: Callable[[], T], what: str, also: Sequence[int] = ()) -> T:
        """`retrying.retry` with the repository's name in its messages."""
        return retry(action, f"{self.type} {self.id}: {what}", also, self.notify, self.attempts)

    def info(self, revision: str | None = None) -> Any:
        """The Hub's description of the repository (`ModelInfo` and its like), None where there is none."""

        def read() -> Any:
            try:
                return self.api.repo_info(**self._where, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None

        return self.retry(read, "reading its state")

    def read(self, revision: str = "main") -> Remote:
        """The head commit of a revision and the files there, from that very commit.

        Raises:
            HubError: its `MANIFEST` is not one.
        """
        info = self.info(revision)
        if info is None:
            return Remote(None)
        head = info.sha

        def tree() -> dict[str, RepoFile]:
            entries = self.api.list_repo_tree(**self._where, revision=head, recursive=True)
            return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

        files = self.retry(tree, "listing its files")
        if MANIFEST not in files:
            return Remote(head, files)
        path = self.retry(
            lambda: self.api.hf_hub_download(**self._where, filename=MANIFEST, revision=head), f"reading {MANIFEST}"
        )
        listed = read_manifest(Path(path).read_bytes())
        if listed is None:
            raise HubError(f"{self.url}: {MANIFEST} is not as a push writes it; delete it there, then push again")
        return Remote(head, files, listed)

    def create(self, private: bool, sdk: str | None = None) -> None:
        """Create the repository unless it exists (a lost reply makes the second attempt find it)."""
        self.retry(
            lambda: self.api.create_repo(self.id, repo_type=self.type, private=private, space_sdk=sdk, exist_ok=True),
            "creating it",
        )

    def create_branch(self, branch: str) -> None:
        self.retry(lambda: self.api.create_branch(**self._where, branch=branch, exist_ok=True), f"branch {branch}")

    # The one commit

    def commit(
        self, local: dict[str, LocalFile], message: str, revision: str = "main", unlisted: Sequence[str] = ()
    ) -> "Outcome":
        """Bring a branch to the local files in one commit on top of the head that was compared.

        Whatever goes wrong (no answer, a lost reply, somebody else's commit in between), the head is read again:
        files that are there already need no further commit.
        """
        before: list[str | None] = []

        def attempt() -> Outcome:
            remote = self.read(revision)
            before.append(remote.head)
            changes = compare(local, remote, unlisted)
            if not changes:
                return Outcome(str(remote.head), new=remote.head != before[0])
            info = self.api.create_commit(
                **self._where,
                operations=_operations(changes, local),
                commit_message=message,
                revision=revision,
                parent_commit=remote.head,
            )
            return Outcome(info.oid, new=True)

        return self.retry(attempt, "the commit", also=CONFLICT)

    def open_request(self, local: dict[str, LocalFile], message: str, unlisted: Sequence[str] = ()) -> "Outcome":
        """Open a pull request that brings `main` to the local files, unless an open one already does."""

        def attempt() -> Outcome:
            main = self.read()
            changes = compare(local, main, unlisted)
            if not changes:
                return Outcome(str(main.head), new=False)
            for request in self.api.get_repo_discussions(
                **self._where, discussion_type="pull_request", discussion_status="open"
            ):
                proposed = self.read(f"refs/pr/{request.num}")
                if proposed.head is not None and not compare(local, proposed, unlisted):
                    return Outcome(proposed.head, new=False, request=request.url)
            info = self.api.create_commit(
                **self._where,
                operations=_operations(changes, local),
                commit_message=message,
                parent_commit=main.head,
                create_pr=True,
            )
            return Outcome(info.oid, new=True, request=info.pr_url)

        return self.retry(attempt, "the pull request", also=CONFLICT)

    def tag(self, version: str, commit: str) -> str:
        """Tag a commit `v<version>`, or `v<version>-2`, ... where that name already pins another commit.

        A tag is never moved: somebody loads it. A commit that bears a tag of this version keeps it.
        """

        def attempt() -> str:
            names = {ref.name: ref.target_commit for ref in self.api.list_repo_refs(**self._where).tags}
            candidates = [f"v{version}", *(f"v{version}-{number}" for number in range(2, len(names) + 3))]
            for name in candidates:
                if names.get(name) == commit:
                    return name
            free = next(name for name in candidates if name not in names)
            self.api.create_tag(**self._where, tag=free, revision=commit)
            return free

        return self.retry(attempt, "the version tag", also=CONFLICT)


@dataclass(frozen=True)
class Outcome:
    """What a push came to: the commit that holds the files, whether it is new, the pull request if one was asked."""

    commit: str
    new: bool
    request: str | None = None


def _operations(changes: Changes, local: dict[str, LocalFile]) -> list[CommitOperationAdd | CommitOperationDelete]:
    additions = [CommitOperationAdd(path, local[path].path) for path in [*changes.added, *changes.changed]]
    return [*additions, *(CommitOperationDelete(path, is_folder=False) for path in changes.deleted)]
