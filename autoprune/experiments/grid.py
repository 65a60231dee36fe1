"""The grid of an Oracle, what lies near its best, and a SILO fitted to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.experiments.answers import worst
from autoprune.search.plans import StageCosts

FEW = 2
LEAST_SHARE = 0.1
"""From this share of its rise on, SILO's S-curve tells how high it goes."""


@dataclass(frozen=True)
class OracleOptions:
    """How an Oracle is asked.

    Parameters
    ----------
    base : TrialConfig
        An iterative trial, completed: its rounds are the cycles, its sparsity that of the last
        one. Its schedule is SILO's, whose profile inside a cycle every candidate has.
    peaks : tuple of float
        Candidates, ascending, > 0, at least two.
    seeds : tuple of int
        Replicates, at least one.
    epochs : int
        Epochs of one cycle.
    tolerance : float
        A candidate so close to the best validation accuracy of its cycle is as good.

    Raises
    ------
    ConfigError
        If a value breaks its rule.
    """

    base: TrialConfig
    peaks: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if len(self.peaks) < FEW:
            raise ConfigError(
                "--peaks",
                f"must be at least {FEW} learning rates: a grid of one decides nothing",
                len(self.peaks),
            )
        wrong = [peak for peak in self.peaks if not 0.0 < peak < math.inf]
        if wrong:
            raise ConfigError("--peaks", "must be learning rates > 0", wrong[0])
        if list(self.peaks) != sorted(set(self.peaks)):
            raise ConfigError("--peaks", "must ascend, each once", list(self.peaks))
        if not self.seeds:
            raise ConfigError("--seeds", "must be at least 1", 0)
        if self.epochs < 1:
            raise ConfigError("--epochs", "must be at least 1", self.epochs)
        if not 0.0 <= self.tolerance < 1.0:
            raise ConfigError("--tolerance", "must be in [0, 1)", self.tolerance)
        if self.base.lr.name != "silo":
            raise ConfigError("--lr", "must be silo, which the Oracle is asked about", self.base.lr)


def log_grid(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return `count` learning rates from `low` to `high`, even in the logarithm.

    Raises
    ------
    ConfigError
        If the ends are not ``0 < low < high``, or there are fewer than two.
    """
    if count < FEW:
        rule = f"must be at least {FEW} learning rates: a grid of one decides nothing"
        raise ConfigError("--peaks", rule, count)
    if not 0.0 < low < high < math.inf:
        raise ConfigError(
            "--low, --high", "must be learning rates with 0 < low < high", (low, high)
        )
    step = math.log(high / low) / (count - 1)
    inner = [float(f"{low * math.exp(step * k):.6g}") for k in range(1, count - 1)]
    return (low, *inner, high)


def interval(means: Sequence[float], tolerance: float) -> tuple[int, int]:
    """Return the ends of the contiguous candidates around the best within a tolerance of it.

    Parameters
    ----------
    means : sequence of float
        Mean accuracy of each candidate, in the order of the grid.
    tolerance : float
        Greatest distance to the best, a fraction.

    Returns
    -------
    int, int
        Positions of the first and the last candidate.

    Examples
    --------
    >>> interval([0.80, 0.896, 0.90, 0.897, 0.85, 0.899], 0.005)
    (1, 3)
    """
    best = list(means).index(max(means))

    def near(place: int) -> bool:
        # Shares of a finite set: the margin keeps rounding from deciding.
        return 0 <= place < len(means) and means[best] - means[place] <= tolerance + 1e-12

    low = high = best
    while near(low - 1):
        low -= 1
    while near(high + 1):
        high += 1
    return low, high


def fit_silo(
    shares: Sequence[float], peaks: Sequence[float], ends: tuple[float, float], own_rise: float
) -> dict[str, Any]:
    """Fit SILO's `low` and `rise` to peaks by least squares of their logarithms.

    Where the S-curve has hardly risen the rise cannot be told, and stays SILO's own.

    Parameters
    ----------
    shares : sequence of float
        The S-curve at each cycle, in [0, 1].
    peaks : sequence of float
        The peaks to meet, > 0.
    ends : tuple of float
        Least and greatest peak that may come out, at a share of 0 and of 1: those of the grid.
    own_rise : float
        SILO's rise, >= 0.

    Returns
    -------
    dict
        ``low`` > 0, ``rise`` >= 0, and ``rise_fitted``, whether the latter was told.
    """
    from scipy.optimize import least_squares

    if max(shares) < LEAST_SHARE:
        low = float(f"{math.exp(fmean(map(math.log, peaks))):.6g}")
        return {"low": low, "rise": max(0.0, min(own_rise, ends[1] - low)), "rise_fitted": False}

    def misses(values: Any) -> list[float]:
        low, top = (math.exp(value) for value in values)
        rise = max(0.0, top - low)
        return [
            math.log(low + rise * share) - math.log(peak)
            for share, peak in zip(shares, peaks, strict=True)
        ]

    bounds = (math.log(ends[0]), math.log(ends[1]))
    start = [
        min(max(math.log(p), bounds[0] + 1e-9), bounds[1] - 1e-9) for p in (peaks[0], peaks[-1])
    ]
    found = least_squares(misses, start, bounds=bounds)
    low, top = (math.exp(value) for value in found.x)
    low, rise = (float(f"{value:.6g}") for value in (low, max(0.0, top - low)))
    return {"low": low, "rise": rise, "rise_fitted": True}


@dataclass(frozen=True)
class Rival:
    """A schedule that runs through the Oracle's cycles.

    `config` is None while its parameters are not known yet, or for good with a `reason`.
    """

    name: str
    label: str
    config: TrialConfig | None = None
    reason: str = ""


def grid_cells(
    peaks: Sequence[float], scores: Sequence[Sequence[float]], statuses: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one cell per candidate: its mean and deviation over the seeds, its worst status."""
    cells = []
    for k, (peak, values) in enumerate(zip(peaks, scores, strict=True)):
        deviation = stdev(values) if len(values) > 1 else None
        status = worst(statuses[k * len(values) : (k + 1) * len(values)])
        mean = fmean(values)
        cells.append({"peak": peak, "val_accuracy": mean, "val_std": deviation, "status": status})
    return cells


def union(stages: Sequence[StageCosts]) -> StageCosts:
    """Return the stages of several jobs, each once."""
    return {key: cost for costs in stages for key, cost in costs.items()}
