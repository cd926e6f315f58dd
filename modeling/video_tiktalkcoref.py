"""A video in the place of pictures: the persons in it are the regions, several pictures of each.

They are found by the package `tiktalkcoref` (extra `tracking`), which is imported when a video comes. The import stands
in a `try` block: transformers looks for a remote file's imports before it runs it, and passes over those alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .inputs_tiktalkcoref import PICTURES, DialogueError


class VideoReader:
    """Finds the persons of videos; the networks are loaded when the first one comes.

    Attributes:
        options: arguments of `tiktalkcoref.tracking.Settings` (`fps`, `max_seconds`, ...), and `weights`, a folder with
            the networks' weights; without it they are downloaded once.
        track: what makes a `VideoEntities` of a path; None until it is needed.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.track: Callable[[Any], Any] | None = None

    def read(self, dialogue: Any, where: str) -> tuple[Any, list[dict[str, Any]] | None]:
        """The dialogue with `regions` in the place of its `video`, and the video's entities; None: it has no video.

        Raises:
            DialogueError: a video beside other pictures, one that cannot be read, or the extra is not installed.
        """
        if not isinstance(dialogue, Mapping) or dialogue.get("video") is None:
            return dialogue, None
        given = [key for key in PICTURES if dialogue.get(key)]
        if given:
            raise DialogueError(f"{where}: both video and {' and '.join(given)} are given; give one of the two.")
        try:
            from tiktalkcoref.tracking import Settings, VideoTracker, candidates

            if self.track is None:
                settings = {key: value for key, value in self.options.items() if key != "weights"}
                self.track = VideoTracker(Settings(**settings), self.options.get("weights"))
            regions, entities = candidates(self.track(dialogue["video"]))
        except ImportError as error:
            raise DialogueError(
                f"{where}: reading videos needs pip install 'tiktalkcoref[tracking]' ({error})"
            ) from error
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) or getattr(error, "for_user", False):
                raise DialogueError(f"{where}: video: {error}") from error
            raise
        rest = {key: value for key, value in dialogue.items() if key not in ("video", *PICTURES)}
        return {**rest, "regions": regions}, entities
