"""The pictures of the authors' release: found by file name, never by the annotators' paths, and looked into."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from tiktalkcoref.files.errors import UserError

from .checks import file_name_of
from .problems import CorpusError, Fault

MAX_PIXELS = 100_000_000  # a decoded picture of this size takes 300 MB


class PictureFolder:
    """Pictures of one folder and of the folders in it, by file name. One listing, no look at each file.

    Only regular files count. A symbolic link is followed where it stays in the folder; one that leaves it is refused
    when it is asked for, since what it leads to would be published as a picture.
    """

    def __init__(self, folder: str | os.PathLike, field: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(self.folder):
            raise CorpusError(f"{field} {self.folder} is not a folder.")
        self._inside = os.path.join(os.path.realpath(self.folder), "")
        self._paths: dict[str, list[str]] = {}
        self._refused: dict[str, str] = {}  # path -> why
        for subfolder in self._list(self.folder):
            self._list(subfolder)
        self.found = self.missing = 0

    def _list(self, folder: str) -> list[str]:
        """Take in the files of a folder; returns its subfolders."""
        subfolders = []
        outside = not os.path.join(os.path.realpath(folder), "").startswith(self._inside)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    subfolders.append(entry.path)
                    continue
                self._paths.setdefault(entry.name, []).append(entry.path)
                if outside or (entry.is_symlink() and not os.path.realpath(entry.path).startswith(self._inside)):
                    self._refused[entry.path] = f"a link leads out of {self.folder}. Copy the pictures into the folder"
                elif not entry.is_file():
                    self._refused[entry.path] = "it is no file (a pipe, a device or a broken link)"
        return sorted(subfolders)

    def find(self, name: str, doc_key: str) -> str | None:
        """The path of the picture of that file name (of several, the one in the dialogue's folder), or None.

        Raises: ValueError for a link that leaves the folder, a pipe, a device.
        """
        paths = self._paths.get(name)
        if not paths:
            self.missing += 1
            return None
        self.found += 1
        own = [path for path in paths if os.path.basename(os.path.dirname(path)) == doc_key]
        path = min(own or paths)
        if path in self._refused:
            raise UserError(f"refused {path}: {self._refused[path]}")
        return path

    def digest(self) -> str:
        """Changes whenever a picture comes or goes, or the folder is another one."""
        names = sorted(chain.from_iterable(self._paths.values()))
        return hashlib.sha256("\0".join([self.folder, *names]).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Pictures:
    """The picture folders of a corpus; None where there is none.

    missing: what a missing picture is: "error", "warning", or None (it is counted alone).
    """

    frames: PictureFolder | None = None
    regions: PictureFolder | None = None
    missing: str | None = None

    @classmethod
    def open(
        cls,
        frames_dir: str | os.PathLike | None,
        regions_dir: str | os.PathLike | None,
        require_images: bool,
    ) -> "Pictures":
        """List the folders. Raises: CorpusError where one is missing, or none is given and pictures are required."""
        if require_images and frames_dir is None and regions_dir is None:
            raise CorpusError("require_images=True, but no pictures to look for: give frames_dir, regions_dir or both.")
        frames = None if frames_dir is None else PictureFolder(frames_dir, "frames_dir")
        regions = None if regions_dir is None else PictureFolder(regions_dir, "regions_dir")
        return cls(frames, regions, "error" if require_images else None)

    @property
    def folders(self) -> list[PictureFolder]:
        """Those that there are, frames first."""
        return [folder for folder in (self.frames, self.regions) if folder is not None]

    @cached_property
    def _sources(self) -> list[tuple[PictureFolder, str, str]]:
        """Each folder with the column that its pictures fill, and the field of a box that names them."""
        both = ((self.frames, "frame", "cur_frame_path"), (self.regions, "region", "region_image_path"))
        return [(folder, column, source) for folder, column, source in both if folder is not None]

    def fill_in(self, boxes: list[dict[str, Any]], doc_key: str, faults: list[Fault]) -> None:
        """Set `frame` and `region` of canonical boxes to paths, where there are pictures.

        What is wrong is added to `faults`: a picture that is refused, one that is missing.
        """
        for folder, column, source in self._sources:
            for i, box in enumerate(boxes):
                name, field = file_name_of(box[source]), f"visual_annotations[{i}].{source}"
                try:
                    box[column] = folder.find(name, doc_key)
                except ValueError as error:
                    faults.append(Fault("error", field, str(error)))
                    continue
                if box[column] is None and self.missing:
                    message = f"no picture {name} in {folder.folder}"
                    message += ", and require_images=True" if self.missing == "error" else ": it is left empty"
                    faults.append(Fault(self.missing, field, message))

    def count(self, boxes: Iterable[Any], doc_key: str) -> None:
        """Look for the pictures of boxes (with the annotators' paths as attributes), so that they are counted."""
        for folder, _, source in self._sources:
            for box in boxes:
                with contextlib.suppress(ValueError):  # refused: an error of the line, said where it is read
                    folder.find(file_name_of(getattr(box, source)), doc_key)

    def summary(self) -> str:
        """One line: how many pictures were found and how many were not; empty without picture folders."""
        return "; ".join(
            f"{column} pictures: {folder.found} found, {folder.missing} missing in {folder.folder}"
            for folder, column, _ in self._sources
        )

    @property
    def n_missing(self) -> int:
        """How many were asked for in vain."""
        return sum(folder.missing for folder in self.folders)


def check_pictures(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Open and decode each picture, on all processors: yields (path, what is wrong or "") in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow's decoders let other threads run
        yield from pool.map(lambda path: (path, _picture_fault(path)), paths)


def _picture_fault(path: str) -> str:
    from PIL import Image

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: a pipe would never answer
            return "it is no file"
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return f"{picture.width} x {picture.height} pixels, at most {MAX_PIXELS:,} were expected"
            picture.load()
    except Image.DecompressionBombError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's readers raise all three
        return "it is no picture" if isinstance(error, Image.UnidentifiedImageError) else f"it is damaged ({error})"
    return ""
