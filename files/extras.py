"""Optional dependencies: which extra of the package brings what a part of it needs."""

from importlib.util import find_spec

from .errors import UserError


class MissingExtraError(UserError, ImportError):
    """A library of an extra is not installed; the message names the extra."""


def need(extra: str, *modules: str) -> None:
    """Check that the modules of an extra can be imported, without importing them.

    Raises:
        MissingExtraError: names the missing ones and the extra that brings them.
    """
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'tiktalkcoref[{extra}]'"
        )


def need_model() -> None:
    """What everything that runs a model needs."""
    need("model", "torch", "transformers", "timm", "accelerate", "safetensors")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
