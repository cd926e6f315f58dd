"""The demo: the embedded sample from its generation to a report, on a CPU in a few minutes.

Each part goes on where an earlier call of the same folder was stopped.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import datasets
from rich.console import Console

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.evaluation import evaluate
from tiktalkcoref.evaluation.dialogues import SAMPLE_DIALOGUES, load_dialogues, without_labels
from tiktalkcoref.evaluation.headline import headline
from tiktalkcoref.hub.prepare import prepare
from tiktalkcoref.inference import predict
from tiktalkcoref.sample import write_sample
from tiktalkcoref.training.recipe import load_recipe
from tiktalkcoref.training.run_folder import holds_run
from tiktalkcoref.training.train import train

SHOWN_DIALOGUES = 3
Result = TypeVar("Result")


def run_demo(output: Path | str, seed: int = 0, dialogues: int = SAMPLE_DIALOGUES) -> dict[str, Any]:
    """Sample corpus, dataset folder, training, evaluation, prediction and report, all under `output`.

    Args:
        output: gets `corpus/` (upstream's format), `dataset/` (as `load_dataset` reads it), `run/` (the training) and
            `evaluation/` (scores, predictions, `report.html`).
        seed: of the training.
        dialogues: how many the sample has.

    Returns:
        The content of `evaluation/scores.json`.
    """
    console = Console(soft_wrap=True, highlight=False)
    output = Path(output)
    corpus, dataset, run, evaluation = (output / name for name in ("corpus", "dataset", "run", "evaluation"))
    datasets.disable_progress_bars()

    def part(title: str, work: Callable[[], Result]) -> Result:
        console.print(f"[bold]{title}[/bold]")
        started = time.perf_counter()
        result = work()
        console.print(f"  {time.perf_counter() - started:.0f} s", style="dim")
        return result

    if not corpus.is_dir():
        title = f"1 · Sample corpus: {dialogues} dialogues with pictures -> {corpus}"
        part(title, lambda: write_sample(corpus, dialogues=dialogues))
    if not dataset.is_dir():
        pictures = corpus / "frames", corpus / "faces_all"
        part(f"2 · Dataset folder -> {dataset}", lambda: prepare(find_files(corpus), dataset, *pictures))
    recipe = load_recipe("sample", [f"dataset={dataset}", f"seed={seed}"])
    part(f"3 · Training by the recipe `sample` -> {run}", lambda: train(recipe, run, resume=holds_run(run)))
    result = part(
        f"4 · Evaluation on persons never seen -> {evaluation}",
        lambda: evaluate.evaluate(run / "model", str(dataset), evaluation),
    )
    part("5 · Prediction", lambda: _predict(run / "model", dataset, console))
    console.print(evaluate.summary_tables(result))
    console.print(f"\n[bold]{headline({key: entry['value'] for key, entry in result['scores'].items()})}[/bold]")
    console.print(f"report: [bold]{evaluation / evaluate.REPORT}[/bold]")
    console.print("Try next:")
    console.print(f"  tiktalkcoref predict --model {run} 戴红帽子的女生跳得真好 谢谢，我练了好久呢")
    console.print(f"  tiktalkcoref show --data-dir {corpus}")
    console.print("  tiktalkcoref train text-small")
    return result


def _predict(model: Path, dataset: Path, console: Console) -> None:
    found = [dialogue for dialogue in load_dialogues(str(dataset), "all", "test") if dialogue.get("regions")]
    predict.main(str(model), without_labels(found[:SHOWN_DIALOGUES]), console=console)
