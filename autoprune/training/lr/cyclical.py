"""Cyclical: triangles between a low and a peak learning rate."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, NonNegative, Positive
from autoprune.training.lr.base import CycleInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Cyclical:
    """Rises from `low` to `peak` and back in straight lines, `periods` times in a cycle.

    Parameters
    ----------
    peak : float
        Learning rate in the middle of every triangle, > 0.
    low : float
        Learning rate at the ends of every triangle, in [0, `peak`).
    periods : int
        Triangles of equal length in a cycle, >= 1.

    Notes
    -----
    ``low + (peak - low) * (1 - |2 x - 1|)`` with ``x`` in [0, 1) the place in the triangle: the
    paper's triangular policy with a step size of half a triangle (card silo, c). With step ``j``
    of ``n`` at progress ``j / n`` the next triangle's first step stands for the last one's end.

    References
    ----------
    .. [1] L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
       arXiv 1506.01186.
    """

    peak: Positive = 0.1
    low: NonNegative = 0.01
    periods: Annotated[int, Field(ge=1)] = 1

    reference: ClassVar[str] = "Smith, WACV 2017, arXiv 1506.01186"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.02, "high": 0.5, "log": True}}

    @model_validator(mode="after")
    def _low_below_peak(self) -> Self:
        if self.low >= self.peak:
            raise ValueError(f"low must be below peak = {self.peak:g}, not {self.low:g}")
        return self

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        place = progress * self.periods % 1.0
        return self.low + (self.peak - self.low) * (1 - abs(2 * place - 1))
