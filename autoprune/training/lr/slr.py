"""Scaled learning-rate restarting (SLR): the whole dense schedule, compressed into the cycle."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.lr.profile import Restart


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScaledRestart(Restart):
    """Warms up, then plays the dense run's schedule from its greatest rate on, at another speed.

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
    After the warm-up of ``W`` steps, step ``j`` of ``N`` takes the dense run's rate at step
    ``floor((j - W) * T / (N - W))`` of ``T``, with the greatest rate wherever the dense run was
    still warming up itself (card imp, c).
    # Deviation: the warm-up is that of the second reference, per step and from 0; the first one's
    # own rises per epoch from a hundredth of the peak.

    References
    ----------
    .. [1] D. H. Le, B.-S. Hua, "Network Pruning That Matters: A Case Study on Retraining
       Variants", ICLR 2021, arXiv 2105.03193.
    .. [2] M. Zimmer, C. Spiegel, S. Pokutta, "How I Learned to Stop Worrying and Love
       Retraining", ICLR 2023, arXiv 2111.00843.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DENSE_CURVE})
    reference: ClassVar[str] = "Le & Hua, ICLR 2021, arXiv 2105.03193"
    space: ClassVar[dict[str, Any]] = {}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        rates = cycle.dense_rates
        # The margin keeps rounding noise from falling one step short of a whole one.
        step = math.floor(self.done(progress, cycle) * len(rates) + 1e-7)
        if step < cycle.dense_peak_at:
            return cycle.dense_peak * self.risen(progress, cycle)
        return rates[min(step, len(rates) - 1)] * self.risen(progress, cycle)
