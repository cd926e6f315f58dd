"""The command `tiktalkcoref predict`: dialogues from arguments, a file or a dataset; coloured text and JSON out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tiktalkcoref.corpus.show import cluster_style, colour_dialogue
from tiktalkcoref.evaluation.dialogues import Dialogue, load_dialogues
from tiktalkcoref.evaluation.evaluate import load_model
from tiktalkcoref.files.atomic import atomic_file
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

LABELS = ("clusters", "links", "region_identities")


def read_dialogues(path: Path) -> list[Dialogue]:
    """Dialogues of a file: one JSON object, a JSON list, or one object a line.

    Pictures are paths, relative to the file's folder.

    Raises:
        ValueError: not JSON, or not dialogues; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    try:
        found = json.loads(text)
        found = found if isinstance(found, list) else [found]
    except json.JSONDecodeError:
        found = [_parse(line, path, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise UserError(f"{path} holds no dialogue: expected JSON such as {EXAMPLE}")
    for number, dialogue in enumerate(found, 1):
        if not isinstance(dialogue, dict):
            raise UserError(f"{path}, dialogue {number}: found {type(dialogue).__name__}, expected {EXAMPLE}")
        for key in ("regions", "frames"):
            if isinstance(dialogue.get(key), list):
                dialogue[key] = [path.parent / name if isinstance(name, str) else name for name in dialogue[key]]
    return found


def dataset_dialogues(dataset: str, config: str, split: str) -> list[Dialogue]:
    """Dialogues of a dataset, without their labels: the model is to find them."""
    return [{k: v for k, v in d.items() if k not in LABELS} for d in load_dialogues(dataset, config, split)]


def predict(model: str | Path, dialogues: Sequence[Dialogue], batch_size: int = 32) -> list[dict[str, Any]]:
    """The pipeline's results (see `TikTalkCorefPipeline`), in the order of the dialogues."""
    network, processor = load_model(model)
    pipeline = TikTalkCorefPipeline(model=network, processor=processor, device=network.device)
    stream: Iterable[Dialogue] = iter(list(dialogues))
    return list(track(pipeline(stream, batch_size=batch_size), "predicting", len(dialogues)))


def main(
    model: str,
    dialogues: Sequence[Dialogue],
    output: Path | None = None,
    batch_size: int = 32,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Predict; print each dialogue coloured, or with `output` write one JSON object a line."""
    results = predict(model, dialogues, batch_size)
    if output is None:
        console = console or Console(soft_wrap=True, highlight=False)
        for dialogue, result in zip(dialogues, results, strict=True):
            for line in render(dialogue, result):
                console.print(line)
        return results
    with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for dialogue, result in zip(dialogues, results, strict=True):
            key = {"doc_key": dialogue["doc_key"]} if dialogue.get("doc_key") else {}
            file.write(json.dumps(key | {"sentences": _texts(dialogue)} | result, ensure_ascii=False) + "\n")
    return results


def render(dialogue: Dialogue, result: dict[str, Any]) -> Iterator[Text]:
    """The dialogue with its clusters coloured, then a line a cluster that has a region."""
    sentences = _texts(dialogue)
    offsets = [0, *accumulate(map(len, sentences))]
    clusters = [
        [[offsets[m["sentence"]] + m["start"], offsets[m["sentence"]] + m["end"] - 1] for m in cluster["mentions"]]
        for cluster in result["clusters"]
    ]
    yield colour_dialogue(sentences, clusters, dialogue.get("speakers") or None)
    for number, cluster in enumerate(result["clusters"]):
        names = " · ".join(dict.fromkeys(mention["text"] for mention in cluster["mentions"]))
        line = Text(f"{number + 1}  {names}", style=cluster_style(number))
        if "region_scores" in cluster:
            region, score = cluster["region"], cluster["region_score"]
            line.append(f"  {'no region' if region is None else f'region {region}'} ({score:.2f})", style="dim")
        yield line
    yield Text()


def _texts(dialogue: Dialogue) -> list[str]:
    return [sentence if isinstance(sentence, str) else "".join(sentence) for sentence in dialogue["sentences"]]


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}); expected {EXAMPLE}") from error


EXAMPLE = '{"sentences": ["这个男生认识她吗", "可以"], "speakers": ["A", "B"]}'
