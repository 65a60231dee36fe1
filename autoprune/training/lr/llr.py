"""Linear learning-rate restarting (LLR): a line from the dense run's greatest rate to 0."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.lr.profile import Restart


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LinearRestart(Restart):
    """Warms up to the dense run's greatest rate, then falls linearly and would end at 0.

    Parameters
    ----------
    warmup : float
        Share of the cycle spent on the cosine rise from 0, in [0, 0.5].

    Raises
    ------
    ConfigError
        If there was no dense run (the task brought pretrained weights).

    Notes
    -----
    Step ``j`` of ``N`` after a warm-up of ``W`` steps: ``top * (1 - (j - W) / (N - W))`` (card imp,
    c). ``linear`` is the same with a peak of its own.

    References
    ----------
    .. [1] M. Zimmer, C. Spiegel, S. Pokutta, "How I Learned to Stop Worrying and Love
       Retraining", ICLR 2023, arXiv 2111.00843.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DENSE_CURVE})
    reference: ClassVar[str] = "Zimmer et al., ICLR 2023, arXiv 2111.00843"
    space: ClassVar[dict[str, Any]] = {}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        fall = 1 - self.done(progress, cycle)
        return cycle.dense_peak * self.risen(progress, cycle) * fall
