"""After the last step: the best model on the final splits, and what the run took."""

import json
from typing import Any

from tiktalkcoref.evaluation.environment import device_name, peak_memory, versions
from tiktalkcoref.files.atomic import atomic_file

from .loop import score
from .monitor import Monitor
from .preparation import Run
from .run_folder import SUMMARY


def finish(run: Run, monitor: Monitor) -> dict[str, Any]:
    """Score the best model on the recipe's final evaluations, write `summary.json`, and return its content."""
    progress, accelerator = run.progress, run.accelerator
    final: dict[str, dict[str, float]] = {}
    if run.final:
        best = type(run.model).from_pretrained(run.output / "model").to(accelerator.device)
        for place, dialogues in run.final.items():
            final[place] = score(run, best, dialogues)
            monitor.write("final", progress.step, progress.epoch, final[place], place=place)
    summary = {
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "steps": progress.step,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "validation": progress.best_scores,
        "final": final,
        "dialogues": len(run.train),
        "wall_seconds": round(progress.seconds, 2),
        "peak_memory_bytes": max(progress.peak_memory_bytes, peak_memory(accelerator.device)),
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "versions": versions(),
    }
    if accelerator.is_main_process:
        with atomic_file(run.output / SUMMARY) as temporary:
            temporary.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    accelerator.wait_for_everyone()
    return summary
