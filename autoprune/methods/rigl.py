"""RigL: train sparse from the start, and move connections to where gradients ask for them.

Every so often each layer drops its smallest weights and grows the same number where the dense
gradient is largest. Grown weights start at zero with zero optimiser state; the number of weights
never changes. Updates replace the optimiser step of their iteration (Algorithm 1).

Notes
-----
# Deviation: intervals are counted in events, not steps, so that a short schedule keeps its
updates: at least 20 in all, and at most one every `interval` steps (100 in the paper).

A weight dropped and regrown in the same update keeps its value and state, as in the authors'
code. Card rigl (g) lists where other ports differ.

References
----------
U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All Tickets
Winners", ICML 2020, arXiv 1911.11134.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, Parts, PlanRequest
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage
from autoprune.stages.train import HookSpec

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.training.events import Event, LoopState

LEAST_UPDATES = 20


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RiglParams:
    """Parameters of RigL.

    Parameters
    ----------
    drop_fraction : float
        Share of a layer's weights that the first update moves (alpha); annealed by a cosine.
    end : float
        Share of training after which the topology is frozen (T_end / T).
    interval : int
        Greatest number of steps between updates (dT).
    """

    allocation: str = "erk"
    drop_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    end: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    interval: Annotated[int, Field(ge=1)] = 100


def drop_share(step: int, end: int, alpha: float) -> float:
    """Share of weights an update moves: ``alpha / 2 * (1 + cos(pi * t / T_end))``."""
    return alpha / 2 * (1 + math.cos(math.pi * min(step, end) / end))


def drop_and_grow(weight: Tensor, mask: Tensor, gradient: Tensor, count: int) -> Tensor:
    """Drop the `count` smallest alive weights, grow where the gradient is largest.

    Parameters
    ----------
    weight, gradient : Tensor
        Any shape; the gradient is dense, with respect to the effective weight.
    mask : Tensor
        Bool, same shape.
    count : int
        Weights to move; what was just dropped may be grown again.

    Returns
    -------
    Tensor
        The new mask, with as many weights as the old one.
    """
    import torch

    from autoprune.pruning.masks import top_k_mask

    alive = int(mask.sum())
    magnitude = torch.where(mask, weight.abs(), -torch.inf)
    kept = top_k_mask(magnitude, alive - count)
    wanted = torch.where(kept, -torch.inf, gradient.abs())
    return kept | top_k_mask(wanted, count)


class RigLHook:
    """Moves the masks during training.

    Parameters
    ----------
    drop_fraction, end, interval
        See `RiglParams`.
    """

    def __init__(self, drop_fraction: float, end: float, interval: int) -> None:
        self.drop_fraction, self.end, self.interval = drop_fraction, end, interval
        self.updates = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Update the masks instead of taking a step, when it is time to."""
        from autoprune.training.events import Event

        if event is Event.AFTER_BACKWARD and self.due(loop.step, loop.num_steps):
            self.update(loop)
            loop.skip_step = True
        elif event is Event.FIT_END:
            loop.log["mask_updates"] = float(self.updates)

    def due(self, step: int, num_steps: int) -> bool:
        """Whether this step is an update: every `interval`, or sooner to reach 20 of them."""
        end = self.end_step(num_steps)
        interval = max(1, min(self.interval, end // LEAST_UPDATES))
        return 0 < step < end and step % interval == 0

    def end_step(self, num_steps: int) -> int:
        """First step at which the topology is frozen."""
        return max(1, round(self.end * num_steps))

    def update(self, loop: LoopState) -> None:
        """Drop and grow in every layer that is neither full nor empty."""
        import torch

        share = drop_share(loop.step, self.end_step(loop.num_steps), self.drop_fraction)
        with torch.no_grad():
            for name, mask in loop.masks.items():
                alive = int(mask.sum())
                count = math.floor(share * alive)
                if count == 0 or alive == mask.numel():
                    continue
                parameter = loop.parameters[name]
                gradient = parameter.grad
                if gradient is None:
                    continue
                new = drop_and_grow(parameter, mask, gradient, count)
                changed = new != mask
                mask.copy_(new)
                for tensor in (parameter, *loop.optimizer_state(name)):
                    tensor.masked_fill_(changed, 0.0)
        self.updates += 1
        loop.masks_changed()


PARTS = Parts(score="random")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a random mask, train it with updates."""
    params: RiglParams = request.params
    hook = HookSpec(
        "autoprune.methods.rigl:RigLHook",
        {
            "drop_fraction": params.drop_fraction,
            "end": params.end,
            "interval": params.interval,
        },
    )
    return prune_train(request, PARTS, (hook,))


RIGL = Method(
    name="rigl",
    kind="weights",
    start="scratch",
    reference="Evci et al., ICML 2020, arXiv 1911.11134",
    params=RiglParams,
    plan=plan,
    min_steps=lambda params: 2 * LEAST_UPDATES,
    regrows=True,
    space={"allocation": ["erk", "uniform"], "drop_fraction": {"low": 0.1, "high": 0.5}},
)
