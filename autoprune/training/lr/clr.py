"""Cyclic learning-rate restarting (CLR): a cosine from the dense run's greatest to its least."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.lr.profile import Restart


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CyclicRestart(Restart):
    """Warms up to the dense run's greatest rate, then falls to its least along a cosine.

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
    Step ``j`` of ``N`` after a warm-up of ``W`` steps:
    ``low + (top - low) * (1 + cos(pi * (j - W) / (N - W))) / 2``, ``top`` and ``low`` being the
    dense run's (card imp, c). The first reference's own form is torch's one-cycle rule:
    ``one_cycle`` with `pct` 0.1 and both divisors 100.

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
        low, top = cycle.dense_low, cycle.dense_peak
        fall = (1 + math.cos(math.pi * self.done(progress, cycle))) / 2
        return (low + (top - low) * fall) * self.risen(progress, cycle)
