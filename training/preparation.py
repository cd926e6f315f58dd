"""Before the first step: everything a run needs is read, built and checked, cheapest first."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from transformers.utils import logging as transformers_logging

from tiktalkcoref.evaluation.dialogues import DatasetError, Dialogue, load_dialogues, without_pictures
from tiktalkcoref.files.hints import closest

from . import checkpoint as checkpoints
from .batches import plan_epoch, scale_regions
from .building import build
from .checkpoint import Progress
from .distillation import add_soft_labels
from .monitor import JsonLog
from .optimization import build_average, build_optimizer, build_schedule
from .recipe import Recipe, RecipeError, flatten, save_recipe
from .run_folder import LOG, RECIPE
from .selection import check_selection

NULL_DIALOGUES = 16  # from whose pictures the option "none" takes its first value, however large a batch is


@dataclass
class Run:
    """A run whose every part is ready."""

    recipe: Recipe
    output: Path
    accelerator: Accelerator
    model: Any  # TikTalkCorefModel
    processor: Any
    train: list[Dialogue]
    validation: list[Dialogue]  # empty where it is trained on
    final: dict[str, list[Dialogue]]
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    average: AveragedModel | None
    steps: int
    fingerprint: str
    progress: Progress = field(default_factory=Progress)
    notices: list[str] = field(default_factory=list)  # for the user, at the start

    @property
    def average_weights(self) -> list[torch.Tensor] | None:
        return None if self.average is None else [weight.detach() for weight in self.average.module.parameters()]


def prepare(recipe: Recipe, output: Path, resume: bool) -> Run:
    """Check and build everything. `output` was looked at before (see `run_folder`)."""
    transformers_logging.disable_progress_bar()  # of loading and saving: they cut through the run's own
    _check_trackers(recipe)
    log = JsonLog(output / LOG)
    accelerator = _accelerator(recipe, output, log)
    with accelerator.main_process_first():  # the first generates or reads, the others find it done
        train = load_dialogues(recipe.dataset, recipe.train_config, "train", recipe.fold)
    validation = []
    if recipe.train_split == "train":
        validation = load_dialogues(recipe.dataset, recipe.eval_config, "validation", recipe.fold)
    else:
        train += load_dialogues(recipe.dataset, recipe.train_config, "validation", recipe.fold)
    final = {}
    for place in recipe.final_evaluations:
        config, _, split = place.partition("/")
        final[place] = load_dialogues(recipe.dataset, config, split, recipe.fold)
    set_seed(recipe.seed)
    model, processor = build(recipe, train)
    _check_pictures(recipe, model, train)
    for dialogues in (train, validation, *final.values()):
        if recipe.linking is False or model.config.vision_config is None:
            dialogues[:] = without_pictures(dialogues)
    scaled = [
        scale_regions(d, processor.image_size) for d in (train, validation, *final.values()) if processor.image_size
    ]
    if recipe.train_split == "train":
        check_selection(recipe, validation)
    processor(train[:1], labels=True)
    model.to(accelerator.device)
    if not recipe.initial.checkpoint:  # "none" starts where the regions of the first linked dialogues lie
        linked = [dialogue for dialogue in train if max(dialogue.get("links") or [-1]) >= 0]
        if linked and model.linking_head is not None:
            model.start_null(processor(linked[:NULL_DIALOGUES], labels=True))
    if recipe.distil.teachers:
        add_soft_labels(recipe, model, train, accelerator.device)

    loop = recipe.loop
    optimizer = build_optimizer(model, recipe.optimizer)
    planned = len(plan_epoch([1] * len(train), **plan_settings(recipe, accelerator))) * loop.epochs
    steps = min(planned, loop.max_steps) if loop.max_steps else planned
    run = Run(
        recipe, output, accelerator, model, processor, train, validation, final, optimizer,
        schedule=build_schedule(optimizer, steps, recipe.optimizer),
        average=build_average(model, loop.ema_decay) if loop.ema_decay else None,
        steps=steps,
        fingerprint=fingerprint(train, decoded=all(scaled[:1])),
    )  # fmt: skip
    set_seed(recipe.seed + 7919 * accelerator.process_index)  # processes drop out different units
    if resume:
        _resume(run)
    if accelerator.is_main_process:
        save_recipe(recipe, output / RECIPE)
        log.rewind(run.progress.step, run.progress.epoch)
    trackable = {key: value for key, value in flatten(recipe).items() if isinstance(value, int | float | str)}
    accelerator.init_trackers("tiktalkcoref", config=trackable)
    return run


def plan_settings(recipe: Recipe, accelerator: Accelerator) -> dict[str, Any]:
    """What `plan_epoch` is told, but lengths and epoch."""
    return {
        "batch_size": recipe.loop.batch_size,
        "accumulation": recipe.loop.gradient_accumulation,
        "processes": accelerator.num_processes,
        "rank": accelerator.process_index,
        "seed": recipe.seed,
        "length_grouped": recipe.loop.length_grouped,
        "max_length": recipe.loop.max_length,
    }


def fingerprint(dialogues: list[Dialogue], decoded: bool = True) -> str:
    """Of the order and content of what is trained on, titles, links and pictures too: a run goes on over the same only.

    Pictures that are not decoded, since they are too many to be held (see `scale_regions`), count by their size.
    """
    digest = hashlib.sha256()
    for dialogue in dialogues:
        plain = {name: value for name, value in dialogue.items() if name not in ("regions", "soft_labels")}
        digest.update(json.dumps(plain, sort_keys=True).encode("utf-8"))
        for region in dialogue.get("regions", ()):
            digest.update(repr(region.size).encode("utf-8"))
            if decoded:
                digest.update(region.tobytes())
    return digest.hexdigest()


def _accelerator(recipe: Recipe, output: Path, log: JsonLog) -> Accelerator:
    precision = recipe.loop.mixed_precision
    return Accelerator(
        mixed_precision=None if precision == "no" else precision,  # None: what `accelerate launch` was told
        log_with=[log, *recipe.loop.trackers],
        project_dir=str(output),
        step_scheduler_with_optimizer=False,
        # a batch without pictures leaves the vision tower unused, one without mentions the clustering head
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
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


def _resume(run: Run) -> None:
    """Go on from the newest checkpoint that is whole; damaged ones are set aside, and told of."""
    found = checkpoints.list_checkpoints(run.output / "checkpoints")
    damaged: list[tuple[Path, checkpoints.DamagedCheckpointError]] = []
    for path in reversed(found):
        try:
            _load(run, path)
            run.notices.append(f"going on from {path}")
            break
        except checkpoints.DamagedCheckpointError as error:
            damaged.append((path, error))
    else:
        if found:
            raise checkpoints.CheckpointError(
                f"{damaged[0][1]}; no older one is whole: start again in another --output"
            )
        run.notices.append(f"{run.output} holds no checkpoint yet: starting from the beginning")
    run.accelerator.wait_for_everyone()  # all have read
    for path, reason in damaged:
        run.notices.insert(0, f"{reason}: set aside, the checkpoint before it is taken")
        if run.accelerator.is_main_process:
            checkpoints.set_aside(path)


def _load(run: Run, path: Path) -> None:
    checkpoints.check_checkpoint(path, run.model, run.accelerator.num_processes, run.fingerprint)
    run.progress, states, scaler = checkpoints.load_checkpoint(path, run.model, run.optimizer, run.average_weights)
    run.schedule.last_epoch = run.progress.step + 1
    if run.average is not None:
        run.average.n_averaged.fill_(run.progress.step + 1)
    if run.accelerator.scaler and scaler:
        run.accelerator.scaler.load_state_dict(scaler)
    checkpoints.set_random_state(states[run.accelerator.process_index], run.accelerator.device)
