"""EMA: end with an average of the weights along the way."""

from __future__ import annotations

import torch

from autoprune.training.events import Event, LoopState
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="ema",
    reference="Polyak & Juditsky, SIAM J. Control Optim. 30(4), 1992",
    description="ends with a running average of the weights; a schedule that decays to 0 gains "
    "little by it, and batch norm wants bn_recalibration after it",
    space={"ema": [0.0, 0.99]},
)

PREFIX = "ema/"


def decay_at(step: int, decay: float) -> float:
    """Return the decay after `step` steps: ``min(decay, (1 + step) / (10 + step))``.

    A young average forgets its start, so a short run is not dominated by it.
    """
    return min(decay, (1 + step) / (10 + step))


class EMA:
    """Averages all parameters after every step, and puts the averages in at the end.

    Masked weights end at exactly 0; buffers are those of the last step. The averages live in the
    loop's `extra`, so a fit that stops early can go on.

    Parameters
    ----------
    decay : float
        Share of the old average that stays, in (0, 1).

    References
    ----------
    .. [1] B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
       Journal on Control and Optimization 30(4), 1992.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on(self, event: Event, loop: LoopState) -> None:
        """Start, update and use the averages."""
        if event is Event.FIT_START:
            for name, value in loop.parameters.items():
                loop.extra.setdefault(PREFIX + name, value.detach().clone())
        elif event is Event.AFTER_STEP:
            self._update(loop)
        elif event is Event.FIT_END and loop.step == loop.num_steps:
            self._use(loop)

    def _update(self, loop: LoopState) -> None:
        averages = [loop.extra[PREFIX + name] for name in loop.parameters]
        values = [value.detach() for value in loop.parameters.values()]
        torch._foreach_lerp_(averages, values, 1 - decay_at(loop.step, self.decay))

    def _use(self, loop: LoopState) -> None:
        with torch.no_grad():
            for name, value in loop.parameters.items():
                average = loop.extra.pop(PREFIX + name)
                value.copy_(average * loop.masks[name] if name in loop.masks else average)
