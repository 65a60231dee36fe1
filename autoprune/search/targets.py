"""Which sparsity to ask for next: a sequence that fills the range of densities evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from autoprune.search.front import nondominated
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


def widest_gap(
    points: Sequence[tuple[float, float]], targets: Targets, taken: Sequence[float] = ()
) -> float | None:
    """Return the sparsity at which a further point could add most to what is dominated.

    Between two neighbours of the front a further point can add the rectangle that is as wide as
    their log densities are apart and as high as their errors are; the middle is asked for. Beyond
    the sparsest point it is as high as that point is better than chance; the end of the range is
    asked for.

    Parameters
    ----------
    points : sequence of (float, float)
        log10 density and error, 1 being chance; those of the front are picked.
    targets : Targets
        The range.
    taken : sequence of float
        Sparsities that somebody is out for: their gaps are left to them.

    Examples
    --------
    >>> widest_gap([(-0.3, 0.1), (-1.0, 0.2)], Targets(high=0.99))
    0.99
    >>> widest_gap([(-0.3, 0.1), (-1.3, 0.2), (-2.0, 0.2)], Targets(high=0.99)) is None
    True
    """
    stairs = sorted((points[i] for i in nondominated(points)), reverse=True)
    if not stairs:
        return None
    end = math.log10(1.0 - targets.high)
    gaps = [
        ((near - far) * (high - low), (near + far) / 2, near, far)
        for (near, low), (far, high) in pairwise(stairs)
    ]
    last, error = stairs[-1]
    gaps.append(((last - end) * (1.0 - error), end, last, end))
    densities = [math.log10(1.0 - sparsity) for sparsity in taken]
    free = [gap for gap in gaps if not any(gap[3] <= density < gap[2] for density in densities)]
    area, wanted, *_ = max(free, default=(0.0, 0.0))
    return round(1.0 - 10.0**wanted, 4) if area > 1e-9 else None


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
