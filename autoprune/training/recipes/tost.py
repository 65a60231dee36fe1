"""ToST: three temporary helps for training a net with any given mask.

Soft activations (`tost_soft`) and ghost skips (`tost_skip`) act over the first share of a training
run and are gone after it, so that the last steps train the very net that is exported; re-scaled
initialisation (`tost_rescale`) acts once before it. Each is switched on alone or with the others.
The fourth ingredient, label smoothing, is the recipe of that name: what the paper's code calls
``a`` (the true class keeps ``1 - a``) is ``label_smoothing = a * C / (C - 1)`` with C classes,
0.111 for its 0.1 and ten classes.
"""

from __future__ import annotations

from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="tost",
    reference="Jaiswal et al., ICML 2022, arXiv 2206.12755",
    description="soft ReLUs and dense skips that fade out during training, and tensor scales "
    "fitted before it, for nets of high sparsity; soft ReLUs need ReLU modules; scales, which "
    "move by up to 0.01 a step, are made for starts that are not trained yet",
    space={"tost_soft": [0.0, 0.5], "tost_skip": [0.0, 0.25], "tost_rescale": [0, 30]},
)
