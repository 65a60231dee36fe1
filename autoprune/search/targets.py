"""Which sparsity to ask for next: a sequence that fills the range of densities evenly."""

from __future__ import annotations

import math

from autoprune.space import Targets

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
ALWAYS_EVERY = 4


def target(index: int, targets: Targets) -> float:
    """Return the sparsity at a position of the sequence.

    The named targets come first and then at every fourth position; between them stands a
    golden-ratio sequence, even in the negative logarithm of the density: any stretch of it is
    spread over the whole range.

    Parameters
    ----------
    index : int
        Position, from 0.
    targets : Targets
        The range and the named targets.
    """
    named = len(targets.always)
    if index < named:
        return targets.always[index]
    since = index - named
    if named and since % ALWAYS_EVERY == ALWAYS_EVERY - 1:
        return targets.always[since // ALWAYS_EVERY % named]
    position = since - (since // ALWAYS_EVERY if named else 0)
    return at((0.5 + position * GOLDEN) % 1.0, targets.low, targets.high)


def at(share: float, low: float, high: float) -> float:
    """Return the sparsity that lies a share of the way from `low` to `high`, in log density."""
    near, far = math.log10(1.0 - low), math.log10(1.0 - high)
    return round(1.0 - math.pow(10.0, near + share * (far - near)), 4)


def within(sparsity: float, targets: Targets, low: float, high: float) -> float:
    """Map a target into what a method reaches, keeping its relative place in the range.

    Raises
    ------
    ValueError
        If the method reaches none of the range.
    """
    if low <= sparsity <= high:
        return sparsity
    bottom, top = max(low, targets.low), min(high, targets.high)
    if bottom > top:
        raise ValueError(f"nothing between {bottom} and {top}")
    near, far = math.log10(1.0 - targets.low), math.log10(1.0 - targets.high)
    share = (math.log10(1.0 - sparsity) - near) / (far - near)
    return min(max(at(min(max(share, 0.0), 1.0), bottom, top), bottom), top)
