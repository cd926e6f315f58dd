"""The training loop: `tiktalkcoref train RECIPE`, or `accelerate launch -m tiktalkcoref.training.train RECIPE`.

Everything that can be wrong is looked for before the first step (`_prepare`). Then, for every optimiser step, the
dialogues that `plan_epoch` gives it go through the model in micro-batches; a loss weighs as many dialogues as it is of.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from rich.console import Console
from transformers.utils import logging as transformers_logging

from tiktalkcoref.evaluation.dialogues import DatasetError, Dialogue, load_dialogues
from tiktalkcoref.evaluation.predictions import evaluate_model, score_gold
from tiktalkcoref.files.atomic import ANYTHING, atomic_file, atomic_folder
from tiktalkcoref.files.hints import closest

from . import checkpoint as checkpoints
from .augmentation import hide_characters
from .batches import Step, batches_of, plan_epoch, scale_regions
from .building import build, check_model_fields
from .checkpoint import Progress
from .monitor import SHOWN, Monitor
from .optimization import WeightAverage, build_optimizer, learning_rate_factor, set_learning_rate
from .recipe import Recipe, RecipeError, flatten, load_recipe, save_recipe

LINKING_KEYS = ("regions", "links", "region_identities")
# What a resumed run may do differently: where things lie (their content is checked), and what changes no weight.
FREE_ON_RESUME = (
    "name",
    "description",
    "dataset",
    "initial.",
    "final_evaluations",
    "loop.patience",
    "loop.keep_checkpoints",
    "loop.checkpoint_every",
    "loop.evaluation_batch_size",
    "loop.workers",
    "loop.log_every",
    "loop.trackers",
)


class OutputError(ValueError):
    """An output folder that cannot be used."""


@dataclass
class Run:
    """A run whose every part is ready."""

    recipe: Recipe
    output: Path
    accelerator: Accelerator
    model: Any  # TikTalkCorefModel
    processor: Any
    train: list[Dialogue]
    validation: list[Dialogue]
    final: dict[str, list[Dialogue]]
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    progress: Progress
    steps_per_epoch: int
    steps: int
    fingerprint: str


def train(recipe: Recipe, output: Path | str, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a recipe; the best model of the validation split is in `output/model` afterwards.

    Args:
        recipe: see `load_recipe`.
        output: gets `model/`, `checkpoints/`, `log.jsonl`, `recipe.yaml` (all fields) and `summary.json`.
        resume: go on from the newest checkpoint in `output` (from the start where there is none yet).
        quiet: print nothing.
    Returns:
        The content of `summary.json`.
    Raises:
        ValueError: whatever is wrong with recipe, data, backbone, output or checkpoint, before the first step.
    """
    output = Path(output)
    finished = output / "summary.json"
    if resume and finished.is_file():
        _check_same_recipe(recipe, output)
        return json.loads(finished.read_text(encoding="utf-8"))
    run = _prepare(recipe, output, resume)
    with Monitor(
        run.accelerator, output / "log.jsonl", run.steps, run.progress, recipe.loop.log_every, quiet
    ) as monitor:
        _fit(run, monitor)
        summary = _finish(run, monitor)
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
    if PartialState().is_main_process:
        console = Console(soft_wrap=True, highlight=False)
        for place, scores in {"validation": summary["validation"], **summary["final"]}.items():
            shown = " · ".join(
                f"{label} {scores[key]:.4f}" for key, label in SHOWN.items() if scores.get(key) is not None
            )
            console.print(f"{place}: {shown}")
        console.print(f"model: {output / 'model'} (best of epoch {summary['best_epoch']} of {summary['epochs']})")


# Before the first step


def _prepare(recipe: Recipe, output: Path, resume: bool) -> Run:
    """Check and build everything, cheapest first."""
    _check_launch()
    transformers_logging.disable_progress_bar()  # of loading and saving: they cut through the run's own
    check_model_fields(recipe)
    _check_trackers(recipe)
    _check_output(output, recipe, resume)
    accelerator = _accelerator(recipe, output)
    with accelerator.main_process_first():  # the first generates or reads, the others find it done
        train_split = load_dialogues(recipe.dataset, recipe.train_config, "train", recipe.fold)
    validation = load_dialogues(recipe.dataset, recipe.eval_config, "validation", recipe.fold)
    final = {
        place: load_dialogues(recipe.dataset, *place.split("/"), recipe.fold) for place in recipe.final_evaluations
    }
    set_seed(recipe.seed)
    model, processor = build(recipe, train_split)
    _check_pictures(recipe, model, train_split)
    if recipe.linking is False or model.config.vision_config is None:
        for dialogues in (train_split, validation, *final.values()):
            dialogues[:] = [{k: v for k, v in dialogue.items() if k not in LINKING_KEYS} for dialogue in dialogues]
    _check_selection(recipe, validation)
    for dialogues in (train_split, validation, *final.values()):
        if processor.image_size:
            scale_regions(dialogues, processor.image_size)
    processor(train_split[:1], labels=True)
    model.to(accelerator.device)

    loop = recipe.loop
    optimizer = build_optimizer(model, recipe.optimizer)
    average = WeightAverage(model, loop.ema_decay) if loop.ema_decay else None
    plan = plan_epoch([1] * len(train_split), **_plan_settings(recipe, accelerator))
    steps = len(plan) * loop.epochs
    run = Run(
        recipe, output, accelerator, model, processor, train_split, validation, final, optimizer, average, Progress(),
        steps_per_epoch=len(plan),
        steps=min(steps, loop.max_steps) if loop.max_steps else steps,
        fingerprint=_fingerprint(train_split),
    )  # fmt: skip
    set_seed(recipe.seed + 7919 * accelerator.process_index)  # processes drop out different units
    if resume:
        _resume(run)
    if accelerator.is_main_process:
        save_recipe(recipe, output / "recipe.yaml")
    trackable = {key: value for key, value in flatten(recipe).items() if isinstance(value, int | float | str)}
    accelerator.init_trackers("tiktalkcoref", config=trackable)
    return run


def _accelerator(recipe: Recipe, output: Path) -> Accelerator:
    precision = recipe.loop.mixed_precision
    return Accelerator(
        mixed_precision=None if precision == "no" else precision,  # None: what `accelerate launch` was told
        log_with=recipe.loop.trackers or None,
        project_dir=str(output),
        step_scheduler_with_optimizer=False,
        # a batch without pictures leaves the vision tower unused, one without mentions the clustering head
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _check_launch() -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process, without a word, where there is no MPI."""
    sizes = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    asked_for_several = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ
    if asked_for_several and not any(name in os.environ for name in sizes):
        raise ValueError(
            "accelerate was asked for several processes on the CPU and has started one, since it needs MPI for that. "
            "Without MPI: ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m tiktalkcoref.training.train RECIPE"
        )


def _check_trackers(recipe: Recipe) -> None:
    available = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
    for name in recipe.loop.trackers:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise RecipeError(
                f"recipe {recipe.name}: loop.trackers: accelerate knows no tracker {name!r}"
                f"{closest(name, LOGGER_TYPE_TO_CLASS)}"
            )
        if name not in available:
            raise RecipeError(f"recipe {recipe.name}: loop.trackers: {name} is not installed (pip install {name})")


def _check_output(output: Path, recipe: Recipe, resume: bool) -> None:
    """Whether the folder can be written and holds no other run (or, when resuming, this one)."""
    if resume:
        _check_same_recipe(recipe, output)
    elif (output / "recipe.yaml").exists() or (output / "checkpoints").exists() or (output / "model").exists():
        raise OutputError(
            f"{output} already holds a run: go on with it by --resume, choose another --output, or remove the folder"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{output} cannot be written ({reason}): choose another folder by --output") from error


def _check_same_recipe(recipe: Recipe, output: Path) -> None:
    if not (output / "recipe.yaml").is_file():
        return
    before, now = flatten(load_recipe(output / "recipe.yaml")), flatten(recipe)
    differing = [
        f"{name} ({before.get(name)!r} then, {now[name]!r} now)" for name in now if before.get(name) != now[name]
    ]
    binding = [text for text in differing if not text.startswith(FREE_ON_RESUME)]
    if binding:
        raise OutputError(
            f"{output} holds a run of another recipe: {'; '.join(binding)}. Resume with `tiktalkcoref train "
            f"{output / 'recipe.yaml'}`, or choose another --output"
        )


def _check_pictures(recipe: Recipe, model: Any, dialogues: list[Dialogue]) -> None:
    sees = model.config.vision_config is not None
    if recipe.linking and not sees:
        raise RecipeError(f"recipe {recipe.name}: linking is true, but the model has no vision encoder")
    if not sees or recipe.linking is False:
        return
    linked = sum(any(link >= 0 for link in dialogue.get("links", ())) for dialogue in dialogues)
    if not linked:
        raise DatasetError(
            f"recipe {recipe.name} learns to link clusters to pictures, but none of the {len(dialogues)} training "
            f"dialogues of {recipe.dataset!r} has pictures with links. Give a dataset prepared with them "
            "(`tiktalkcoref prepare --frames-dir ... --regions-dir ...`), or train the text alone: --set linking=false"
        )


def _check_selection(recipe: Recipe, validation: list[Dialogue]) -> None:
    """Whether the scores that select the best model are among those that the validation split gives."""
    scores = score_gold(validation)
    for name in recipe.loop.select_on:
        nothing_to_link = name.startswith("linking_") and "linking_n" not in scores
        if name not in scores and not nothing_to_link:
            raise RecipeError(f"recipe {recipe.name}: loop.select_on: no score {name!r}{closest(name, scores)}")
    if not any(_counts(scores, name) for name in recipe.loop.select_on):
        raise RecipeError(
            f"recipe {recipe.name}: loop.select_on is {', '.join(recipe.loop.select_on)}, but the validation split has "
            "nothing to link: add conll_f1"
        )


def _resume(run: Run) -> None:
    found = checkpoints.list_checkpoints(run.output / "checkpoints")
    if not found:
        return
    checkpoints.check_checkpoint(found[-1], run.model, run.accelerator.num_processes, run.fingerprint)
    tensors = run.average.tensors if run.average else None
    run.progress, states, scaler = checkpoints.load_checkpoint(found[-1], run.model, run.optimizer, tensors)
    if run.accelerator.scaler and scaler:
        run.accelerator.scaler.load_state_dict(scaler)
    checkpoints.set_random_state(states[run.accelerator.process_index])


def _fingerprint(dialogues: list[Dialogue]) -> str:
    """Of the order and content of the training texts: batches can only go on over the same ones."""
    text = json.dumps([[d["doc_key"], d["sentences"], d["clusters"]] for d in dialogues], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _plan_settings(recipe: Recipe, accelerator: Accelerator) -> dict[str, Any]:
    return {
        "batch_size": recipe.loop.batch_size,
        "accumulation": recipe.loop.gradient_accumulation,
        "processes": accelerator.num_processes,
        "rank": accelerator.process_index,
        "seed": recipe.seed,
        "length_grouped": recipe.loop.length_grouped,
    }


# The loop


def _fit(run: Run, monitor: Monitor) -> None:
    loop, progress = run.recipe.loop, run.progress
    wrapped, optimizer = run.accelerator.prepare(run.model, run.optimizer)
    lengths = [sum(map(len, dialogue["sentences"])) for dialogue in run.train]
    settings = _plan_settings(run.recipe, run.accelerator)
    while not _is_done(run):
        plan = plan_epoch(lengths, epoch=progress.epoch, **settings)[progress.step_in_epoch :]
        plan = plan[: run.steps - progress.step]
        _fit_steps(run, monitor, wrapped, optimizer, plan)
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        last = progress.step >= run.steps
        if last or progress.epoch % loop.evaluate_every == 0:
            _validate(run, monitor)
        if last or progress.epoch % loop.evaluate_every == 0 or loop.checkpoint_every:
            _save(run)


def _fit_steps(run: Run, monitor: Monitor, wrapped: Any, optimizer: Any, plan: list[Step]) -> None:
    """Take the planned optimiser steps; a checkpoint every `checkpoint_every` of them."""
    loop, progress, model = run.recipe.loop, run.progress, run.model
    parameters = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    batches = batches_of(
        run.train,
        [batch for step in plan for batch in step.batches],
        partial(run.processor, labels=True),
        workers=loop.workers,
    )
    model.train()
    started = time.perf_counter()
    for step in plan:
        factor = learning_rate_factor(progress.step, run.steps, run.recipe.optimizer)
        set_learning_rate(run.optimizer, factor)
        for number, count in enumerate(step.counts, start=1):
            batch = _hide(run, next(batches).to(run.accelerator.device))
            is_last = number == len(step.counts)
            with contextlib.nullcontext() if is_last else run.accelerator.no_sync(wrapped):
                outputs = wrapped(**batch)
                # every loss is a mean over the micro-batch's dialogues; processes' gradients are averaged
                weight = count / step.dialogues
                run.accelerator.backward(outputs.loss * (weight * run.accelerator.num_processes))
            monitor.add(outputs, weight)
        norm = None
        if run.recipe.optimizer.max_grad_norm:
            norm = run.accelerator.clip_grad_norm_(parameters, run.recipe.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.step_in_epoch += 1
        if run.average:
            run.average.update(progress.step)
        now = time.perf_counter()
        progress.seconds, started = progress.seconds + now - started, now
        monitor.step(progress.step, progress.epoch + 1, step.dialogues, factor, norm)
        if loop.checkpoint_every and progress.step % loop.checkpoint_every == 0:
            _save(run)


def _hide(run: Run, batch: Any) -> Any:
    """The batch with what the text encoder is to read where the recipe hides characters; queries read `input_ids`."""
    share, tokenizer = run.recipe.loop.hide_characters, run.processor.tokenizer
    if share:
        hidden = tokenizer.unk_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        batch["masked_input_ids"] = hide_characters(batch["input_ids"], batch["token_speaker"], share, hidden)
    return batch


def _is_done(run: Run) -> bool:
    progress, patience = run.progress, run.recipe.loop.patience
    if progress.step_in_epoch:  # killed between the last step of an epoch and its evaluation
        return False
    return progress.step >= run.steps or 0 < patience <= progress.evaluations_without_gain


def _validate(run: Run, monitor: Monitor) -> None:
    """Score the validation split; keep the model where it is the best so far."""
    started = time.perf_counter()
    with _averaged(run):
        scores = _evaluate(run, run.validation)
        selected = [scores[key] for key in run.recipe.loop.select_on if _counts(scores, key)]
        score = sum(selected) / len(selected)
        progress = run.progress
        is_best = progress.best_score is None or score > progress.best_score
        if is_best:
            progress.best_score, progress.best_epoch, progress.best_scores = score, progress.epoch, scores
            progress.evaluations_without_gain = 0
            _save_model(run)
        else:
            progress.evaluations_without_gain += 1
    progress.seconds += time.perf_counter() - started
    monitor.evaluated(progress.step, progress.epoch, scores, is_best)


def _evaluate(run: Run, dialogues: list[Dialogue]) -> dict[str, float]:
    size = run.recipe.loop.evaluation_batch_size
    scores = evaluate_model(run.model, run.processor, dialogues, batch_size=size, accelerator=run.accelerator)
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _counts(scores: dict[str, float], key: str) -> bool:
    """Whether a score is there and says something: linking does where there was something to link."""
    return scores.get(key) is not None and not (key.startswith("linking_") and not scores.get("linking_n"))


@contextlib.contextmanager
def _averaged(run: Run) -> Iterator[None]:
    with run.average.applied() if run.average else contextlib.nullcontext():
        yield


def _save_model(run: Run) -> None:
    if run.accelerator.is_main_process:
        with atomic_folder(run.output / "model", owned=ANYTHING) as folder:
            run.model.save_pretrained(folder)
            run.processor.save_pretrained(folder)
    run.accelerator.wait_for_everyone()


def _save(run: Run) -> None:
    """A checkpoint of this moment."""
    run.progress.peak_memory_bytes = max(run.progress.peak_memory_bytes, _peak_memory(run.accelerator))
    states = gather_object([checkpoints.get_random_state()])
    if run.accelerator.is_main_process:
        checkpoints.save_checkpoint(
            run.output / "checkpoints",
            run.model,
            run.optimizer,
            run.progress,
            states,
            average=run.average.tensors if run.average else None,
            scaler=run.accelerator.scaler.state_dict() if run.accelerator.scaler else None,
            fingerprint=run.fingerprint,
            keep=run.recipe.loop.keep_checkpoints,
        )
    run.accelerator.wait_for_everyone()


# After the last step


def _finish(run: Run, monitor: Monitor) -> dict[str, Any]:
    """Score the best model on the final splits and write the summary."""
    progress = run.progress
    final = {}
    if run.final:
        best = type(run.model).from_pretrained(run.output / "model")
        run.model.load_state_dict(best.state_dict())
        for place, dialogues in run.final.items():
            final[place] = _evaluate(run, dialogues)
            monitor.write("final", progress.step, progress.epoch, {"place": place} | final[place])
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
        "peak_memory_bytes": max(progress.peak_memory_bytes, _peak_memory(run.accelerator)),
        "device": _device_name(run.accelerator),
        "processes": run.accelerator.num_processes,
        "mixed_precision": run.accelerator.mixed_precision,
        "versions": _versions(),
    }
    if run.accelerator.is_main_process:
        with atomic_file(run.output / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    run.accelerator.wait_for_everyone()
    return summary


def _peak_memory(accelerator: Accelerator) -> int:
    """Of the accelerator where there is one, else of this process, in bytes."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated(accelerator.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_name(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return f"{accelerator.device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def _versions() -> dict[str, str]:
    packages = ("tiktalkcoref", "torch", "transformers", "accelerate", "datasets", "timm")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


if __name__ == "__main__":
    from tiktalkcoref import cli

    sys.argv.insert(1, "train")
    cli.main()
