"""The loop: for every optimiser step, the dialogues that `plan_epoch` gives it go through the model in micro-batches; a
loss weighs as many dialogues as it is of. Then the validation split is scored; the best model, or the last, is kept."""

import contextlib
import json
import math
import time
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object

from tiktalkcoref.evaluation.dialogues import Dialogue, names_of
from tiktalkcoref.evaluation.environment import device_name, peak_memory, versions
from tiktalkcoref.evaluation.predictions import evaluate_model
from tiktalkcoref.files.atomic import ANYTHING, atomic_file, atomic_folder
from tiktalkcoref.files.errors import UserError

from . import checkpoint as checkpoints
from .batches import Step, batches_of, hide_characters, plan_epoch
from .distillation import join
from .monitor import Monitor
from .optimization import averaged
from .preparation import Run, plan_settings
from .run_folder import SUMMARY
from .selection import selection_score


class DivergedError(UserError):
    """A loss, a gradient or a weight that is no finite number; names step, dialogues and the last good checkpoint."""


def fit(run: Run, monitor: Monitor) -> None:
    """Train to the end: of the epochs, of `max_steps`, or of the patience.

    Raises:
        DivergedError: nothing was overwritten with what came of it.
    """
    loop, progress = run.recipe.loop, run.progress
    wrapped, optimizer = run.accelerator.prepare(run.model, run.optimizer)
    lengths = [sum(map(len, dialogue["sentences"])) for dialogue in run.train]
    settings = plan_settings(run.recipe, run.accelerator)
    while not _is_done(run):
        plan = plan_epoch(lengths, epoch=progress.epoch, **settings)[progress.step_in_epoch :]
        fit_steps(run, monitor, wrapped, optimizer, plan[: run.steps - progress.step])
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        is_evaluated = progress.step >= run.steps or progress.epoch % loop.evaluate_every == 0
        if is_evaluated:
            _validate(run, monitor)
        if is_evaluated or loop.checkpoint_every:
            _save_checkpoint(run)


def fit_steps(run: Run, monitor: Monitor, wrapped: Any, optimizer: Any, plan: list[Step]) -> None:
    """Take the planned optimiser steps; a checkpoint every `checkpoint_every` of them.

    Args:
        wrapped, optimizer: as `accelerator.prepare` gives them.
    """
    loop, progress = run.recipe.loop, run.progress
    order = [batch for step in plan for batch in step.batches]
    batches = batches_of(run.train, order, partial(_collate, run.processor), loop.workers)
    run.model.train()
    started = time.perf_counter()
    for step in plan:
        rate = run.optimizer.param_groups[-1]["lr"]  # of the heads
        norm = _add_up_gradients(run, monitor, wrapped, step, batches)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        run.schedule.step()
        progress.step += 1
        progress.step_in_epoch += 1
        if run.average is not None:
            run.average.update_parameters(run.model)
        now = time.perf_counter()
        progress.seconds, started = progress.seconds + now - started, now
        monitor.step(progress.step, progress.epoch + 1, step.dialogues, rate, norm)
        if loop.checkpoint_every and progress.step % loop.checkpoint_every == 0:
            _save_checkpoint(run)


def _collate(processor: Any, dialogues: list[Dialogue]) -> Any:
    plain = [{name: value for name, value in d.items() if name != "soft_labels"} for d in dialogues]
    batch = processor(plain, labels=True, names=names_of(dialogues))
    if "soft_labels" in dialogues[0]:
        batch.soft_labels = join([d["soft_labels"] for d in dialogues], batch.character_index.shape[1])
    return batch


def _add_up_gradients(run: Run, monitor: Monitor, wrapped: Any, step: Step, batches: Any) -> torch.Tensor:
    """The gradients of one optimiser step, clipped; returns their norm."""
    losses = []
    for number, count in enumerate(step.counts, start=1):
        batch = _hide(run, next(batches).to(run.accelerator.device))
        is_last = number == len(step.counts)
        with contextlib.nullcontext() if is_last else run.accelerator.no_sync(wrapped):
            outputs = wrapped(**batch)
            # every loss is a mean over the micro-batch's dialogues; processes' gradients are averaged
            weight = count / step.dialogues
            run.accelerator.backward(outputs.loss * (weight * run.accelerator.num_processes))
        losses.append(outputs.loss.detach())
        monitor.add(outputs, weight)
    parameters = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    norm = run.accelerator.clip_grad_norm_(parameters, run.recipe.optimizer.max_grad_norm or float("inf"))
    _check_finite(run, step, torch.stack(losses), norm)
    return norm


def _check_finite(run: Run, step: Step, losses: torch.Tensor, norm: torch.Tensor) -> None:
    """Stop, all processes together, before the weights follow a loss or gradient that is no number."""
    is_bad = ~losses.isfinite().all()
    if run.accelerator.scaler is None:  # with one, fp16 gradients overflow now and then: such steps are left out
        is_bad = is_bad | ~norm.isfinite()
    if not run.accelerator.reduce(is_bad.float()):
        return
    which = [number for number, loss in enumerate(losses.tolist()) if not math.isfinite(loss)]
    chosen = [index for number in which for index in step.batches[number]]
    if run.accelerator.num_processes == 1 and not which:  # the gradient alone
        chosen = [index for batch in step.batches for index in batch]
    keys = gather_object([str(run.train[index]["doc_key"]) for index in chosen])
    found = f"loss {losses.sum().item():g}, gradient norm {norm.item():g}"
    raise DivergedError(_diverged(run, f"step {run.progress.step + 1}: {found} over the dialogues {', '.join(keys)}"))


def _check_weights(run: Run) -> None:
    """Stop before weights that are no numbers are saved."""
    if not torch.stack([weight.isfinite().all() for weight in run.model.parameters()]).all():
        raise DivergedError(_diverged(run, f"step {run.progress.step}: weights that are not finite"))


def _diverged(run: Run, what: str) -> str:
    found = checkpoints.list_checkpoints(run.output / "checkpoints")
    newest = found[-1] if found else "none"
    best = f"; the best model so far is of epoch {run.progress.best_epoch}" if run.progress.best_epoch else ""
    return (
        f"training diverged at {what}. Nothing of it was saved; the last good checkpoint: {newest}{best}. Lower the "
        "learning rates (optimizer.*learning_rate), lengthen optimizer.warmup, or do without loop.mixed_precision, in "
        "another --output"
    )


def _hide(run: Run, batch: Any) -> Any:
    """The batch with what the text encoder is to read where the recipe hides characters; queries read `input_ids`."""
    share, tokenizer = run.recipe.loop.hide_characters, run.processor.tokenizer
    if share:
        hidden = tokenizer.unk_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        batch.masked_input_ids = hide_characters(batch["input_ids"], batch["token_speaker"], share, hidden)
    return batch


def _is_done(run: Run) -> bool:
    progress, patience = run.progress, run.recipe.loop.patience
    if progress.step_in_epoch:  # killed between the last step of an epoch and its evaluation
        return False
    return progress.step >= run.steps or 0 < patience <= progress.evaluations_without_gain


def _validate(run: Run, monitor: Monitor) -> None:
    """Score the validation split, if it is not trained on; keep the model where it is the best so far, or the recipe
    keeps the last."""
    started = time.perf_counter()
    _check_weights(run)
    progress = run.progress
    model = run.model if run.average is None else averaged(run.average, run.model)
    scores = score(run, model, run.validation) if run.validation else {}
    selection = selection_score(scores, run.recipe.loop.select_on)
    is_better = selection is None or progress.best_score is None or selection > progress.best_score
    is_kept = is_better or run.recipe.loop.keep == "last"
    if is_kept:
        progress.best_score, progress.best_epoch, progress.best_scores = selection, progress.epoch, scores
        progress.evaluations_without_gain = 0
        _save_model(run, model)
    else:
        progress.evaluations_without_gain += 1
    progress.seconds += time.perf_counter() - started
    monitor.evaluated(progress.step, progress.epoch, scores, selection, is_kept)


def score(run: Run, model: Any, dialogues: list[Dialogue]) -> dict[str, float]:
    """The scores of a model, of this run or read back, on labelled dialogues."""
    size = run.recipe.loop.evaluation_batch_size
    scores = evaluate_model(model, run.processor, dialogues, batch_size=size, accelerator=run.accelerator)
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _save_model(run: Run, model: Any) -> None:
    if run.accelerator.is_main_process:
        with atomic_folder(run.output / "model", owned=ANYTHING) as folder:
            model.save_pretrained(folder)
            run.processor.save_pretrained(folder)
    run.accelerator.wait_for_everyone()


def _save_checkpoint(run: Run) -> None:
    """A checkpoint of this moment."""
    _check_weights(run)
    run.progress.peak_memory_bytes = max(run.progress.peak_memory_bytes, peak_memory(run.accelerator.device))
    states = gather_object([checkpoints.get_random_state(run.accelerator.device)])
    if run.accelerator.is_main_process:
        checkpoints.save_checkpoint(
            run.output / "checkpoints",
            run.model,
            run.optimizer,
            run.progress,
            states,
            average=run.average_weights,
            scaler=run.accelerator.scaler.state_dict() if run.accelerator.scaler else None,
            fingerprint=run.fingerprint,
            keep=run.recipe.loop.keep_checkpoints,
        )
    run.accelerator.wait_for_everyone()


def finish(run: Run, monitor: Monitor) -> dict[str, Any]:
    """Score the model that was kept on the recipe's final evaluations, write `summary.json`, and return its content."""
    progress, accelerator = run.progress, run.accelerator
    final: dict[str, dict[str, float]] = {}
    if run.final:
        kept = type(run.model).from_pretrained(run.output / "model").to(accelerator.device)
        for place, dialogues in run.final.items():
            final[place] = score(run, kept, dialogues)
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
