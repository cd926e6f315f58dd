"""Checks of the files of a model: which file, what was found, what to do.

`folder_tiktalkcoref` checks a whole folder.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .configuration_tiktalkcoref import TikTalkCorefConfig

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
LONGEST_JSON = 200_000_000  # bytes
BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1,
         "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
POINTER = b"version https://git-lfs"
AGAIN = "copy or download it again"


class ModelFolderError(ValueError):
    """A model folder that cannot be used; the message names the file, what was found in it, and what to do."""

    for_user = True  # not an error of the program: see tiktalkcoref.files.errors


def read_config(folder: Path) -> TikTalkCorefConfig:
    """The configuration in a folder's config.json.

    Raises:
        ModelFolderError: it is missing, damaged, of another architecture, or describes no model.
    """
    path = folder / "config.json"
    fields = read_object(path, f"name a folder that save_pretrained wrote ({folder} is none)")
    if fields.get("model_type") != "tiktalkcoref":
        raise ModelFolderError(
            f"{path} describes a model of type {fields.get('model_type')!r}, expected 'tiktalkcoref': name the folder "
            "of a TikTalkCoref model"
        )
    try:
        return TikTalkCorefConfig.from_dict(fields)
    except Exception as error:  # a field of any wrong type may trip any line of transformers
        raise ModelFolderError(f"{path}: {one_line(error)} Correct the field, or {AGAIN}") from error


def check_weights(folder: Path, model_class: type[nn.Module], config: TikTalkCorefConfig) -> None:
    """Whether a folder's weights are whole and are those of the model that the configuration describes.

    Raises:
        ModelFolderError: files that are missing or damaged; tensors that are missing or of another shape.
    """
    found: dict[str, list[int]] = {}
    for path in _weight_files(folder):
        found |= read_header(path)
    try:
        with torch.device("meta"):  # shapes alone: no memory is taken
            model = model_class(config)
    except Exception as error:  # a field of any wrong type may trip any line of the towers
        raise ModelFolderError(
            f"{folder / 'config.json'} describes a model that cannot be built: {one_line(error)} Correct the field, "
            f"or {AGAIN}"
        ) from error
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in found.items():
        if name in expected and expected[name] != shape:
            raise ModelFolderError(
                f"{folder}: the weights hold {name} as {shape}, config.json describes it as {expected[name]}: the two "
                "are of different models; take both from the same one"
            )
    missing = [name for name in expected if name not in found]
    renamed = any(name not in expected for name in found)  # transformers may know old names of theirs
    numbers = sum(map(math.prod, found.values()))
    if missing and (not renamed or sum(p.numel() for p in model.parameters()) > numbers):
        raise ModelFolderError(_missing(missing, str(folder)))


def check_loaded(model: nn.Module, missing: set[str] | list[str], where: str) -> None:
    """Whether a model just loaded has all its weights and every one is a finite number.

    Raises:
        ModelFolderError: names the first weights that are missing, or not finite.
    """
    if missing:
        raise ModelFolderError(_missing(sorted(missing), where))
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.device.type != "meta" and not torch.isfinite(tensor).all():
            raise ModelFolderError(
                f"{where}: the weights {name} hold NaN or infinite numbers, so every answer would be one: the training "
                "that wrote them diverged, or the file is damaged; take an earlier model, or train it again with a "
                "lower learning rate"
            )


def read_header(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, from its header; the file is as long as that says.

    Raises:
        ModelFolderError: it is missing, empty, cut short, a Git LFS pointer, or no safetensors file.
    """
    check_file(path, AGAIN)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise ModelFolderError(
                f"{path}: the header claims {length:,} bytes, the file has {size:,}: cut short or no safetensors file; "
                f"{AGAIN}"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: [int(side) for side in entry["shape"]] for name, entry in tensors.items()}
        ends = [entry["data_offsets"][1] for entry in tensors.values()]
        claimed = sum(math.prod(shapes[name]) * BYTES[entry["dtype"]] for name, entry in tensors.items())
        whole = max(ends, default=0) == claimed
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelFolderError(f"{path}: the header is damaged ({one_line(error)}); {AGAIN}") from error
    if not whole or claimed + length + 8 != size:
        raise ModelFolderError(
            f"{path}: the header describes {claimed + length + 8:,} bytes, the file has {size:,}: it is cut short or "
            f"damaged; {AGAIN}"
        )
    return shapes


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        if not (folder / WEIGHTS).exists():
            others = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
            beside = f"; {others[0]} is not read, since pickles can run code" if others else ""
            raise ModelFolderError(
                f"{folder} has no weights: expected {WEIGHTS}{beside}. Save the model there, or {AGAIN}"
            )
        return [folder / WEIGHTS]
    shards = read_object(folder / INDEX, AGAIN).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ModelFolderError(f"{folder / INDEX} names no weights in its weight_map; {AGAIN}")
    return [folder / name for name in sorted(set(names))]


def check_file(path: Path, way: str) -> None:
    if not path.exists():
        raise ModelFolderError(f"{path.parent} has no {path.name}; {way}")
    if not path.is_file():
        raise ModelFolderError(f"{path} is no regular file; {way}")
    if path.stat().st_size == 0:
        raise ModelFolderError(f"{path} is empty; {way}")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ModelFolderError(
                f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the folder with "
                "`hf download`"
            )


def read_object(path: Path, way: str) -> dict[str, Any]:
    check_file(path, way)
    if path.stat().st_size > LONGEST_JSON:
        raise ModelFolderError(f"{path} has {path.stat().st_size:,} bytes, too many for what it is to hold; {AGAIN}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is no JSON ({one_line(error)}); {AGAIN}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} holds {type(content).__name__}, expected an object; {AGAIN}")
    return content


def _missing(names: list[str], where: str) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{where}: the weights lack {len(names)} tensors of the model that config.json describes ({shown}); random "
        f"ones would take their place: {AGAIN}, or take a config.json and weights of the same model"
    )


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
