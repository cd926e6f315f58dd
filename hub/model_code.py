"""The code in a model's folder: whether it is this package's own, and the answers of its handler, run apart."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiktalkcoref.files.errors import UserError

ROOM = Path(__file__).parent.parent / "modeling"
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
TIMEOUT = 600  # seconds for loading a model and a few short dialogues

# Loads `handler.py` as the serving toolkit does: by path, as a lone module. The answers go to a file: the model's code
# may print.
_ASK = """
import importlib.util, json, os, sys
folder, texts, output = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handler", os.path.join(folder, "handler.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
answers = [handler({"inputs": text}) for text in json.loads(texts)]
with open(output, "w", encoding="utf-8") as file:
    json.dump(answers, file)
"""


def own_modules() -> dict[str, bytes]:
    """The files of the installed package that `save_pretrained` puts beside the weights."""
    paths = sorted(ROOM.glob("*.py"))
    return {path.name: path.read_bytes() for path in paths if path.name not in ("__init__.py", "handler.py")}


def check_code(folder: Path, modules: set[str]) -> None:
    """Refuse a model's folder whose code is not that of the installed package: it would be run, and pushed.

    Args:
        folder: the model's.
        modules: what `named_modules` found there.
    Raises:
        ValueError: names the files that differ, or that only the model's JSON files know.
    """
    own = own_modules()
    foreign = [name for name, code in own.items() if (folder / name).is_file() and (folder / name).read_bytes() != code]
    foreign += sorted(f"{name}.py" for name in modules if f"{name}.py" not in own)
    if foreign:
        raise UserError(
            f"{folder}: {', '.join(foreign)} differ from the code of this package, and would be run and pushed. Save "
            "the model again with this version (save_pretrained), or read the files and add --trust-remote-code"
        )


def named_modules(folder: Path) -> set[str]:
    """The modules that the folder's JSON files name as code, at any depth (`auto_map`, `custom_pipelines`).

    Raises:
        ValueError: a file is no JSON, or names code in another repository, which would be fetched.
    """
    classes: list[Any] = []  # "module.Class", "owner/name--module.Class"

    def collect(entries: dict[str, Any]) -> dict[str, Any]:
        named, pipelines = entries.get("auto_map"), entries.get("custom_pipelines")
        for value in named.values() if isinstance(named, dict) else ():
            classes.extend(value if isinstance(value, list) else [value])
        for value in pipelines.values() if isinstance(pipelines, dict) else ():
            classes.append(value.get("impl") if isinstance(value, dict) else None)
        return entries

    for path in sorted(folder.glob("*.json")):
        read_json(path, collect)
        if foreign := [name for name in classes if "--" in str(name)]:
            raise UserError(f"{path} names code of another repository ({foreign[0]}): save the model again")
    return {str(name).split(".")[0] for name in classes if name}


def read_json(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Any:
    """A JSON file's content, every object in it (the inner ones first) given to `change`.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=change)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error})") from error


def ask_handler(folder: Path, texts: list[str]) -> list[Any]:
    """What `handler.py` of a repository folder answers to some texts.

    It runs in a process of its own, offline, that is given no Hub token and leaves no cache behind.

    Raises:
        ValueError: the model gives no answers; says why.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        output = Path(scratch) / "answers.json"
        environment = {name: value for name, value in os.environ.items() if name not in TOKENS}
        environment |= {"HF_TOKEN_PATH": os.devnull, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": scratch}
        command = [sys.executable, "-c", _ASK, str(folder.resolve()), json.dumps(texts), str(output.resolve())]
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{folder}: no answer to the examples of the card in {TIMEOUT} s") from error
        if done.returncode or not output.is_file():
            written = done.stderr.decode(errors="replace")
            errors = re.findall(r"^\w[\w.]*(?:Error|Exception|Exit)\b.*", written, re.MULTILINE)
            reason = errors[-1] if errors else f"exit code {done.returncode}"
            install = "; pip install 'tiktalkcoref[model]'" if reason.startswith("ModuleNotFoundError") else ""
            raise UserError(f"the model does not answer the examples of its card: {reason}{install}")
        answers: list[Any] = json.loads(output.read_text(encoding="utf-8"))
        return answers
