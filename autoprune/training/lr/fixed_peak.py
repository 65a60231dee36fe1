"""Fixed peak: SILO's profile inside the cycle, under one peak."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import RampAndDrops


@dataclass(frozen=True, config=STRICT, kw_only=True)
class FixedPeak(RampAndDrops):
    """Ramps up to `peak` in every cycle alike, then drops twice; the Oracle's building block.

    Parameters
    ----------
    peak : float
        Greatest learning rate, > 0.
    warmup, first, second : float
        Shares of the cycle at which the linear ramp ends and the drops to a tenth and to a
        hundredth come, in [0, 1], ``first <= second``.

    References
    ----------
    .. [1] S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for
       Iterative Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144 (LR-warmup, and one
       candidate of the Oracle's grid).
    """

    peak: Positive = 0.1

    reference: ClassVar[str] = "Liu et al., TMLR 2023, arXiv 2212.06144"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.01, "high": 0.3, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        return self.peak * self.factor(progress, cycle)
