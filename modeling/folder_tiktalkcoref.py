"""One check of a model folder, cheap, before anything is built: which file, what was found, what to do.

It reads JSON, the headers of the weights and the code (which is not run). What only the numbers can show, weights that
are not finite, is seen when they are loaded (`check_loaded`).
"""

from __future__ import annotations

import ast
from pathlib import Path

from .checks_tiktalkcoref import AGAIN, ModelFolderError, check_file, check_weights, one_line, read_config, read_object
from .configuration_tiktalkcoref import TikTalkCorefConfig
from .modeling_tiktalkcoref import TikTalkCorefModel


def check_folder(folder: str | Path) -> None:
    """Check a folder that the `save_pretrained` of a model and of its processor wrote.

    Raises:
        ModelFolderError: a file that is missing, empty, cut short, a Git LFS pointer or not what its name says; a
            config.json that describes no model, or another one than the weights; a tokenizer without words.
    """
    folder = Path(folder)
    config = read_config(folder)
    check_weights(folder, TikTalkCorefModel, config)
    _check_processor(folder, config)
    _check_code(folder)


def _check_processor(folder: Path, config: TikTalkCorefConfig) -> None:
    save = "save the processor there (processor.save_pretrained)"
    if not any((folder / name).exists() for name in ("processor_config.json", "preprocessor_config.json")):
        raise ModelFolderError(f"{folder} has no processor_config.json: {save}, or {AGAIN}")
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            read_object(folder / name, AGAIN)
    words: dict[str, int] = {}
    if (folder / "tokenizer.json").exists():
        model = read_object(folder / "tokenizer.json", AGAIN).get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(vocabulary, list):  # of a unigram model: [word, score] each
            vocabulary = {
                str(entry[0] if isinstance(entry, list) else entry): at for at, entry in enumerate(vocabulary)
            }
        words = vocabulary if isinstance(vocabulary, dict) else {}
    elif (folder / "vocab.txt").exists():
        check_file(folder / "vocab.txt", AGAIN)
        lines = (folder / "vocab.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        words = {word: number for number, word in enumerate(lines) if word}
    else:
        raise ModelFolderError(f"{folder} has no tokenizer (tokenizer.json): {save}, or {AGAIN}")
    size = getattr(config.text_config, "vocab_size", None)
    if not any(len(word) == 1 for word in words):
        raise ModelFolderError(f"{folder}: the tokenizer knows no character; {save}, or {AGAIN}")
    largest = max((number for number in words.values() if isinstance(number, int)), default=0)
    if isinstance(size, int) and largest >= size:
        raise ModelFolderError(
            f"{folder}: the tokenizer numbers its words up to {largest:,}, the text encoder knows {size:,}: it is of "
            "another model; take both from the same one"
        )


def _check_code(folder: Path) -> None:
    """Whether the folder's code can be read as Python, and what config.json names is there."""
    for path in sorted(folder.glob("*.py")):
        check_file(path, AGAIN)
        try:
            ast.parse(path.read_bytes(), path.name)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            raise ModelFolderError(f"{path}{line}: no Python ({one_line(error)}); {AGAIN}") from error
    config = read_object(folder / "config.json", AGAIN)
    named = config.get("auto_map") if isinstance(config.get("auto_map"), dict) else {}
    for entry in (named or {}).values():
        module = str(entry).split(".")[0]
        if "--" not in str(entry) and not (folder / f"{module}.py").is_file():
            raise ModelFolderError(f"{folder} has no {module}.py, which config.json names: save the model again")
