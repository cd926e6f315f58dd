"""A trained model from a folder or the Hub, on the device where it computes."""

from pathlib import Path

import torch
from transformers import AutoConfig

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
from tiktalkcoref.modeling.folder_tiktalkcoref import check_folder
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.precision_tiktalkcoref import best_device
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

from .hub_names import without_waiting

# A saved model carries its code. With its type unknown to transformers, loading the tokenizer of a folder asks in the
# terminal whether to run that code, and waits; registered, the package's own classes are taken.
AutoConfig.register(TikTalkCorefConfig.model_type, TikTalkCorefConfig, exist_ok=True)

DTYPE = torch.float32  # of weights and scores; mixed precision is the training loop's alone


def load_model(model: str | Path) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    """Model and processor from a folder or the Hub, on the best device.

    Raises:
        ValueError: no such folder, or one without a model of this architecture.
    """
    folder = Path(model)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"  # the folder of a whole run
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(
            f"{model} holds no model: expected config.json and weights, as `tiktalkcoref train` writes them"
        )
    if folder.is_dir():
        check_folder(folder)
    try:
        if folder.is_dir():
            network, processor = _load(str(folder))
        else:
            with without_waiting():
                network, processor = _load(str(model))
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"no model {str(model)!r}: neither a folder here nor to be had from the Hub ({reason})"
        ) from error
    torch.nn.Module.to(network, best_device())  # in place
    return network.eval(), processor


def _load(place: str) -> tuple[TikTalkCorefModel, TikTalkCorefProcessor]:
    return TikTalkCorefModel.from_pretrained(place, dtype=DTYPE), TikTalkCorefProcessor.from_pretrained(place)
