"""From a recipe's configuration to the hooks that carry it out."""

from __future__ import annotations

from autoprune.core.config import RecipeConfig
from autoprune.training.events import Hook
from autoprune.training.recipes.cutout import Cutout
from autoprune.training.recipes.distill import Distill
from autoprune.training.recipes.ema import EMA
from autoprune.training.recipes.mixup import Mixup
from autoprune.training.recipes.tost_skip import GhostSkips
from autoprune.training.recipes.tost_soft import SoftActivations


def build_hooks(recipe: RecipeConfig, *, seed: int) -> list[Hook]:
    """Return the hooks that a recipe switches on, in the order they act.

    Parameters
    ----------
    recipe : RecipeConfig
        Label smoothing is an argument of the loss, recalibration and re-scaling are stages and
        the optimiser is built beside the loop: they have no hook.
    seed : int
        Root of the hooks' streams.

    Notes
    -----
    Images are cut before they are blended, and the teacher sees what the student sees: it asks
    for the inputs when the loss is taken. What is a ghost goes first, so that after the last of
    its steps, and at the end of the fit, every other hook finds the plain net.
    """
    hooks: list[Hook] = []
    if recipe.tost_soft:
        hooks.append(SoftActivations(recipe.tost_soft))
    if recipe.tost_skip:
        hooks.append(GhostSkips(recipe.tost_skip, seed))
    if recipe.cutout:
        hooks.append(Cutout(recipe.cutout, seed))
    if recipe.mixup:
        hooks.append(Mixup(recipe.mixup, seed))
    if recipe.distill:
        hooks.append(Distill(recipe.distill, recipe.distill_temperature))
    return hooks


def averaging_hooks(recipe: RecipeConfig) -> list[Hook]:
    """Return the hooks that come last: they average the weights that the masks have left.

    Before the masks, an average would take in what a step gave to weights that are not there.
    """
    return [EMA(recipe.ema)] if recipe.ema else []
