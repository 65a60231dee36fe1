"""Constant: one learning rate throughout."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Constant:
    """Keeps the learning rate at `peak`; with a low peak this is fine-tuning.

    Parameters
    ----------
    peak : float
        Learning rate, > 0.

    References
    ----------
    .. [1] S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for
       Efficient Neural Networks", NeurIPS 2015, arXiv 1506.02626.
    """

    peak: Positive = 0.01

    reference: ClassVar[str] = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.001, "high": 0.1, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the peak."""
        return self.peak
