"""The libraries of the extra `tracking`, imported when they are first needed."""

import os
from importlib import import_module
from types import ModuleType

LIBRARIES = {"cv2": "opencv-python-headless", "av": "av", "scenedetect": "scenedetect-headless"}


class ExtraMissingError(ImportError):
    """A library of the extra is not installed."""


def load(name: str) -> ModuleType:
    """Import `cv2`, `av` or a module of `scenedetect`.

    Raises:
        ExtraMissingError: it is not installed; says what to install.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # read when cv2 is imported: OpenCV 5 warns at every network
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        library = LIBRARIES[name.partition(".")[0]]
        raise ExtraMissingError(
            f"reading videos needs {library}, which is not installed: pip install tiktalkcoref[tracking]"
        ) from error
