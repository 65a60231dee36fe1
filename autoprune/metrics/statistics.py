"""Intervals of accuracies. Torch-free; scipy is imported when asked for an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NORMAL_975 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


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
        from scipy.stats import t

        point = float(t.ppf(0.975, count - 1))
        seeds = point * statistics.stdev(accuracies) / math.sqrt(count)
    sampling = NORMAL_975 * math.sqrt(max(0.0, mean * (1.0 - mean)) / num_examples)
    return Interval(mean, math.hypot(seeds, sampling), count)
