"""Loading, saving and initialising a model: what transformers asks of every architecture."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .checks_tiktalkcoref import check_loaded, check_weights, read_config
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .linking_tiktalkcoref import LinkingHead

ALIGNMENT = 64  # bytes
# not what a check would read
ELSEWHERE = ("variant", "subfolder", "state_dict", "gguf_file", "ignore_mismatched_sizes")
AUTO_MAP = {
    "AutoConfig": "configuration_tiktalkcoref.TikTalkCorefConfig",
    "AutoModel": "modeling_tiktalkcoref.TikTalkCorefModel",
    "AutoProcessor": "processing_tiktalkcoref.TikTalkCorefProcessor",
}
PIPELINES = {
    "multimodal-coreference": {
        "impl": "pipeline_tiktalkcoref.TikTalkCorefPipeline",
        "pt": ["AutoModel"],
        "type": "multimodal",
    }
}


class TikTalkCorefPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config: TikTalkCorefConfig
    config_class = TikTalkCorefConfig
    base_model_prefix = "tiktalkcoref"
    main_input_name = "input_ids"
    input_modalities = ("text", "image")  # type: ignore[assignment]  # transformers' own models hold tuples here
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Modules whose parameters start elsewhere say so in `initial_bias` and `initial_weight`."""
        super()._init_weights(module)
        for name in ("bias", "weight"):
            if (value := getattr(module, f"initial_{name}", None)) is not None:
                init.constant_(getattr(module, name), value)
        if isinstance(module, LinkingHead):
            init.constant_(module.logit_scale, module.initial_logit_scale)
            init.zeros_(module.context_gate)
            init.zeros_(module.null_cosine)
        if (renew := getattr(module, "init_non_persistent_buffers", None)) is not None:
            renew()  # timm's, lost on the meta device

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # one name less
        """As everywhere in transformers, but weights that are missing, damaged or not finite are refused.

        Weights on the CPU are moved to aligned memory: straight from the file they may lie anywhere, for which matrix
        kernels round differently, and a loaded model would give other last digits than the saved one.

        Raises:
            ModelFolderError (a ValueError): names the file or the weights, and what to do.
        """
        if name is not None and os.path.isdir(name) and not any(kwargs.get(key) for key in ELSEWHERE):
            given = kwargs.get("config")
            check_weights(Path(name), cls, given if isinstance(given, cls.config_class) else read_config(Path(name)))
        tell = kwargs.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)
        model, info = loaded
        check_loaded(model, info["missing_keys"], str(name))
        for tensor in model.parameters():
            if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT:
                tensor.data = tensor.data.clone()
        return (model, info) if tell else model

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Weights, config and the code beside them, so that the folder runs alone with `trust_remote_code=True`."""
        folder, is_main = Path(save_directory), kwargs.get("is_main_process", True)
        if is_main:
            self.config.auto_map = dict(AUTO_MAP)
            self.config.custom_pipelines = {name: dict(value) for name, value in PIPELINES.items()}
            _copy_code(folder, self.config.name_or_path or "")
        super().save_pretrained(save_directory, *args, **kwargs)
        if is_main:
            for weights in folder.glob("*.safetensors"):  # safetensors leaves them readable by their owner alone
                weights.chmod((folder / "config.json").stat().st_mode)


def _copy_code(folder: Path, origin: str) -> None:
    """Copy the model's code, which lies beside this file or, for what transformers did not fetch, at its origin."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in (Path(origin or "."), Path(__file__).parent):  # the code that runs wins
        if source.resolve() == folder.resolve() or not (source / "modeling_tiktalkcoref.py").is_file():
            continue
        for file in [*source.glob("*_tiktalkcoref.py"), source / "handler.py"]:
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
