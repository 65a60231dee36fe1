"""Label smoothing: targets that are not quite certain.

An argument of the loss, so there is no hook: the stage calls the task's loss with
``label_smoothing``, which moves that share of each target's probability evenly to all classes.
"""

from __future__ import annotations

from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="label_smoothing",
    reference="Szegedy et al., CVPR 2016, arXiv 1512.00567",
    description="moves a share of each target evenly to all classes; weakens a teacher's signal "
    "when the dense net was trained with it too",
    space={"label_smoothing": [0.0, 0.1]},
)
