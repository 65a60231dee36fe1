"""How a `Train` stage runs: build the loop, its hooks and its schedule, fit, take the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from autoprune.core.config import parse
from autoprune.core.seeds import global_stream
from autoprune.stages.support import export_weights, load_model
from autoprune.training.events import Hook, LoopState
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.hooks.record import RecordCost, RecordLR
from autoprune.training.loop import fit
from autoprune.training.recipes.build import averaging_hooks, build_hooks
from autoprune.training.recipes.optimizer import build_optimizer
from autoprune.training.registry import LR_SCHEDULES

if TYPE_CHECKING:
    from autoprune.stages.base import RunContext
    from autoprune.stages.state import TrialState
    from autoprune.stages.train import Train


def run_training(stage: Train, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
    """Train as the stage says, from its first parent's state."""
    start = inputs[0]
    loop = _build_loop(stage, inputs, context)
    schedule = parse(LR_SCHEDULES.get(stage.lr.name), stage.lr.params, f"lr.{stage.lr.name}")
    cycle = stage.cycle_info(inputs, loop.num_steps, loop.steps_per_epoch)
    record, cost = RecordLR(), RecordCost()
    task = context.task
    with global_stream(stage.seed, stage.label, "model"):
        finite = fit(
            loop,
            task.data.train,
            lambda progress: schedule(progress, cycle),
            [*_hooks(stage, context), record, cost],
            batch_size=stage.optimizer.batch_size,
            stop=max(1, round(loop.num_steps * stage.stop)),
            label=stage.label,
            augment=stage.augment,
        )
    extra = {name: value.cpu() for name, value in loop.extra.items()}
    weights = export_weights(loop.model)
    # The last step may have broken weights that the last loss was still finite with.
    finite = finite and all(bool(value.isfinite().all()) for value in weights.values())
    spent = float(start.log.get("train_macs", 0.0)) + cost.macs
    status = "ok" if finite else "diverged"
    # What a pruning took is for the training right after it, not for one that follows that.
    before = {k: v for k, v in start.log.items() if k not in ("norm_lost", "share_lost")}
    log = {**before, **loop.log, "train_macs": spent, "status": status}
    return replace(
        start,
        weights=weights,
        masks={name: mask.cpu() for name, mask in loop.masks.items()},
        tensors={"lr_curve": torch.tensor(record.values, dtype=torch.float64), **extra},
        log=log,
    )


def _build_loop(stage: Train, inputs: Sequence[TrialState], context: RunContext) -> LoopState:
    task = context.task
    device = torch.device(context.numerics.device)
    model = load_model(inputs[0], context)
    spe = task.info.steps_per_epoch(stage.optimizer.batch_size)
    teacher_state = stage.teacher(inputs)
    parameters = dict(model.named_parameters())
    return LoopState(
        model=model,
        optimizer=build_optimizer(model.named_parameters(), stage.optimizer),
        parameters=parameters,
        masks={n: m.to(device, copy=True) for n, m in inputs[0].masks.items()},
        loss_fn=partial(task.loss, label_smoothing=stage.recipe.label_smoothing),
        seed=stage.seed,
        num_steps=max(1, round(stage.length * spe)),
        steps_per_epoch=spe,
        teacher=None if teacher_state is None else context.second_model(teacher_state.weights),
        ranks=inputs[0].structure.ranks,
        layer_macs={layer.name: layer.macs for layer in task.info.layers},
        device=device,
        dtype=getattr(torch, context.numerics.dtype),
    )


def _hooks(stage: Train, context: RunContext) -> list[Hook]:
    hooks = build_hooks(stage.recipe, seed=stage.seed)
    hooks += stage.hook_objects()
    if stage.mask_mode == "hard":
        hooks.append(HardMasks())
    return [*hooks, *averaging_hooks(stage.recipe)]
