"""The model repository: weights, configuration, processor, code, handler, and the card with what was measured."""

import importlib.util
import json
import re
import shutil
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tiktalkcoref.files.errors import UserError

from .cards import read_scores, render_model_card

if TYPE_CHECKING:
    from .kinds import Sources

HANDLER = Path(__file__).parent.parent / "modeling" / "handler.py"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz")
REQUIREMENTS = ("torch", "transformers", "timm", "safetensors", "pillow", "numpy")  # of the model's code

# What the widget offers; the answers in the card are the model's own. Invented, not from the corpus.
EXAMPLES = {
    "A singer and a fan": "那个弹吉他的男生唱得真好，他是谁啊\n他是我弟弟的同学，我见过他",
    "Mother and daughter": "戴帽子的女孩跳得真棒\n她妈妈就站在旁边，比她还激动",
    "Two friends": "小王和小李又吵架了，他们俩真有意思\n我觉得是小王的错，他先动手的",
}


def check(sources: "Sources") -> None:
    """Refuse a folder that is no model, weights in pickles, and scores of another model.

    Raises:
        ValueError: what was found and how to mend it.
    """
    if sources.model is None:
        raise UserError("which model? name its folder with --model: what a training run or save_pretrained wrote")
    folder = find_model(sources.model)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: --model names what save_pretrained or a training run wrote")
    config = _read_config(folder)
    if config.get("model_type") != "tiktalkcoref":
        raise UserError(f"{folder}/config.json describes a {config.get('model_type')!r} model, not a tiktalkcoref one")
    pickles = [path.name for path in folder.rglob("*") if path.suffix in PICKLES]
    if pickles:
        raise UserError(f"{folder} holds {pickles[0]}, which can run code when it is loaded: push safetensors alone")
    needed = {"model.safetensors or its index": ("model.safetensors", "model.safetensors.index.json")}
    needed["the processor"] = ("processor_config.json", "preprocessor_config.json")
    needed["the tokenizer"] = ("tokenizer.json", "tokenizer_config.json")
    needed |= {f"{module}.py": (f"{module}.py",) for module in _modules(config)}
    for what, names in needed.items():
        if not any((folder / name).is_file() for name in names):
            raise UserError(f"{folder} lacks {what}: write it with save_pretrained of the model and of its processor")
    parameters = count_parameters(folder)
    for path in sources.scores:
        scores = read_scores(path)
        found = (scores.get("model") or {}).get("parameters")
        if found not in (None, parameters):
            raise UserError(
                f"{path} are the scores of a model with {found:,} parameters, {folder} has {parameters:,}: "
                "evaluate this model and name its scores.json"
            )


def build(sources: "Sources", ids: dict[str, str], folder: Path) -> None:
    """Copy the model, add handler and requirements, and render the card around what the handler answers."""
    for path in sorted(find_model(sources.model).iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.name != "README.md":
            if path.suffix == ".json":
                (folder / path.name).write_text(_without_local_paths(path), encoding="utf-8")
            else:
                shutil.copy(path, folder)
    shutil.copy(HANDLER, folder / "handler.py")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()), encoding="utf-8")
    handler = load_handler(folder)
    examples = [{"title": title, "text": text, "output": handler({"inputs": text})} for title, text in EXAMPLES.items()]
    card = render_model_card(sources, ids, _read_config(folder), count_parameters(folder), examples)
    (folder / "README.md").write_text(card, encoding="utf-8")


def find_model(folder: Path) -> Path:
    """The model's own folder: the one named, or `model/` in that of a training run."""
    return folder / "model" if (folder / "model" / "config.json").is_file() else folder


def load_handler(folder: Path) -> Any:
    """`EndpointHandler` of a repository folder, loaded as the serving toolkit loads it: by path, as a lone module."""
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(folder))


def count_parameters(folder: Path) -> int:
    """Numbers in the weights, from the headers of the safetensors files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} has no config.json: --model names a folder that save_pretrained wrote")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: no JSON ({error.msg})") from error


def _modules(config: dict[str, Any]) -> set[str]:
    """The code files that the configuration names."""
    classes = list(config.get("auto_map", {}).values())
    classes += [entry["impl"] for entry in config.get("custom_pipelines", {}).values()]
    if not classes:
        raise UserError("config.json names no code (auto_map): save the model with this package's save_pretrained")
    return {str(name).split("--")[-1].split(".")[0] for name in classes}


def _without_local_paths(path: Path) -> str:
    """A JSON file without the folders of the machine that wrote it (`_name_or_path` and its like)."""
    text = path.read_text(encoding="utf-8")

    def local(value: Any) -> bool:
        return isinstance(value, str) and (
            value.startswith(("/", ".", "~")) or bool(re.match(r"[A-Za-z]:[\\/]", value))
        )

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            paths = [
                key for key in value if str(key).endswith(("name_or_path", "tokenizer_file")) and local(value[key])
            ]
            return {key: clean(entry) for key, entry in value.items() if key not in paths}
        return [clean(entry) for entry in value] if isinstance(value, list) else value

    data = json.loads(text)
    cleaned = clean(data)
    return text if cleaned == data else json.dumps(cleaned, ensure_ascii=False, indent=2) + "\n"


def _requirements() -> list[str]:
    """The package's own requirements, as far as the model's code needs them."""
    declared = [line.split(";")[0].strip() for line in requires("tiktalkcoref") or [] if "extra ==" not in line]
    names = {re.split(r"[<>=!~ \[]", line)[0].lower(): line for line in declared}
    return [names[name] for name in REQUIREMENTS if name in names]
