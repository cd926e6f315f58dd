"""The pictures of the authors' release: found by file name, never by the annotators' paths, and looked into."""

import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tiktalkcoref.files.errors import UserError

from .checks import file_name_of
from .problems import CorpusError, Fault, error
from .records import Box

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000  # a decoded picture of this size takes 300 MB

# The folder's name as an option: the column that its pictures fill, and the field of a box that names them.
SOURCES = {"frames_dir": ("frame", "cur_frame_path"), "regions_dir": ("region", "region_image_path")}


class PictureFolder:
    """Pictures of one folder and of the folders in it, by file name. One listing, no look at each file.

    Only regular files count. A symbolic link is followed where it stays in the folder; one that leaves it is refused
    when it is asked for, since what it leads to would be published as a picture.
    """

    def __init__(self, folder: str | os.PathLike, field: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(self.folder):
            raise CorpusError(f"{field} {self.folder} is not a folder.")
        self.column, self.source = SOURCES[field]
        self.found = self.missing = 0
        self._inside = os.path.join(os.path.realpath(self.folder), "")
        self._paths: dict[str, list[str]] = {}
        self._refused: dict[str, str] = {}  # path -> why
        for subfolder in self._list(self.folder):
            self._list(subfolder)

    def _list(self, folder: str) -> list[str]:
        """Take in the files of a folder; returns its subfolders."""
        subfolders = []
        outside = self._is_outside(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    subfolders.append(entry.path)
                    continue
                self._paths.setdefault(entry.name, []).append(entry.path)
                if outside or (entry.is_symlink() and self._is_outside(entry.path)):
                    self._refused[entry.path] = f"a link leads out of {self.folder}. Copy the pictures into the folder"
                elif not entry.is_file():
                    self._refused[entry.path] = "it is no file (a pipe, a device or a broken link)"
        return sorted(subfolders)

    def _is_outside(self, path: str) -> bool:
        return not os.path.join(os.path.realpath(path), "").startswith(self._inside)

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
        names = [self.column, self.folder, *sorted(chain.from_iterable(self._paths.values()))]
        return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Pictures:
    """The picture folders of a corpus, frames first.

    missing: what a missing picture is: "error", "warning", or None (it is counted alone).
    """

    folders: tuple[PictureFolder, ...] = ()
    missing: str | None = None

    @classmethod
    def open(
        cls,
        frames_dir: str | os.PathLike | None,
        regions_dir: str | os.PathLike | None,
        require_images: bool,
        missing: str | None = None,
    ) -> "Pictures":
        """List the folders. Raises: CorpusError where one is missing, or none is given and pictures are required."""
        if require_images and frames_dir is None and regions_dir is None:
            raise CorpusError("require_images=True, but no pictures to look for: give frames_dir, regions_dir or both.")
        named = {"frames_dir": frames_dir, "regions_dir": regions_dir}
        folders = tuple(PictureFolder(folder, field) for field, folder in named.items() if folder is not None)
        return cls(folders, "error" if require_images else missing)

    def fill_in(self, boxes: list[dict[str, Any]], doc_key: str) -> Iterator[Fault]:
        """Set `frame` and `region` of canonical boxes to paths, where there are pictures.

        Yields what is wrong: a picture that is refused, one that is missing.
        """
        for folder in self.folders:
            for i, box in enumerate(boxes):
                name, field = file_name_of(box[folder.source]), f"visual_annotations[{i}].{folder.source}"
                try:
                    path = box[folder.column] = folder.find(name, doc_key)
                except ValueError as refusal:
                    yield error(field, str(refusal))
                    continue
                if path is None and self.missing:
                    effect = ", and require_images=True" if self.missing == "error" else ": it is left empty"
                    yield Fault(self.missing, field, f"no picture {name} in {folder.folder}{effect}")

    def count(self, boxes: Iterable[Box], doc_key: str) -> None:
        """Look for the pictures of boxes, so that they are counted."""
        for folder in self.folders:
            for box in boxes:
                with contextlib.suppress(ValueError):  # refused: an error of the line, said where it is read
                    folder.find(file_name_of(getattr(box, folder.source)), doc_key)

    def log(self) -> None:
        """One line on the pictures found and missing, where there are folders of them."""
        parts = [
            f"{folder.column} pictures: {folder.found} found, {folder.missing} missing in {folder.folder}"
            for folder in self.folders
        ]
        if parts:
            level = logging.WARNING if any(folder.missing for folder in self.folders) else logging.INFO
            logger.log(level, "%s", "; ".join(parts))


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
