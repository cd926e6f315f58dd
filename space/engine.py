"""The model behind the page: the pipeline that the command line and the handler use, one request at a time."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.modeling.inputs_tiktalkcoref import read_regions
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline


class Engine:
    """A loaded model.

    Args:
        model: folder or Hub id.

    Raises:
        ValueError, OSError: it cannot be loaded; says why.
    """

    def __init__(self, model: str | Path) -> None:
        network, processor = load_model(model)
        self._pipeline = TikTalkCorefPipeline(model=network, processor=processor, device=network.device)
        self._lock = threading.Lock()  # requests wait their turn: memory does not grow with their number

    def resolve(self, dialogue: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's result of one dialogue."""
        with self._lock:
            result: Any = self._pipeline(dialogue)
        return result


def candidates(dialogue: Mapping[str, Any]) -> list[Image.Image]:
    """The first picture of each candidate of a dialogue, as the pipeline numbers them."""
    return [pictures[0] for pictures in read_regions(dialogue)]
