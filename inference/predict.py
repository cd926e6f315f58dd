"""The command `tiktalkcoref predict`: dialogues from arguments, a file or a dataset; coloured text and JSON out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tiktalkcoref.corpus.show import cluster_style, colour_dialogue
from tiktalkcoref.evaluation.dialogues import Dialogue, load_dialogues, without_labels
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import check_batch_size
from tiktalkcoref.files.atomic import atomic_file
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.progress import track
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline
from tiktalkcoref.tracking.entities import span_text

from .videos import track_dialogues, write_crops


def read_dialogues(path: Path) -> list[Dialogue]:
    """Dialogues of a file: one JSON object, a JSON list, or one object a line.

    Pictures and videos are paths, relative to the file's folder.

    Raises:
        ValueError: not JSON, or not dialogues; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    try:
        found = _parse(text, str(path))
        found = found if isinstance(found, list) else [found]
    except ValueError:
        # a line ends at \n alone: sentences may hold U+2028
        lines = enumerate(text.split("\n"), start=1)
        found = [_parse(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if not found:
        raise UserError(f"{path} holds no dialogue: expected JSON such as {EXAMPLE}")
    for number, dialogue in enumerate(found, 1):
        if not isinstance(dialogue, dict):
            raise UserError(f"{path}, dialogue {number}: found {type(dialogue).__name__}, expected {EXAMPLE}")
        if isinstance(dialogue.get("video"), str) and "://" not in dialogue["video"]:
            dialogue["video"] = str(path.parent / dialogue["video"])
        for key in ("regions", "frames"):
            if isinstance(dialogue.get(key), list):
                dialogue[key] = [path.parent / name if isinstance(name, str) else name for name in dialogue[key]]
    return found


def dataset_dialogues(dataset: str, config: str, split: str) -> list[Dialogue]:
    """Dialogues of a dataset, without their labels: the model is to find them."""
    return without_labels(load_dialogues(dataset, config, split))


def predict(
    model: str | Path, dialogues: Sequence[Dialogue], batch_size: int = 32, weights: Path | None = None
) -> list[dict[str, Any]]:
    """The pipeline's results (see `TikTalkCorefPipeline`), in the order of the dialogues.

    Args:
        model: folder or Hub id.
        dialogues: as the pipeline takes them; the persons of a `video` are found first.
        batch_size: dialogues read at once.
        weights: folder with the weights of the tracker's networks; None: the Hub's.
    """
    check_batch_size(batch_size)
    network, processor = load_model(model)
    pipeline = TikTalkCorefPipeline(model=network, processor=processor, device=network.device)
    if any(dialogue.get("video") is not None for dialogue in dialogues):
        pipeline.videos.track = track_dialogues(dialogues, weights).__getitem__
    stream: Iterable[Dialogue] = iter(list(dialogues))
    results: Any = pipeline(stream, batch_size=batch_size)
    return list(track(results, "predicting", len(dialogues)))


def main(
    model: str,
    dialogues: Sequence[Dialogue],
    output: Path | None = None,
    batch_size: int = 32,
    console: Console | None = None,
    weights: Path | None = None,
) -> list[dict[str, Any]]:
    """Predict; print each dialogue coloured, or with `output` write one JSON object a line.

    Where dialogues have videos, the folder `<output's stem>_video` gets the persons' crops and `report.html`.
    """
    if output is None:
        results = predict(model, dialogues, batch_size, weights)
        console = console or Console(soft_wrap=True, highlight=False)
        for dialogue, result in zip(dialogues, results, strict=True):
            for line in render(dialogue, result):
                console.print(line)
        return results
    # opened first: an output that cannot be written is told before the work
    with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        results = predict(model, dialogues, batch_size, weights)
        if any("entities" in result for result in results):
            folder = output.parent / f"{output.stem}_video"
            results = write_crops(results, [_texts(dialogue) for dialogue in dialogues], folder)
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
            line.append(f"  {_region_name(region, result)} ({score:.2f})", style="dim")
        yield line
    yield Text()


def _region_name(region: int | None, result: dict[str, Any]) -> str:
    """`region 1`; of a video `person 1, 0.0–2.4 s`."""
    kind = "person" if "entities" in result else "region"
    if region is None:
        return f"no {kind}"
    times = span_text(result["entities"][region]) if kind == "person" else ""
    return f"{kind} {region}{times and f', {times}'}"


def _texts(dialogue: Dialogue) -> list[str]:
    return [sentence if isinstance(sentence, str) else "".join(sentence) for sentence in dialogue["sentences"]]


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"{where}: not JSON ({reason}); expected {EXAMPLE}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
    if twice is not None:
        raise UserError(f"the key {twice!r} stands twice in one object")
    return dict(pairs)


EXAMPLE = '{"sentences": ["这个男生认识她吗", "可以"], "speakers": ["A", "B"]}'
