"""From a job to its plan; torch-free."""

from __future__ import annotations

import math
from typing import Any

from autoprune.core.config import RecipeConfig, TrialConfig, parse
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import Job, TaskInfo
from autoprune.methods.base import METHODS, PlanRequest
from autoprune.methods.reach import kind_with, out_of_reach, reach_on
from autoprune.pruning.allocations.spec import check_layers
from autoprune.pruning.granularities.spec import read_pattern
from autoprune.stages.base import Stage

_REMOVABLE = {
    "weights": "prunable weights",
    "units": "channels or neurons that can be removed",
    "low_rank": "layers that can be factorised",
}


def make_plan(job: Job, top_epochs: float, *, pretrained: bool = False) -> tuple[Stage, ...]:
    """Return the states a job offers, one per round; the last one is the trial's.

    Raises
    ------
    ConfigError
        If `stop_round` asks for more rounds than the trial has.
    """
    config = job.config
    method = METHODS.get(config.method)
    request = PlanRequest(
        config=config,
        params=parse(method.params, config.params, config.method),
        epochs=job.epochs,
        top_epochs=top_epochs,
        seed=job.seed,
        pretrained=pretrained,
    )
    rounds = method.plan(request)
    if config.stop_round is None:
        return rounds
    if config.stop_round > len(rounds):
        raise ConfigError(
            "trial.stop_round", f"must be at most {len(rounds)}, its rounds", config.stop_round
        )
    return rounds[: config.stop_round]


def check_fit(config: TrialConfig, info: TaskInfo) -> None:
    """Refuse a method or a recipe on a model or data set that it cannot work on.

    Called before anything is trained.

    Raises
    ------
    BadInput
        With the method's or the recipe's name, and what it needs.
    """
    method = METHODS.get(config.method)
    params: Any = parse(method.params, config.params, config.method)
    if method.needs_relu and not info.has_relu:
        raise TaskError(
            "the model",
            f"must have ReLU units for method {config.method!r}",
            remedy="use another method, or a model whose activations are ReLUs",
        )
    if "allocation" in config.params:
        spec, place = str(config.params["allocation"]), f"trial.{config.method}.allocation"
        if kind_with(method, params) == "units" and info.units:
            check_layers(spec, len(info.units), place, "groups of units")
        else:
            check_layers(spec, len(info.layers), place)
    _check_granularity(config, info)
    method.fits(info, config, params)
    _check_reach(config, info, params)
    _check_recipe(config.recipe, info)


def _check_granularity(config: TrialConfig, info: TaskInfo) -> None:
    """Refuse a pattern that no layer can hold."""
    spec = str(config.params.get("granularity", "weight"))
    pattern = read_pattern(spec)
    if pattern and not any(pattern.divides(layer.shape) for layer in info.layers):
        raise TaskError(
            "the model",
            f"must have a layer whose input dimension is a multiple of {pattern.size} for "
            f"granularity {spec!r}",
            remedy="use smaller blocks, or granularity weight",
        )


def _check_reach(config: TrialConfig, info: TaskInfo, params: Any) -> None:
    """Refuse a target beyond what the method's kind can remove from this model, where known."""
    method = METHODS.get(config.method)
    low, most = reach_on(method, params, info, config.of)
    if config.sparsity <= most + 1e-9 or config.method == "dense":
        return
    if not most:
        raise TaskError(
            "the model",
            f"must have {_REMOVABLE[kind_with(method, params)]} for {config.method!r}",
            remedy="use a method that removes single weights; autoprune doctor says what is found",
        )
    most = math.floor(1e4 * most) / 1e4
    raise out_of_reach(config, min(low, most), most, "trial", " on this model")


def _check_recipe(recipe: RecipeConfig, info: TaskInfo) -> None:
    if recipe.tost_soft and not info.has_relu_modules:
        raise TaskError(
            "the model",
            "must have ReLU modules for recipe 'tost_soft': a rectifier that is called as a "
            "function cannot be softened",
            remedy="set recipe.tost_soft to 0, or use nn.ReLU in the model",
        )
    if recipe.tost_skip and sum(layer.kind != "attention" for layer in info.layers) < 2:
        raise TaskError(
            "the model",
            "must have a hidden convolution or linear layer for recipe 'tost_skip' to skip",
            remedy="set recipe.tost_skip to 0",
        )


def check_steps(job: Job, info: TaskInfo, place: str = "epochs") -> None:
    """Refuse a job that is too short for its method, before anything is trained.

    Raises
    ------
    ConfigError
        With the least number of epochs that would do.
    """
    method = METHODS.get(job.config.method)
    batch = job.config.recipe.optimizer_config(job.config.train).batch_size
    per_epoch = info.steps_per_epoch(batch)
    least = method.min_steps(parse(method.params, job.config.params, job.config.method))
    if job.epochs * per_epoch < least:
        raise ConfigError(
            place,
            f"must be at least {-(-least // per_epoch)} for method {job.config.method!r}, which "
            f"needs {least} steps at {per_epoch} steps an epoch",
            job.epochs,
            "train for longer, or in smaller batches (recipe.batch_size)",
        )
