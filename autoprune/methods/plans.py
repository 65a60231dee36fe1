"""Plans that several methods share, made of stages; torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from autoprune.core.config import LRConfig, OptimizerConfig, TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import (
    METHODS,
    Kind,
    Parts,
    PlanRequest,
    cycle_in_plan,
    lr_needs,
    lr_within,
)
from autoprune.stages.base import Stage
from autoprune.stages.init import Init, Pretrained
from autoprune.stages.prune import Mask, MaskRounds, Recalibrate, Rewind, Score
from autoprune.stages.rescale import Rescale
from autoprune.stages.train import Cycle, HookSpec, Train, TrainLonger
from autoprune.training.lr.base import CycleInfo, Need


def task_identity(task: TaskConfig) -> TaskConfig:
    """Drop where files lie: their hashes stand in the key already."""
    return replace(task, data_dir=None, task_file=None, checkpoint=None)


def init(request: PlanRequest, label: str = "init") -> Stage:
    """Fresh weights, from a named stream."""
    return Init(task_identity(request.config.task), request.seed, label)


def dense_run(request: PlanRequest, stop: float = 1.0) -> Stage:
    """Plan the shared dense run, up to the share `stop` of its steps; or take given weights."""
    train = request.config.train
    if request.pretrained:
        return Pretrained(task_identity(request.config.task))
    return Train(
        parents=(init(request),),
        length=float(train.epochs),
        stop=stop,
        lr=LRConfig(name=train.schedule, params={"peak": train.lr}),
        optimizer=OptimizerConfig(
            optimizer=train.optimizer,
            momentum=train.momentum,
            nesterov=train.nesterov,
            weight_decay=train.weight_decay,
            batch_size=train.batch_size,
        ),
        recipe=smoothing_only(train.label_smoothing),
        seed=request.seed,
        label="dense",
        augment=train.augment,
    )


def smoothing_only(smoothing: float) -> Any:
    """Return a recipe with nothing but label smoothing."""
    from autoprune.core.config import RecipeConfig

    return RecipeConfig(label_smoothing=smoothing)


def snapshot(request: PlanRequest, rewind: str) -> Stage | None:
    """Return the weights a rewind policy goes back to; None when weights stay.

    ``none`` keeps weights, ``init`` takes the dense run's start, ``reinit`` a fresh draw, and
    ``step:F`` the dense run after the fraction F of its steps.
    """
    if rewind == "none":
        return None
    if rewind == "reinit":
        return init(request, "reinit")
    if request.pretrained:
        raise ConfigError(
            f"trial.{request.config.method}.rewind",
            "must be 'none' or 'reinit' when the task brings pretrained weights",
            rewind,
        )
    if rewind == "init":
        return init(request)
    return dense_run(request, stop=float(rewind.removeprefix("step:")))


def check_rewind(rewind: str, place: str) -> None:
    """Refuse a rewind policy that is none of the four forms.

    Raises
    ------
    ConfigError
        With the forms.
    """
    if rewind in {"none", "init", "reinit"}:
        return
    step = re.fullmatch(r"step:(\d*\.?\d+(?:e-?\d+)?)", rewind)
    if step and 0.0 < float(step[1]) < 1.0:
        return
    raise ConfigError(place, "must be none, init, reinit or step:<fraction in (0, 1)>", rewind)


def retrain(
    request: PlanRequest,
    start: Stage,
    *,
    length: float,
    cycle: Cycle,
    label: str,
    hooks: tuple[HookSpec, ...] = (),
    mask_mode: str = "hard",
    cap: float = 1.0,
) -> Stage:
    """Retrain a masked state with the trial's schedule and recipe, then recalibrate.

    With a `cap` above 1 for longer, see `stages.train.TrainLonger`.

    Statistics of BatchNorm are estimated anew when the recipe asks for it, and always after
    averaging: the averaged weights never saw the running ones.

    Raises
    ------
    ConfigError
        If the schedule reads a dense run that is not there, or replays one that is too short.
    """
    config = request.config
    dense = dense_run(request)
    check_dense(request, length * cap)
    curve = Need.DENSE_CURVE in lr_needs(config.lr.name)
    parents = [rescaled(request, start, label)]
    if curve:
        parents.append(dense)
    if config.recipe.distill > 0:
        parents.append(dense)
    kind = partial(TrainLonger, cap=cap) if cap > 1.0 else Train
    trained: Stage = kind(
        parents=tuple(parents),
        length=length,
        lr=lr_within(config.lr, CycleInfo(**asdict(cycle))),
        optimizer=config.recipe.optimizer_config(config.train),
        recipe=config.recipe,
        seed=request.seed,
        label=label,
        cycle=cycle,
        curve=curve,
        hooks=hooks,
        mask_mode=mask_mode,  # type: ignore[arg-type] # a literal from two callers
    )
    recalibrates = config.recipe.bn_recalibration or config.recipe.ema > 0
    return Recalibrate(parents=(trained,)) if recalibrates else trained


def rescaled(request: PlanRequest, start: Stage, label: str) -> Stage:
    """Re-scale the tensors of a training run's start, where the recipe asks for it.

    The step it looks ahead has the schedule's peak for its length, or the dense run's where the
    schedule has none.
    """
    config = request.config
    if not config.recipe.tost_rescale:
        return start
    return Rescale(
        parents=(start,),
        steps=config.recipe.tost_rescale,
        lr=float(config.lr.params.get("peak", config.train.lr)),
        batch_size=config.recipe.optimizer_config(config.train).batch_size,
        label_smoothing=config.recipe.label_smoothing,
        seed=request.seed,
        label=label,
    )


def check_dense(request: PlanRequest, length: float) -> None:
    """Refuse a schedule whose dense run is not there, or shorter than the cycle it is to replay.

    Raises
    ------
    ConfigError
        With what is missing, or the epochs of both.
    """
    name, dense = request.config.lr.name, request.config.train.epochs
    needs = lr_needs(name)
    if Need.DENSE_CURVE in needs and request.pretrained:
        raise ConfigError(
            "trial.lr",
            f"must not be {name!r} when the task brings pretrained weights: there is no dense "
            "run whose learning rates it could read",
            remedy="choose another schedule, such as linear",
        )
    if Need.DENSE_LENGTH in needs and length > dense:
        raise ConfigError(
            "trial.lr",
            f"must not be {name!r} for cycles longer than the dense run ({dense} epochs)",
            f"{length:g} epochs",
            "raise train.epochs, retrain for fewer epochs, or choose another schedule",
        )


AfterMask = Callable[[Stage, Stage, Stage, int], Stage]


def sparsity_after(request: PlanRequest, parts: Parts, done: int, count: int) -> float:
    """Sparsity after `done` of `count` rounds; exactly the target after the last."""
    from autoprune.pruning.registry import SPARSITY_SCHEDULES

    schedule = SPARSITY_SCHEDULES.get(parts.schedule(request.params))
    return schedule(done / count, request.config.sparsity) if done else 0.0


def prune_step(request: PlanRequest, parts: Parts, state: Stage, sparsity: float, k: int) -> Stage:
    """Score a state and mask it down to a sparsity."""
    scored = Score(
        parents=(state,),
        score=parts.score,
        seed=request.seed,
        label=f"score/{k}",
        params=parts.score_params(request.params),
    )
    return Mask(
        parents=(state, scored),
        allocation=request.params.allocation,
        sparsity=sparsity,
        granularity=parts.granularity(request.params),
        of=request.config.of,
        grain=parts.grain(request.params),
    )


def keep_all(request: PlanRequest, state: Stage) -> Stage:
    """Give a state masks that keep everything, for a method that moves them while it trains."""
    scored = Score(parents=(state,), score="magnitude", seed=request.seed)
    return Mask(parents=(state, scored), allocation="global", sparsity=0.0)


def cycle_of(request: PlanRequest, k: int, count: int, sparsity: float) -> Cycle:
    """Where round `k` of `count` stands; every round removes the same share of what remains."""
    found = cycle_in_plan(k, count, sparsity, request.config.sparsity)
    return Cycle(index=k, count=count, sparsity=sparsity, round_share=found.round_share)


def prune_retrain(
    request: PlanRequest, parts: Parts, start: Stage | None = None
) -> tuple[Stage, ...]:
    """Score, prune and retrain in rounds; each round's end is offered.

    Retraining epochs are divided evenly over the rounds (card imp: B / J each; fractions of an
    epoch stay fractions, so no remainder is left to the last).
    """
    count = parts.rounds(request.params)
    saved = snapshot(request, parts.rewind(request.params))
    state, rounds = start or dense_run(request), []
    for k in range(1, count + 1):
        sparsity = sparsity_after(request, parts, k, count)
        masked = prune_step(request, parts, state, sparsity, k)
        if saved is not None:
            masked = Rewind(parents=(masked, saved))
        state = retrain(
            request,
            masked,
            length=request.epochs / count,
            cycle=cycle_of(request, k, count, sparsity),
            label=f"retrain/{k}",
        )
        rounds.append(state)
    return tuple(rounds)


def prune_rounds(request: PlanRequest, parts: Parts, state: Stage) -> Stage:
    """Score and mask a state as often as the method's rounds say, without training in between."""
    rounds = parts.rounds(request.params)
    if rounds == 1:
        return prune_step(request, parts, state, request.config.sparsity, 1)
    return MaskRounds(
        parents=(state,),
        score=parts.score,
        allocation=request.params.allocation,
        sparsity=request.config.sparsity,
        rounds=rounds,
        seed=request.seed,
        granularity=parts.granularity(request.params),
        of=request.config.of,
        schedule=parts.schedule(request.params),
        params=parts.score_params(request.params),
        grain=parts.grain(request.params),
    )


def prune_train(
    request: PlanRequest, parts: Parts, hooks: tuple[HookSpec, ...] = ()
) -> tuple[Stage, ...]:
    """Prune at initialisation, then train from scratch for the dense and retraining epochs."""
    masked = prune_rounds(request, parts, init(request))
    return (
        retrain(
            request,
            masked,
            length=request.scratch_epochs,
            cycle=cycle_of(request, 1, 1, request.config.sparsity),
            label="scratch",
            hooks=hooks,
        ),
    )


def train_with_masks(request: PlanRequest, hook: str) -> tuple[Stage, ...]:
    """Retrain the dense net once, while a hook prunes it and freezes its masks.

    Parameters
    ----------
    hook : str
        Import path of a class that takes the sparsity and the method's parameters.
    """
    config = request.config
    settings = {"sparsity": config.sparsity, **asdict(request.params)}
    return (
        retrain(
            request,
            keep_all(request, dense_run(request)),
            length=request.epochs,
            cycle=cycle_of(request, 1, 1, config.sparsity),
            label=config.method,
            hooks=(HookSpec(hook, settings),),
            mask_mode="latent",
        ),
    )


def check_wrapped(base: str, place: str, kind: Kind | None = None) -> None:
    """Refuse a base method that does not score, prune and retrain, or is of another kind.

    Raises
    ------
    ConfigError
        With the methods that do.
    """
    fits = [
        name
        for name in METHODS
        if METHODS.get(name).parts is not None and kind in (None, METHODS.get(name).kind)
    ]
    METHODS.check(base, place)
    if base not in fits:
        raise ConfigError(
            place, "must score, prune and retrain", base, f"these do: {', '.join(fits)}"
        )
