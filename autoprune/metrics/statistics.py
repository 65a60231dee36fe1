"""Intervals of accuracies, and comparisons of two of them. Torch-free; scipy comes late."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autoprune.core.errors import DataError

Outcome = Literal["better", "worse", "within noise", "no interval"]

NORMAL_975 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

_ROUNDING = 1e-12  # relative; differences this close come from the last bits of the accuracies


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, both as fractions.

    Parameters
    ----------
    mean : float
        Mean over the seeds.
    half_width : float
        Half the interval's width; the interval is not cut off at 0 or 1.
    num_seeds : int
        Seeds behind the mean.
    """

    mean: float
    half_width: float
    num_seeds: int

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width


def accuracy_interval(accuracies: Sequence[float], num_examples: int) -> Interval:
    """Return the 95 % interval of an accuracy measured with several seeds on one test set.

    Parameters
    ----------
    accuracies : sequence of float
        One per seed, at least one, each in [0, 1].
    num_examples : int
        Size N of the test set, >= 1.

    Notes
    -----
    The half width is ``sqrt((t s / sqrt(n))^2 + (1.96 sqrt(p (1 - p) / N))^2)``: ``s`` is the
    sample deviation over ``n`` seeds, ``t`` Student's 97.5 % point with ``n - 1`` degrees of
    freedom, ``p`` the mean. The second term is the test set's own chance. One seed has no first
    term: its interval says nothing about training again.
    """
    mean = statistics.fmean(accuracies)
    count = len(accuracies)
    seeds = 0.0
    if count > 1:
        from scipy.special import stdtrit  # scipy.stats takes seconds to import

        point = float(stdtrit(count - 1, 0.975))
        seeds = point * statistics.stdev(accuracies) / math.sqrt(count)
    sampling = NORMAL_975 * math.sqrt(max(0.0, mean * (1.0 - mean)) / num_examples)
    return Interval(mean, math.hypot(seeds, sampling), count)


@dataclass(frozen=True)
class Comparison:
    """How far one accuracy lies above another, and whether that is more than chance.

    Parameters
    ----------
    difference : float
        The first minus the second; a fraction, as `low`, `high` and `detectable` are.
    low, high : float or None
        Its 95 % interval; None where there is none.
    p_value : float or None
        Two-sided; None where the comparison has no test.
    num_pairs : int
        Seeds that both were measured with; 0 if the comparison is not paired.
    detectable : float or None
        Smallest true difference that as many pairs find with power 0.8 (`smallest_detectable`);
        None without a deviation to work it out from.
    outcome : str
        Whether the first is better; "within noise" where the interval holds 0.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    num_pairs: int
    detectable: float | None
    outcome: Outcome

    @property
    def text(self) -> str:
        """Word it for a reader, in points.

        Examples
        --------
        >>> paired([0.90, 0.91, 0.92], [0.85, 0.86, 0.88]).text
        '+4.67 points (3.23 to 6.10, n = 3 pairs)'
        >>> paired([0.90, 0.91, 0.92], [0.92, 0.91, 0.90]).text
        'within noise: +0.00 points, and with 3 pairs nothing under 6.53 would show'
        """
        points = f"{100 * self.difference:+z.2f} points"
        if self.low is None or self.high is None:
            return f"{points} from one pair, no interval"
        noise = "within noise: " if self.outcome == "within noise" else ""
        if noise and self.detectable:
            least = f"{100 * self.detectable:.2f}"
            return (
                f"{noise}{points}, and with {self.num_pairs} pairs nothing under {least} would show"
            )
        pairs = f"n = {self.num_pairs} pairs" if self.num_pairs else "unpaired"
        return f"{noise}{points} ({100 * self.low:z.2f} to {100 * self.high:z.2f}, {pairs})"


def paired(first: Sequence[float], second: Sequence[float], resolution: float = 0.0) -> Comparison:
    """Compare two accuracies measured with the same seeds.

    Parameters
    ----------
    first, second : sequence of float
        Accuracies as fractions, one per seed, in the same order of seeds; at least one.
    resolution : float
        Step in which accuracies come, 1 / N for N examples: differences that happen to be equal
        are taken to deviate by as much, >= 0.

    Returns
    -------
    Comparison
        Of `first` minus `second`. One pair has no interval and no p-value.

    Raises
    ------
    DataError
        If the lengths differ, nothing is given, or a value is not finite. It is a ValueError.

    Notes
    -----
    The interval is ``d ± t s / sqrt(n)``: ``d`` is the mean and ``s`` the sample deviation of the
    ``n`` differences, ``t`` Student's 97.5 % point with ``n - 1`` degrees of freedom. The p-value
    is that of the paired t test, so it is under 0.05 exactly where the interval leaves out 0.

    Where all differences are equal (but for rounding) the interval is the point ``d`` and
    `detectable` is 0. If they are all 0, p is 1: nothing speaks against equality. Otherwise p is
    None: the t test would give 0, a certainty that a few pairs do not have, from a deviation
    that only looks like 0 because accuracies come in steps.
    """
    if len(first) != len(second) or not first:
        raise DataError(
            "a paired comparison",
            "needs as many accuracies on both sides, one at least",
            (len(first), len(second)),
        )
    if not all(map(math.isfinite, (*first, *second))):
        raise DataError("a paired comparison", "needs finite accuracies", (*first, *second))
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    count = len(gaps)
    rounding = _ROUNDING * max(map(abs, (*first, *second)))
    mean = statistics.fmean(gaps)
    mean = 0.0 if abs(mean) <= rounding else mean
    if count == 1:
        return Comparison(mean, None, None, None, 1, None, "no interval")
    deviation = max(statistics.stdev(gaps), resolution if mean else 0.0)
    if deviation <= rounding:
        p_value = None if mean else 1.0
        return Comparison(mean, mean, mean, p_value, count, 0.0, _outcome(mean, mean))
    from scipy.special import stdtr, stdtrit

    error = deviation / math.sqrt(count)
    half = float(stdtrit(count - 1, 0.975)) * error
    low, high = mean - half, mean + half
    p_value = 2.0 * float(stdtr(count - 1, -abs(mean) / error))
    detectable = smallest_detectable(deviation, count)
    return Comparison(mean, low, high, p_value, count, detectable, _outcome(low, high))


def smallest_detectable(
    deviation: float, num_pairs: int, power: float = 0.8, level: float = 0.05
) -> float:
    """Return the smallest true difference that a paired t test finds with a given power.

    Parameters
    ----------
    deviation : float
        Sample deviation of the differences, >= 0, in the unit of the result.
    num_pairs : int
        Pairs; with fewer than 2 nothing is ever found and the result is infinite.
    power : float
        Chance of finding it, in (`level`, 1).
    level : float
        Level of the two-sided test, in (0, 1).

    Raises
    ------
    DataError
        If the deviation is negative, or not ``0 < level < power < 1``.

    Notes
    -----
    Solves ``P(T > t_{1 - level/2}) = power`` for the noncentrality ``difference * sqrt(n) /
    deviation`` of Student's noncentral ``T`` with ``n - 1`` degrees of freedom. A test that comes
    out significant with the wrong sign has not found the difference. The common approximation
    ``(t_{1 - level/2} + t_{power}) deviation / sqrt(n)`` is 14 % too small at two pairs, 5 % at
    three, 2 % at four (defaults).
    """
    if not deviation >= 0:
        raise DataError("a deviation of differences", "must be >= 0", deviation)
    if not 0 < level < power < 1:
        raise DataError("level and power", "must be 0 < level < power < 1", (level, power))
    if num_pairs < 2:
        return math.inf
    from scipy.optimize import brentq
    from scipy.special import nctdtr, stdtrit

    freedom = num_pairs - 1
    point = float(stdtrit(freedom, 1.0 - level / 2))
    most = point
    while 1.0 - nctdtr(freedom, most, point) < power:
        most *= 2
    shift = float(brentq(lambda nc: 1.0 - nctdtr(freedom, nc, point) - power, 0.0, most))
    return shift * deviation / math.sqrt(num_pairs)


def unpaired(first: tuple[float, float, float], second: tuple[float, float, float]) -> Comparison:
    """Compare two accuracies through their 95 % intervals alone.

    Parameters
    ----------
    first, second : tuple of float
        Mean, lower and upper end, as fractions; the ends need not be equally far away.

    Returns
    -------
    Comparison
        Of `first` minus `second`, without a p-value.

    Notes
    -----
    The interval of the difference is put together from the two intervals (method of variance
    estimates recovery): ``d - sqrt((a - la)^2 + (ub - b)^2)`` to ``d + sqrt((ua - a)^2 +
    (b - lb)^2)``. It takes the two as independent, which is cautious where they share their
    seeds or their images.

    References
    ----------
    .. [1] G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a
       general approach", Statistics in Medicine 27, 2008.
    """
    (a, low_a, high_a), (b, low_b, high_b) = first, second
    gap = a - b
    low = gap - math.hypot(a - low_a, high_b - b)
    high = gap + math.hypot(high_a - a, b - low_b)
    return Comparison(gap, low, high, None, 0, None, _outcome(low, high))


def _outcome(low: float, high: float) -> Outcome:
    return "better" if low > 0 else "worse" if high < 0 else "within noise"
