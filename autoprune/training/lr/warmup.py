"""Warm-up: a rise to the peak, and the peak from there on."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive, Share
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import linear_ramp


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Warmup:
    """Rises to `peak` over the share `warmup` of a cycle, and stays there.

    Parameters
    ----------
    peak : float
        Greatest learning rate, > 0.
    warmup : float
        Share of the cycle that rises, in [0, 1].
    shape : str
        ``linear``, or ``cosine`` for half a cosine.

    Notes
    -----
    Step ``j`` of ``W`` learns at ``peak * x``, or at ``peak * (1 - cos(pi * x)) / 2``, with
    ``x = (j + 1) / W``: the first step learns, the step ``W - 1`` is at the peak. SILO's baseline
    of this name drops twice after the rise: that is ``fixed_peak``.

    References
    ----------
    .. [1] P. Goyal, P. Dollar, R. Girshick, P. Noordhuis, L. Wesolowski, A. Kyrola, A. Tulloch,
       Y. Jia, K. He, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017,
       arXiv 1706.02677, section 2.2 (gradual warm-up).
    """

    peak: Positive = 0.1
    warmup: Share = 0.1
    shape: Literal["linear", "cosine"] = "linear"

    reference: ClassVar[str] = "Goyal et al., arXiv 1706.02677"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.01, "high": 0.3, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        risen = linear_ramp(progress, self.warmup, cycle)
        if self.shape == "cosine":
            risen = (1 - math.cos(math.pi * risen)) / 2
        return self.peak * risen
