"""The model repository: weights, configuration, processor, code, handler, and the card with what was measured."""

import json
import math
import re
import shutil
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from tiktalkcoref.files.errors import UserError

from .cards import read_scores, render_model_card
from .kind import Kind, Sources
from .model_code import ROOM, ask_handler, check_code, named_modules, own_modules, read_json

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz")
REQUIREMENTS = ("torch", "transformers", "timm", "safetensors", "pillow", "numpy")  # of the model's code
WRITTEN = ("README.md", "handler.py", "requirements.txt")  # anew for each push
FILES = (  # regular expressions of what else is pushed, beside the code
    r"(config|generation_config)\.json",
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json",
    r"(processor_config|preprocessor_config)\.json",
    r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|vocab\.txt|merges\.txt",
    r"(sentencepiece\.bpe|spiece)\.model",
)

# What the widget offers; the answers in the card are the model's own. Invented, not from the corpus.
EXAMPLES = {
    "A singer and a fan": "那个弹吉他的男生唱得真好，他是谁啊\n他是我弟弟的同学，我见过他",
    "Mother and daughter": "戴帽子的女孩跳得真棒\n她妈妈就站在旁边，比她还激动",
    "Two friends": "小王和小李又吵架了，他们俩真有意思\n我觉得是小王的错，他先动手的",
}


def check(sources: Sources) -> None:
    """Refuse a folder that is no whole model, weights in pickles, code that is not ours, and scores of another model.

    Nothing of the folder is run, unless its code is trusted.
    """
    folder = find_model(sources)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: --model names what save_pretrained or a training run wrote")
    config = _read_config(folder)
    if config.get("model_type") != "tiktalkcoref":
        raise UserError(f"{folder}/config.json describes a {config.get('model_type')!r} model, not a tiktalkcoref one")
    pickles = [path.name for path in folder.rglob("*") if path.suffix in PICKLES]
    if pickles:
        raise UserError(f"{folder} holds {pickles[0]}, which can run code when it is loaded: push safetensors alone")
    modules = named_modules(folder)
    if not config.get("auto_map"):
        raise UserError("config.json names no code (auto_map): save the model with this package's save_pretrained")
    needed = {
        "model.safetensors or its index": ("model.safetensors", "model.safetensors.index.json"),
        "the processor": ("processor_config.json", "preprocessor_config.json"),
        "the tokenizer": ("tokenizer.json", "vocab.txt"),
        **{f"{module}.py": (f"{module}.py",) for module in sorted(modules)},
    }
    for what, names in needed.items():
        if not any((folder / name).is_file() and (folder / name).stat().st_size for name in names):
            raise UserError(f"{folder} lacks {what}: write it with save_pretrained of the model and of its processor")
    from tiktalkcoref.modeling.folder_tiktalkcoref import check_folder  # torch, which the other kinds do without

    check_folder(folder)
    parameters = count_parameters(folder)
    if not sources.trust_remote_code:
        check_code(folder, modules)
    for path in sources.scores:
        found = (read_scores(path).get("model") or {}).get("parameters")
        if found not in (None, parameters):
            raise UserError(
                f"{path} are the scores of a model with {found:,} parameters, {folder} has {parameters:,}: "
                "evaluate this model and name its scores.json"
            )


def build(sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Copy the model, add handler and requirements, and render the card around what the handler answers."""
    model = find_model(sources)
    own, left_out = own_modules(), []
    for path in sorted(model.iterdir()):
        code = path.name in own or (path.suffix == ".py" and sources.trust_remote_code)
        if path.is_file() and (code or any(re.fullmatch(pattern, path.name) for pattern in FILES)):
            if path.suffix == ".json":
                (folder / path.name).write_text(_without_local_paths(path), encoding="utf-8")
            else:
                shutil.copy(path, folder)
        elif path.name not in (*WRITTEN, "__pycache__") and not path.name.startswith("."):
            left_out.append(path.name + "/" * path.is_dir())
    shutil.copy(ROOM / "handler.py", folder)
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()), encoding="utf-8")
    answers = zip(EXAMPLES.items(), ask_handler(folder, list(EXAMPLES.values())), strict=True)
    examples = [{"title": title, "text": text, "output": output} for (title, text), output in answers]
    card = render_model_card(sources, ids, _read_config(folder), count_parameters(folder), examples)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return [f"left out of {model}, no part of a model: {', '.join(left_out)}"] if left_out else []


def find_model(sources: Sources) -> Path:
    """The model's own folder: the one named, or `model/` in that of a training run.

    Raises:
        ValueError: none is named.
    """
    folder = sources.model
    if folder is None:
        raise UserError("which model? name its folder with --model: what a training run or save_pretrained wrote")
    return folder / "model" if (folder / "model" / "config.json").is_file() else folder


def count_parameters(folder: Path) -> int:
    """Numbers in the weights, from the headers of the safetensors files.

    Raises:
        ValueError: a file is missing, cut short, or no safetensors file.
    """
    from tiktalkcoref.modeling.checks_tiktalkcoref import read_header

    paths = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(read_json(index).get("weight_map", {}).values())
        if missing := sorted(shards - {path.name for path in paths}):
            raise UserError(f"{index} names {missing[0]}, which is not there: save the model again")
    return sum(math.prod(shape) for path in paths for shape in read_header(path).values())


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} has no config.json: --model names a folder that save_pretrained wrote")
    config = read_json(path)
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no object: --model names a folder that save_pretrained wrote")
    return config


def _without_local_paths(path: Path) -> str:
    """A JSON file without the folders of the machine that wrote it (`_name_or_path` and its like)."""

    def local(key: str, value: Any) -> bool:
        is_path = key.endswith(("name_or_path", "tokenizer_file")) and isinstance(value, str)
        return is_path and re.match(r"[/.~]|[A-Za-z]:[\\/]", value) is not None

    cleaned = read_json(path, lambda entries: {key: entries[key] for key in entries if not local(key, entries[key])})
    if cleaned == read_json(path):
        return path.read_text(encoding="utf-8")
    return json.dumps(cleaned, ensure_ascii=False, indent=2) + "\n"


def _requirements() -> list[str]:
    """The package's own requirements, of whatever extra, as far as the model's code needs them."""
    declared = [line.split(";")[0].strip() for line in requires("tiktalkcoref") or []]
    names = {re.split(r"[<>=!~ \[]", line)[0].lower(): line for line in declared}
    return [names[name] for name in REQUIREMENTS if name in names]


KIND = Kind(
    type="model",
    default_name="tiktalkcoref-base",
    check=check,
    build=build,
    unlisted=(*(re.escape(name) for name in WRITTEN), *FILES, r"[a-z_]+_tiktalkcoref\.py"),
    marker="configuration_tiktalkcoref.py",
)
