"""The command `tiktalkcoref track`: videos in, a folder of persons out for each; finished videos are skipped."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.terminal import Terminal

from .detections import Picture
from .drawing import contact_sheet, write_annotated
from .entities import FILE, VideoEntities, read_entities
from .extra import load
from .tracker import VideoTracker
from .video import Video, VideoError

CROPS, SHEET, ANNOTATED = "crops", "contact_sheet.png", "annotated.mp4"
OWNED = [FILE, f"{CROPS}/*.png", SHEET, ANNOTATED]

log = logging.getLogger(__name__)


def track_videos(
    videos: Sequence[Path | str], output: Path | str, tracker: VideoTracker, annotate: bool = False
) -> dict[Path, Path | Exception]:
    """Write `<output>/<name of the video>/` for each video: `entities.json`, crops, a contact sheet.

    A folder is complete or not there. A video whose folder is there already, made with the same settings from a file of
    the same size, is skipped. A video that cannot be read does not stop the others.

    Args:
        videos: files, or folders of frames.
        output: gets a folder for each.
        tracker: with its networks loaded.
        annotate: whether to write `annotated.mp4` too, the video with coloured boxes.

    Returns:
        For each video its folder, or the error.

    Raises:
        UserError: two videos would get the same folder.
    """
    folders = _folders(videos, Path(output))
    results: dict[Path, Path | Exception] = {}
    for video, folder in folders.items():
        try:
            if not _is_finished(video, folder, tracker, annotate):
                write_entities(video, folder, tracker, annotate)
            results[video] = folder
        except (VideoError, OSError) as error:
            results[video] = error
    return results


def write_entities(video: Path, folder: Path, tracker: VideoTracker, annotate: bool = False) -> VideoEntities:
    """Track one video and write its folder, all of it or nothing.

    Raises:
        VideoError, FileNotFoundError: see `Video`.
        FileExistsError: the folder holds other files than these.
    """
    opened = Video(video, tracker.settings.max_pixels, tracker.settings.max_seconds)
    with (
        atomic_folder(folder, owned=OWNED, marker=FILE) as temporary,
        video_bar(opened, 3 if annotate else 2) as progress,
    ):
        found = tracker(opened, progress)
        (temporary / CROPS).mkdir()
        for entity in found.entities:
            for number, crop in enumerate(entity.crops):
                crop.file = f"{CROPS}/{entity.id}-{number}.png"
                if crop.picture is not None:
                    _write_png(temporary / crop.file, crop.picture)
        contact_sheet(found).save(temporary / SHEET)
        if annotate:
            write_annotated(opened, found, temporary / ANNOTATED, lambda seconds: progress(2 * found.seconds + seconds))
        content = json.dumps(found.to_dict(), ensure_ascii=False, indent=1)
        (temporary / FILE).write_text(content + "\n", encoding="utf-8")
    return found


def _folders(videos: Sequence[Path | str], output: Path) -> dict[Path, Path]:
    folders: dict[Path, Path] = {}
    for video in dict.fromkeys(map(Path, videos)):
        folder = output / (video.name if video.is_dir() else video.stem)
        twin = next((other for other, taken in folders.items() if taken == folder), None)
        if twin is not None:
            raise UserError(
                f"{twin} and {video} would both be written to {folder}: rename one or use two output folders"
            )
        folders[video] = folder
    return folders


def _is_finished(video: Path, folder: Path, tracker: VideoTracker, annotate: bool) -> bool:
    if not (folder / FILE).exists() or not video.exists() or (annotate and not (folder / ANNOTATED).exists()):
        return False
    try:
        found = read_entities(folder)
    except UserError:
        return False
    same_video = (found["video"], found["bytes"]) == (video.name, video.stat().st_size)
    return same_video and found["settings"] == asdict(tracker.settings)


def _write_png(path: Path, picture: Picture) -> None:
    cv2 = load("cv2")
    written, content = cv2.imencode(".png", picture)
    if not written:
        raise OSError(f"{path} could not be written as PNG")
    path.write_bytes(content.tobytes())  # cv2.imwrite does not take every path on Windows


@contextmanager
def video_bar(video: Video, readings: int) -> Iterator[Callable[[float], object]]:
    """A bar with the time that is left, over all readings of a video; silent where nobody watches."""
    console = Terminal(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(video.path.name, total=video.seconds and readings * video.seconds)
        yield lambda seconds: progress.update(task, completed=seconds)
