"""The libraries of the extra `tracking`, imported when they are first needed."""

import os
from importlib import import_module
from types import ModuleType

from tiktalkcoref.files.extras import need


def load(name: str) -> ModuleType:
    """Import `cv2`, `av` or a module of `scenedetect`.

    Raises:
        MissingExtraError: it is not installed; says what to install.
    """
    need("tracking", name.partition(".")[0])
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # read when cv2 is imported: OpenCV 5 warns at every network
    return import_module(name)
