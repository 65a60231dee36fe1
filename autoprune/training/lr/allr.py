"""Adaptive linear restarting (ALLR): LLR whose peak follows from damage and cycle length."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.lr.profile import Restart


@dataclass(frozen=True, config=STRICT, kw_only=True)
class AdaptiveRestart(Restart):
    """Warms up to a share of the dense run's greatest rate, then falls linearly.

    Parameters
    ----------
    warmup : float
        Share of the cycle spent on the cosine rise from 0, in [0, 0.5].
    variant : str
        ``final`` as below; ``v2`` takes the dense run's greatest rate in all cycles but the last;
        ``lcn`` counts the length of all cycles that are left, this one included.

    Raises
    ------
    ConfigError
        If there was no dense run (the task brought pretrained weights).

    Notes
    -----
    The share is ``min(1, max(d1, d2))``: ``d1 = ||w - w*m|| / ||w|| / sqrt(s)``, with ``w`` all
    parameters just before this cycle's pruning and ``s`` the fraction of the remaining weights it
    removed, and ``d2 = min(1, cycle length / dense length)`` (card imp, c). Where nothing was
    pruned before the cycle, ``d1`` is 0.
    `v2` and `lcn` are earlier variants, of the authors' 2022 code. Its LC and LCT, which put the
    drop in training accuracy in place of ``d1``, are left out: a cycle does not know the accuracy
    on the training images, and to measure it would take another pass over all of them.

    References
    ----------
    .. [1] M. Zimmer, C. Spiegel, S. Pokutta, "How I Learned to Stop Worrying and Love
       Retraining", ICLR 2023, arXiv 2111.00843.
    """

    variant: Literal["final", "v2", "lcn"] = "final"

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DENSE_CURVE, Need.TRAINED_START})
    reference: ClassVar[str] = "Zimmer et al., ICLR 2023, arXiv 2111.00843"
    space: ClassVar[dict[str, Any]] = {}

    def peak(self, cycle: CycleInfo) -> float:
        """Return the cycle's peak."""
        if self.variant == "v2" and cycle.index < cycle.count:
            return cycle.dense_peak
        cycles = cycle.count - cycle.index + 1 if self.variant == "lcn" else 1
        return cycle.dense_peak * min(1.0, max(_damage(cycle), cycles * cycle.length_ratio))

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        fall = 1 - self.done(progress, cycle)
        return self.peak(cycle) * self.risen(progress, cycle) * fall


def _damage(cycle: CycleInfo) -> float:
    """Return the relative norm lost over what it is when all weights are equally large."""
    share = cycle.round_share if cycle.share_lost is None else cycle.share_lost
    return cycle.norm_lost / math.sqrt(share) if share > 0 else 0.0
