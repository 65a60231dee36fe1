"""From a recipe's configuration to the hooks that carry it out."""

from __future__ import annotations

from autoprune.core.config import RecipeConfig
from autoprune.training.events import Hook
from autoprune.training.recipes.cutout import Cutout
from autoprune.training.recipes.distill import Distill
from autoprune.training.recipes.ema import EMA
from autoprune.training.recipes.mixup import Mixup


def build_hooks(recipe: RecipeConfig, *, seed: int) -> list[Hook]:
    """Return the hooks that a recipe switches on, in the order they act.

    Parameters
    ----------
    recipe : RecipeConfig
        Label smoothing is an argument of the loss, recalibration a stage and the optimiser built
        beside the loop: they have no hook.
    seed : int
        Root of the hooks' streams.

    Notes
    -----
    Images are cut before they are blended, and the teacher sees what the student sees: it asks
    for the inputs when the loss is taken.
    """
    hooks: list[Hook] = []
    if recipe.cutout:
        hooks.append(Cutout(recipe.cutout, seed))
    if recipe.mixup:
        hooks.append(Mixup(recipe.mixup, seed))
    if recipe.distill:
        hooks.append(Distill(recipe.distill, recipe.distill_temperature))
    if recipe.ema:
        hooks.append(EMA(recipe.ema))
    return hooks
