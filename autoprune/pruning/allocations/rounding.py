"""Shares to integers: the one routine that turns proportions into exact counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from autoprune.core.errors import ConfigError


def fill(
    caps: Sequence[int], floors: Sequence[int], weights: Sequence[int | Fraction], kept: int
) -> list[int]:
    """Distribute `kept` units in proportion to `weights`, within floors and caps.

    Parameters
    ----------
    caps, floors : sequence of int
        The most and the least each layer may keep, ``0 <= floor <= cap``.
    weights : sequence of int or Fraction
        What the counts are proportional to, > 0.
    kept : int
        Number of units to hand out.

    Returns
    -------
    list of int
        Counts that sum to `kept` exactly.

    Raises
    ------
    ConfigError
        If `kept` lies outside ``[sum(floors), sum(caps)]``.

    Notes
    -----
    Water-filling (card sparsity_schedules, c3): the scalar ``c`` with
    ``sum(clip(c * weight, floor, cap)) == kept``, then the largest remainders. Rational
    arithmetic, so that equal remainders are ties and not rounding noise.

    Examples
    --------
    >>> fill([10, 10, 2], [1, 1, 1], [1, 1, 3], 7)
    [3, 2, 2]
    """
    if not sum(floors) <= kept <= sum(caps):
        rule = f"must keep between {sum(floors)} and {sum(caps)} units in all"
        raise ConfigError("allocation", rule, kept, "choose another sparsity or allocation")

    def targets(level: Fraction) -> list[Fraction]:
        return [
            min(max(level * weight, Fraction(floor)), Fraction(cap))
            for cap, floor, weight in zip(caps, floors, weights, strict=True)
        ]

    # The sum is piecewise linear in the level; its kinks are where a layer meets a bound.
    bounds = (*zip(caps, weights, strict=True), *zip(floors, weights, strict=True))
    kinks = sorted({Fraction(bound) / weight for bound, weight in bounds} | {Fraction(0)})
    upper = bisect_left(kinks, Fraction(kept), key=lambda level: sum(targets(level), Fraction(0)))
    high = targets(kinks[upper])
    low = targets(kinks[max(upper - 1, 0)])
    rise = sum(high) - sum(low)
    part = (kept - sum(low)) / rise if rise else Fraction(0)
    real = [a + part * (b - a) for a, b in zip(low, high, strict=True)]
    counts = [int(target) for target in real]
    # Tie-break: equal remainders go to the earlier layer (the sort is stable).
    order = sorted(range(len(real)), key=lambda layer: counts[layer] - real[layer])
    for layer in order[: kept - sum(counts)]:
        counts[layer] += 1
    return counts
