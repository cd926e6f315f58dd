"""TikTalkCoref: multimodal coreference for Chinese video comments.

The public names, imported when first used so that `import tiktalkcoref` stays instant.
"""

from importlib import import_module

__version__ = "0.1.0"

_EXPORTS = {
    "TikTalkCoref": "tiktalkcoref_dataset",
    "TikTalkCorefConfig": "modeling.configuration_tiktalkcoref",
    "TikTalkCorefModel": "modeling.modeling_tiktalkcoref",
    "TikTalkCorefPipeline": "modeling.pipeline_tiktalkcoref",
    "TikTalkCorefProcessor": "modeling.processing_tiktalkcoref",
    "compare": "evaluate_metric",
    "score": "evaluate_metric",
    "write_sample": "sample",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _EXPORTS[name].startswith("modeling."):
        from .files.extras import need_model

        need_model()  # an ImportError that says what to install
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
