"""One cycle: a cosine up to the peak, and another down to next to nothing."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class OneCycle:
    """Rises to `peak` over the share `pct` of a cycle, then falls far below where it started.

    Parameters
    ----------
    peak : float
        Greatest learning rate, > 0.
    pct : float
        Share of the cycle that rises, in (0, 1).
    div : float
        `peak` over the first learning rate, >= 1.
    final_div : float
        The first learning rate over the last, >= 1.

    Notes
    -----
    With ``a = pct * N - 1`` at step ``j`` of ``N``: a half cosine from ``peak / div`` to `peak` on
    ``0..a``, another to ``peak / (div * final_div)`` at ``N - 1`` (card imp, c: torch's rule, whose
    defaults these are; the retraining study uses 0.1, 100 and 100).
    # Deviation: the momentum stays as it is; torch's own schedule swings it the other way.

    References
    ----------
    .. [1] L. N. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using
       Large Learning Rates", 2018, arXiv 1708.07120.
    .. [2] D. H. Le, B.-S. Hua, "Network Pruning That Matters: A Case Study on Retraining
       Variants", ICLR 2021, arXiv 2105.03193.
    """

    peak: Positive = 0.1
    pct: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    div: Annotated[float, Field(ge=1.0)] = 25.0
    final_div: Annotated[float, Field(ge=1.0)] = 1e4

    reference: ClassVar[str] = "Smith & Topin, arXiv 1708.07120; Le & Hua, ICLR 2021"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.02, "high": 0.5, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        step = 0.0 if cycle.num_steps is None else 1 / cycle.num_steps
        top, end = self.pct - step, 1.0 - step
        first = self.peak / self.div
        if top > 0.0 and progress <= top:
            return _between(first, self.peak, progress / top)
        return _between(self.peak, first / self.final_div, min((progress - top) / (end - top), 1.0))


def _between(start: float, stop: float, share: float) -> float:
    """Go from one value to another along half a cosine."""
    return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2
