"""The three files that make a corpus: found under any name that upstream has used, or downloaded and verified."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from .problems import CorpusError

UPSTREAM_COMMIT = "8d346bfffe2c40a45ef3564c6edb3d7f075ab944"
UPSTREAM_URL = f"https://raw.githubusercontent.com/lxystaruni/TikTalkCoref/{UPSTREAM_COMMIT}/data"
UPSTREAM_FILES = {  # what is downloaded: role -> (name, sha256)
    "annotations": (
        "all_textual_and_visual_annotations.jsonl",
        "921b4bdedfc1b41b71e013b543add08b3f10abdb990a5404b7e54adbeee616d9",
    ),
    "splits": ("split.jsonl", "81d96c6f19bca9bb3eeee4425bb2d04f1ad8fbb7e170224793b8c42b4181ca32"),
    "titles": ("video_titles.jsonl", "59ac765068e6c2285bb123333cab9193affbd88aa39230318d534810059a9e6a"),
}
OLDER_ANNOTATIONS = ("9fc834d2ed4122e7bf15d6ddf4d0997faed649083ff4c3e9fc40bb488f57a992",)  # sha256; commit db84797

# Names under which upstream has kept each file; `annotations.<revision>.jsonl` is a copy saved under its commit.
FILE_NAMES = {
    "annotations": re.compile(r"(all_textual_and_visual_annotations(_format)?|annotations(\.\w+)?)\.jsonl(ines)?"),
    "splits": re.compile(r"split\.jsonl(ines)?"),
    "titles": re.compile(r"video_titles(\.jsonl(ines)?)?"),
}


class CorpusFiles(NamedTuple):
    """The three files that make a corpus."""

    annotations: Path
    splits: Path
    titles: Path

    def stamps(self) -> list[str]:
        """Path, inode, size and time of change of each: differ after any edit. Raises: OSError."""
        found = [(path, os.stat(path)) for path in self]
        return [f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}" for path, status in found]

    def are_published(self) -> bool:
        """Whether all three are, byte for byte, files that upstream has published (any generation)."""
        known = {role: {digest} for role, (_, digest) in UPSTREAM_FILES.items()}
        known["annotations"].update(OLDER_ANNOTATIONS)
        return all(file_digest(getattr(self, role)) in digests for role, digests in known.items())


def find_files(
    data_dir: str | os.PathLike | None = None,
    *,
    annotations: str | os.PathLike | None = None,
    splits: str | os.PathLike | None = None,
    titles: str | os.PathLike | None = None,
) -> CorpusFiles:
    """The three files of a folder (or of its `data/`) under any of the names that upstream has used.

    A file that is named explicitly is taken as it is: a path, or a name inside `data_dir`.
    Raises: CorpusError where a file is missing, or where several could be meant (all are listed).
    """
    given = {"annotations": annotations, "splits": splits, "titles": titles}
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise CorpusError(f"data_dir {folder} is not a folder. {_where_to_get_files()}")
    # A clone of the upstream repository keeps the files in its `data/`.
    places = [place for place in (folder, folder / "data") if place.is_dir()] if folder else []
    names = [place / name for place in places for name in sorted(os.listdir(place))]
    return CorpusFiles(**{role: _find_file(role, folder, names, given[role]) for role in FILE_NAMES})


def download_files(manager: Any = None) -> CorpusFiles:
    """Upstream's three files at the pinned commit, from the download cache where they are there, verified by sha256.

    `manager`: a `datasets.DownloadManager` (default: a new one).
    Raises: CorpusError when they cannot be had (no network) or are not what was published.
    """
    if manager is None:
        import datasets

        manager = datasets.DownloadManager(dataset_name="tiktalkcoref")
    urls = {role: f"{UPSTREAM_URL}/{name}" for role, (name, _) in UPSTREAM_FILES.items()}
    try:
        paths = manager.download(urls)
    except Exception as error:  # every network library below `datasets` has errors of its own
        raise CorpusError(
            f"The annotation files could not be downloaded ({type(error).__name__}: {error}). {_where_to_get_files()}"
        ) from error
    for role, (name, expected) in UPSTREAM_FILES.items():
        found = file_digest(paths[role])
        if found != expected:
            os.unlink(paths[role])  # else the download cache would hand it out for ever
            raise CorpusError(
                f"{urls[role]} is not the published {name}: its sha256 is {found}, expected {expected}. "
                f"The download was thrown away; try again. {_where_to_get_files()}"
            )
    return CorpusFiles(**{role: Path(path) for role, path in paths.items()})


def file_digest(path: str | os.PathLike) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _find_file(role: str, folder: Path | None, names: list[Path], given: str | os.PathLike | None) -> Path:
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists() and folder is not None and (folder / path).exists():
            path = folder / path
        if not path.is_file():
            raise CorpusError(f"{role}: there is no file {path}.")
        return path
    if folder is None:
        raise CorpusError(f"No file given for {role}: name all three of annotations, splits and titles, or data_dir.")
    found = [path for path in names if FILE_NAMES[role].fullmatch(path.name) and path.is_file()]
    if not found:
        raise CorpusError(
            f"No {role} file in {folder}: expected {UPSTREAM_FILES[role][0]} (or another name that upstream has used), "
            f"or {role}=FILE. {_where_to_get_files()}"
        )
    if len(found) > 1:
        raise CorpusError(
            f"Several {role} files in {folder}: {', '.join(path.name for path in found)}. "
            f"Keep one of them, or say which with {role}=FILE."
        )
    return found[0]


def _where_to_get_files() -> str:
    names = ", ".join(name for name, _ in UPSTREAM_FILES.values())
    return f"The three files {names} are at {UPSTREAM_URL}; put them into one folder and pass data_dir=FOLDER."
