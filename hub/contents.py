"""What a repository holds: the files of a built folder, those of a revision, what separates them, and whose they are.

A push writes beside its files a list of them, `MANIFEST`. What it lists may be deleted by the next push and nothing
else: other files in the repository belong to other people. A built folder with such a list is a push's own, too.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub.hf_api import RepoFile

from tiktalkcoref.files.progress import track

MANIFEST = ".tiktalkcoref.json"


@dataclass(frozen=True)
class LocalFile:
    """A file to be pushed. Both hashes are taken: the Hub decides which files are LFS."""

    path: Path
    size: int
    git_oid: str
    sha256: str


@dataclass(frozen=True)
class Remote:
    """A revision as it stands: `head` is None where the repository or the revision does not exist.

    `listed` are the paths in its `MANIFEST`, None where it has none.
    """

    head: str | None
    files: dict[str, RepoFile] = field(default_factory=dict)
    listed: frozenset[str] | None = None


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


def compare(local: dict[str, LocalFile], remote: Remote, unlisted: Sequence[str] = ()) -> Changes:
    """What separates the remote files from the local ones.

    Deleted are files that an earlier push wrote and this one does not: an old shard would be read as data, old code
    be run.

    Args:
        local: what `read_folder` gave.
        remote: the revision.
        unlisted: regular expressions of whole paths: what pushes wrote before there was a `MANIFEST`; used where the
            revision has none.
    """

    def stale(path: str) -> bool:
        if remote.listed is not None:
            return path in remote.listed
        return any(re.fullmatch(pattern, path) for pattern in unlisted)

    def same(path: str) -> bool:
        there, here = remote.files[path], local[path]
        return there.lfs.sha256 == here.sha256 if there.lfs else there.blob_id == here.git_oid

    return Changes(
        added=sorted(local.keys() - remote.files.keys()),
        changed=sorted(path for path in local.keys() & remote.files.keys() if not same(path)),
        deleted=sorted(path for path in remote.files.keys() - local.keys() if stale(path)),
    )


def read_folder(folder: Path) -> dict[str, LocalFile]:
    """The files of a built folder by their path in the repository, as its `MANIFEST` lists them, and that itself."""
    names = [*sorted(read_manifest((folder / MANIFEST).read_bytes()) or ()), MANIFEST]
    return {name: _read_file(folder / name) for name in track(names, "reading", total=len(names))}


def write_manifest(folder: Path) -> None:
    """List the files of a folder that has just been built."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    text = json.dumps({"format": 1, "files": [name for name in names if name != MANIFEST]}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(content: bytes) -> frozenset[str] | None:
    """The paths in a `MANIFEST`, None if it is not one."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    files = value.get("files") if isinstance(value, dict) and value.get("format") == 1 else None
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        return None
    return frozenset(files)


def _read_file(path: Path) -> LocalFile:
    size = path.stat().st_size
    git, sha = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            git.update(chunk)
            sha.update(chunk)
    return LocalFile(path, size, git.hexdigest(), sha.hexdigest())
