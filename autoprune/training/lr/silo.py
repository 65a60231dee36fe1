"""SILO: the peak rises with sparsity along an S."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from autoprune.core.config import STRICT, LRConfig, NonNegative, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import RampAndDrops

PRESETS = {
    "resnet20": {"low": 0.03, "rise": 0.04, "warmup": 0.5, "first": 0.5, "second": 0.64},
    "vgg19": {"low": 0.04, "rise": 0.06, "warmup": 0.0875, "first": 0.5, "second": 0.75},
}
"""The authors' two scripts, with durations as shares of the cycle (card silo, d)."""


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
    preset : str
        ``vgg19`` or ``resnet20``: whose values the parameters that are not given take.
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
        Shares of the cycle at which the linear ramp ends and the drops to a tenth and to a
        hundredth come, in [0, 1], ``first <= second``.

    Notes
    -----
    Peak of cycle ``m``: ``low + rise * S(x)`` with ``x = 1 - (1 - p)^(m - q)`` from the cycle's
    number and the share ``p`` of the remaining weights that each cycle removes, 0 up to cycle
    ``q`` (card silo, c1 and c2); with a single cycle that is `low`. The default preset is that of
    the authors' VGG-19 script, because a short cycle spends too much of itself on the ramp of
    their ResNet-20 script, which ends only where the first drop comes.
    # Deviation: durations are shares of the cycle, where the scripts count updates and epochs; the
    # jump to the peak that the VGG-19 script makes within its ramp is left out.

    References
    ----------
    .. [1] S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for
       Iterative Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144.
    """

    preset: Literal["vgg19", "resnet20"] = "vgg19"
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

    @model_validator(mode="before")
    @classmethod
    def _take_the_preset(cls, given: Any) -> Any:
        """Let the preset stand for what is not given."""
        content = given.kwargs if isinstance(given, ArgsKwargs) else given
        if not isinstance(content, dict) or content.get("preset") not in PRESETS:
            return given
        return {**PRESETS[content["preset"]], **content}

    def peak(self, cycle: CycleInfo) -> float:
        """Return the cycle's peak."""
        late = max(0, cycle.index - self.delay)
        return self.low + self.rise * s_curve(1 - (1 - cycle.round_share) ** late, self.beta)

    def narrowed(self, cycle: CycleInfo) -> LRConfig:
        """Return the schedule that this one is within a cycle."""
        return self.profile_under(self.peak(cycle))

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        return self.peak(cycle) * self.factor(progress, cycle)
