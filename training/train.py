"""A training run from recipe to summary: `tiktalkcoref train RECIPE`, or for several processes
`accelerate launch -m tiktalkcoref.training.train RECIPE`.

What a look at recipe, environment and output folder can tell is told before torch is imported.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tiktalkcoref.evaluation.headline import headline
from tiktalkcoref.evaluation.output import OutputError
from tiktalkcoref.files.kernels import bound_kernel_caches

from .launch import check_launch, is_first_process
from .recipe import Recipe, load_recipe
from .run_folder import SUMMARY, check_output, locked

__all__ = ["OutputError", "main", "train"]


def train(recipe: Recipe, output: Path | str, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a recipe; the model that it keeps (`loop.keep`) is in `output/model` afterwards.

    Args:
        recipe: see `load_recipe`.
        output: gets `model/`, `checkpoints/`, `log.jsonl`, `recipe.yaml` (all fields) and `summary.json`.
        resume: go on with the run in `output`, from its newest checkpoint that is whole (from the start where it has
            none yet).
        quiet: print nothing.
    Returns:
        The content of `summary.json`.
    Raises:
        ValueError: whatever is wrong with recipe, launch, data, backbone, output or checkpoint, before the first step;
            later `DivergedError`, where a loss or a weight is no number any more.
    """
    output = Path(output)
    check_launch()
    bound_kernel_caches()
    with locked(output):
        check_output(output, recipe, resume)
        if resume and (output / SUMMARY).is_file():
            return json.loads((output / SUMMARY).read_text(encoding="utf-8"))
        from .loop import finish, fit
        from .monitor import Monitor
        from .preparation import prepare

        run = prepare(recipe, output, resume)
        with Monitor(run.accelerator, run.steps, run.progress, recipe.loop.log_every, quiet) as monitor:
            for notice in run.notices:
                monitor.say(notice)
            fit(run, monitor)
            summary = finish(run, monitor)
        run.accelerator.end_training()
    return summary


def main(
    recipe: str,
    dataset: str | None = None,
    output: Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """The command: read the recipe, train, print where the model is and how good."""
    overrides = [*overrides, f"dataset={json.dumps(dataset)}"] if dataset else overrides
    loaded = load_recipe(recipe, overrides)
    output = output or Path("runs") / loaded.name
    summary = train(loaded, output, resume=resume, quiet=quiet)
    if is_first_process():
        console = Console(soft_wrap=True, highlight=False)
        for place, scores in {"validation": summary["validation"], **summary["final"]}.items():
            if scores:  # none of a validation split that was trained on
                console.print(f"{place}: {headline(scores, digits=4)}")
        console.print(f"model: {output / 'model'} (of epoch {summary['best_epoch']} of {summary['epochs']})")


if __name__ == "__main__":
    from tiktalkcoref import cli

    sys.argv.insert(1, "train")
    cli.main()
