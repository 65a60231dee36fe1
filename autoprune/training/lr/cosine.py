"""Cosine: down to 0 along half a cosine."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import CosineRise


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Cosine(CosineRise):
    """Rises to `peak` over the warm-up, then falls along a cosine that would reach 0 at the end.

    Parameters
    ----------
    peak : float
        Greatest learning rate, > 0.
    warmup : float
        Share of the cycle spent on the cosine rise from 0, in [0, 0.5].

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
       ICLR 2017, arXiv 1608.03983, equation 5 (one period, least learning rate 0).
    """

    peak: Positive = 0.1

    reference: ClassVar[str] = "Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.01, "high": 0.5, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        fall = (1 + math.cos(math.pi * self.done(progress, cycle))) / 2
        return self.peak * self.risen(progress, cycle) * fall
