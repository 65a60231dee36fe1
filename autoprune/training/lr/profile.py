"""Shapes inside a cycle that several schedules share."""

from __future__ import annotations

import math


def warmup_factor(progress: float, warmup: float) -> float:
    """Return the cosine rise from 0 to 1 over the first `warmup` of a cycle; 1 afterwards.

    ``(1 - cos(pi * progress / warmup)) / 2`` (card imp, c).
    """
    if progress >= warmup:
        return 1.0
    return (1 - math.cos(math.pi * progress / warmup)) / 2


def after_warmup(progress: float, warmup: float) -> float:
    """Return the share done of what follows the warm-up, 0 during it."""
    return max(0.0, (progress - warmup) / (1 - warmup))


def ramp_and_drops(progress: float, warmup: float, first: float, second: float) -> float:
    """Return SILO's in-cycle profile: a linear ramp from 0, then a tenth, then a hundredth.

    Parameters
    ----------
    progress : float
        Share of the cycle that is done, in [0, 1).
    warmup, first, second : float
        Shares of the cycle at which the ramp ends and the drops to a tenth and a hundredth
        come; a drop overrides a ramp that has not ended (card silo, c4).
    """
    if progress >= second:
        return 0.01
    if progress >= first:
        return 0.1
    return 1.0 if progress >= warmup else progress / warmup
