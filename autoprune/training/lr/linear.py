"""Linear: down to 0 in a straight line."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import CosineRise


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Linear(CosineRise):
    """Rises to `peak` over the warm-up, then falls linearly and would reach 0 at the end.

    Parameters
    ----------
    peak : float
        Greatest learning rate, > 0.
    warmup : float
        Share of the cycle spent on the cosine rise from 0, in [0, 0.5].

    Notes
    -----
    With step ``j`` of ``n`` at progress ``j / n`` the last step still learns at
    ``peak / (n - warm-up steps)``. The paper's LLR is a peak equal to the dense run's and a
    warm-up of 0.1 (card imp, c): the schedule ``llr``.

    References
    ----------
    .. [1] M. Zimmer, C. Spiegel, S. Pokutta, "How I Learned to Stop Worrying and Love
       Retraining", ICLR 2023, arXiv 2111.00843.
    """

    peak: Positive = 0.1

    reference: ClassVar[str] = "Zimmer et al., ICLR 2023, arXiv 2111.00843"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.01, "high": 0.5, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        fall = 1 - self.done(progress, cycle)
        return self.peak * self.risen(progress, cycle) * fall
