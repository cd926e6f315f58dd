"""The weights of the networks: from a folder, or once from OpenCV's repositories on the Hub; checked either way."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiktalkcoref.files.errors import UserError


class WeightsError(UserError):
    """Weights are missing, or are not those that were published."""


@dataclass(frozen=True)
class Weights:
    """One published file of weights. The sum pins it: whatever `main` holds one day, no other bytes are accepted."""

    repo_id: str
    file: str
    sha256: str
    revision: str = "main"


YUNET = Weights(
    "opencv/face_detection_yunet",
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
SFACE = Weights(
    "opencv/face_recognition_sface",
    "face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)


def read_weights(weights: Weights, folder: Path | str | None = None) -> NDArray[np.uint8]:
    """The bytes of the file: from `folder` if one is named, else from the Hub's cache, else from the Hub.

    Raises:
        WeightsError: the file is not there and cannot be downloaded, or its sum is another one; says which file with
            which sum goes where.
    """
    path = Path(folder) / weights.file if folder is not None else _download(weights)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); {_wanted(weights)}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != weights.sha256:
        raise WeightsError(
            f"{path} has {len(content):,} bytes of sum sha256 {found}: it is damaged or another version; "
            f"remove it. {_wanted(weights)}"
        )
    return np.frombuffer(content, np.uint8)


def _download(weights: Weights) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    cached = try_to_load_from_cache(weights.repo_id, weights.file, revision=weights.revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(weights.repo_id, weights.file, revision=weights.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{weights.repo_id} could not be downloaded from the Hub ({reason}); {_wanted(weights)}"
        ) from error


def _wanted(weights: Weights) -> str:
    return (
        f"get {weights.file} (sha256 {weights.sha256}) from https://huggingface.co/{weights.repo_id}, put it into a "
        "folder and name that with --weights"
    )
