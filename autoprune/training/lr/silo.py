"""SILO: the peak rises with sparsity along an S."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, NonNegative, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import RampAndDrops


def s_curve(x: float, beta: float) -> float:
    """Return ``x^beta / (x^beta + (1 - x)^beta)``: 0 at 0, 1/2 at 1/2, 1 at 1.

    Parameters
    ----------
    x : float
        Pruned fraction, in [0, 1].
    beta : float
        Slope at 1/2, > 0.

    Examples
    --------
    >>> s_curve(0.0, 5), s_curve(0.5, 5), s_curve(1.0, 5)
    (0.0, 0.5, 1.0)
    """
    pruned, left = math.pow(x, beta), math.pow(1 - x, beta)
    return pruned / (pruned + left)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Silo(RampAndDrops):
    """Raises each cycle's peak from `low` to ``low + rise`` as the net gets sparser.

    Parameters
    ----------
    low : float
        Peak of the dense net (the paper's delta), > 0.
    rise : float
        How much the peak can grow (epsilon), >= 0; 0 gives the same peak in every cycle.
    beta : float
        Steepness of the S, in (0, 20].
    delay : int
        Cycles by which the pruned fraction is looked up late (q), >= 0; with 1 it is the sparsity
        of the previous cycle.
    warmup, first, second : float
        Shares of the cycle at which the linear ramp from 0 ends and the drops to a tenth and to a
        hundredth come, in [0, 1], ``first <= second``.

    Notes
    -----
    Peak of cycle ``m``: ``low + rise * S(x)`` with ``x = 1 - (1 - p)^(m - q)`` from the cycle's
    number and the share ``p`` of the remaining weights that each cycle removes, 0 up to cycle
    ``q`` (card silo, c1 and c2). The default profile is that of the authors' VGG-19 script
    (0.0875, 0.5, 0.75), because a short cycle spends too much of itself on the ramp of their
    ResNet-20 script (0.5, 0.5, 0.64).
    Deviation: durations are shares of the cycle, and its first step is at the foot of the ramp,
    where the authors' code is one step up it.

    References
    ----------
    .. [1] S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for
       Iterative Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144.
    """

    low: Positive = 0.04
    rise: NonNegative = 0.06
    beta: Annotated[float, Field(gt=0.0, le=20.0)] = 5.0
    delay: Annotated[int, Field(ge=0)] = 1

    reference: ClassVar[str] = "Liu et al., TMLR 2023, arXiv 2212.06144"
    space: ClassVar[dict[str, Any]] = {
        "low": {"low": 0.01, "high": 0.1, "log": True},
        "rise": {"low": 0.0, "high": 0.3},
        "beta": 5,
        "delay": 1,
    }

    def peak(self, cycle: CycleInfo) -> float:
        """Return the cycle's peak."""
        late = max(0, cycle.index - self.delay)
        return self.low + self.rise * s_curve(1 - (1 - cycle.round_share) ** late, self.beta)

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        return self.peak(cycle) * self.factor(progress)
