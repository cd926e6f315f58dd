"""The Space: the page of `space/` for the model that is pushed beside it; the code comes with the installed package."""

import re
from pathlib import Path

from tiktalkcoref import __version__
from tiktalkcoref.files.errors import UserError

from .kind import Kind, Sources

ROOM = Path(__file__).parent.parent / "space"
FILES = ("README.md", "app.py", "requirements.txt")


def check(sources: Sources) -> None:
    """The Space comes with the package: nothing to check but that it is whole."""
    missing = [name for name in FILES if not (ROOM / name).is_file()]
    if missing:
        raise UserError(f"{ROOM} lacks {', '.join(missing)}: install the package again")


def build(sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Copy the Space's files; the model's id is set in the card and in the app, the package's version required."""
    for name in FILES:
        text = (ROOM / name).read_text(encoding="utf-8")
        text = re.sub(r"\bNAMESPACE/MODEL\b", ids["model"], text).replace("VERSION", __version__)
        (folder / name).write_text(text, encoding="utf-8")
    return [f"the Space shows {ids['model']}, and installs tiktalkcoref {__version__} when it starts"]


KIND = Kind(type="space", default_name="tiktalkcoref-demo", check=check, build=build, sdk="gradio")
