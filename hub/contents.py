"""What a repository holds: a built folder, a revision on the Hub, what separates them, and whose the files are.

A push writes beside its files a list of them, `MANIFEST`. What it lists may be deleted by the next push and nothing
else: other files in the repository belong to other people. A built folder with such a list is a push's own, too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track

from .kind import Sources

MANIFEST = ".tiktalkcoref.json"
Local = dict[str, CommitOperationAdd]
"""The files of a built folder by their path in the repository; size and SHA-256 have been taken."""


class Manifest(msgspec.Struct):
    """The content of `MANIFEST`."""

    format: Literal[1]
    files: list[str]


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


def compare(local: Local, remote: Remote, unlisted: Sequence[str] = ()) -> Changes:
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

    common = local.keys() & remote.files.keys()
    return Changes(
        added=sorted(local.keys() - remote.files.keys()),
        changed=sorted(path for path in common if not _same(local[path], remote.files[path])),
        deleted=sorted(path for path in remote.files.keys() - local.keys() if stale(path)),
    )


def _same(here: CommitOperationAdd, there: RepoFile) -> bool:
    """Whether the contents are equal; the Hub decides which files are LFS."""
    if there.lfs:
        return bool(there.lfs.sha256 == here.upload_info.sha256.hex())
    with here.as_file() as file:
        return there.size == here.upload_info.size and bool(there.blob_id == git_hash(file.read()))


def read_folder(folder: Path) -> Local:
    """The files of a built folder, as its `MANIFEST` lists them, and that itself."""
    names = [*sorted(read_manifest((folder / MANIFEST).read_bytes()) or ()), MANIFEST]
    return {name: CommitOperationAdd(name, folder / name) for name in track(names, "reading", total=len(names))}


def write_manifest(folder: Path) -> None:
    """List the files of a folder that has just been built."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = msgspec.json.encode(Manifest(1, [name for name in names if name != MANIFEST]))
    (folder / MANIFEST).write_bytes(msgspec.json.format(manifest, indent=1) + b"\n")


def read_manifest(content: bytes) -> frozenset[str] | None:
    """The paths in a `MANIFEST`, None if it is not one."""
    try:
        return frozenset(msgspec.json.decode(content, type=Manifest).files)
    except msgspec.DecodeError:
        return None


def check_target(folder: Path, sources: Sources) -> None:
    """Refuse to build into a folder that holds anything but an earlier build, or that is read from.

    Raises:
        ValueError: what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --build-dir names a folder")
    target = folder.resolve()
    for path in (sources.dataset, sources.model, *sources.scores):
        source = path.resolve() if path is not None and path.exists() else None
        if source and (source.is_relative_to(target) or target.is_relative_to(source)):
            raise UserError(f"{folder} cannot be written while {path} is read: name another folder with --build-dir")
    manifest = folder / MANIFEST
    own = {MANIFEST, *((read_manifest(manifest.read_bytes()) if manifest.is_file() else None) or ())}
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    if foreign := [name for name in found if name not in own]:
        raise UserError(
            f"{folder} holds {foreign[0]}, which no push has built, so the folder is not replaced: name an empty "
            "folder with --build-dir, or move the file away"
        )
