"""Listed peaks: SILO's profile inside the cycle, under a peak of its own for each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, LRConfig
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import RampAndDrops


def _are_rates(peaks: str) -> str:
    try:
        fine = all(0.0 < float(peak) < float("inf") for peak in peaks.split(","))
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be learning rates > 0, separated by commas, such as 0.05,0.1")
    return peaks


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Listed(RampAndDrops):
    """Ramps up to the cycle's own peak, then drops twice: what an Oracle found, to run again.

    Parameters
    ----------
    peaks : str
        Greatest learning rate of each cycle, the first one first, separated by commas, all > 0;
        the last one holds for all cycles that follow.
    warmup, first, second : float
        Shares of the cycle at which the linear ramp ends and the drops to a tenth and to a
        hundredth come, in [0, 1], ``first <= second``.

    References
    ----------
    .. [1] S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for
       Iterative Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144 (the Oracle).
    """

    peaks: Annotated[str, AfterValidator(_are_rates)] = "0.1"

    reference: ClassVar[str] = "Liu et al., TMLR 2023, arXiv 2212.06144"
    space: ClassVar[dict[str, Any]] = {}

    @property
    def values(self) -> tuple[float, ...]:
        """The peaks as numbers."""
        return tuple(float(peak) for peak in self.peaks.split(","))

    def peak(self, cycle: CycleInfo) -> float:
        """Return the cycle's peak."""
        place = max(cycle.index, 1) - 1
        return self.values[min(place, len(self.values) - 1)]

    def narrowed(self, cycle: CycleInfo) -> LRConfig:
        """Return the schedule that this one is within a cycle."""
        return self.profile_under(self.peak(cycle))

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        return self.peak(cycle) * self.factor(progress, cycle)
