"""From a video to the persons in it: heads detected, tracked inside a shot, joined across cuts.

OpenCV, PyAV and PySceneDetect (`pip install tiktalkcoref[tracking]`) are imported when a video comes, not here.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Detections": "detections",
    "Settings": "settings",
    "VideoEntities": "entities",
    "VideoTracker": "tracker",
    "candidates": "entities",
    "read_entities": "entities",
    "track_videos": "command",
}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
