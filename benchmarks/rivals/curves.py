"""From decisions to hypervolume over epochs, and to the epochs an arm needs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autoprune.core.records import TaskInfo
from autoprune.search.front import hypervolume, nondominated, values
from benchmarks.rivals.log import Finished, Row

OBJECTIVES = ("accuracy", "sparsity")
Values = tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """What a run had by when.

    Parameters
    ----------
    steps : list of (float, float)
        Epochs charged after a decision, and the hypervolume, on the test split, of the front that
        validation chose among all networks up to then. It is a front that is looked at again and
        again, so the value may fall a little when validation prefers what test does not.
    """

    steps: list[tuple[float, float]]

    def at(self, epochs: float) -> float:
        """Return the hypervolume when so many epochs were charged; 0 before the first decision.

        A decision counts when it is paid for: one that goes beyond is not in.
        """
        found = 0.0
        for spent, value in self.steps:
            if spent > epochs:
                break
            found = value
        return found

    def first_at(self, wanted: float, budget: float) -> float:
        """Return after how many epochs a value was reached first; infinity within the budget."""
        reached = (spent for spent, value in self.steps if value >= wanted and spent <= budget)
        return next(reached, math.inf)


def curve(rows: Sequence[Row], info: TaskInfo) -> Curve:
    """Return a run's curve.

    Scaling and reference are those of every study, and so fixed in advance: error 0 to 1, which is
    chance, log10 density 0 to -3, reference (1, 0).
    """
    steps: list[tuple[float, float]] = []
    front: list[tuple[Values, Values]] = []
    last = 0.0
    for row in rows:
        fresh = [_scaled(point, info) for point in row["points"]]
        if fresh:
            front += fresh
            front = [front[i] for i in nondominated([val for val, _ in front])]
            last = hypervolume([test for _, test in front])
        steps.append((row["spent"], last))
    return Curve(steps)


def _scaled(point: dict[str, Any], info: TaskInfo) -> tuple[Values, Values]:
    val, test = (values(point, OBJECTIVES, info, split) for split in ("val", "test"))
    return val, test


@dataclass(frozen=True)
class Runs:
    """Every complete run that was found.

    Parameters
    ----------
    finished : dict
        Arm and seed to the run.
    """

    finished: dict[tuple[str, int], Finished] = field(default_factory=dict)

    @cached_property
    def curves(self) -> dict[tuple[str, int], Curve]:
        """Every run's curve."""
        return {key: curve(run.rows, run.info) for key, run in self.finished.items()}

    @property
    def arms(self) -> list[str]:
        """Arms with a run, in the order they were found."""
        return list(dict.fromkeys(arm for arm, _ in self.finished))

    def seeds(self, *arms: str, epochs: float = 0.0) -> list[int]:
        """Return the seeds that every one of these arms has, with a budget of so many epochs."""
        long = [key for key, run in self.finished.items() if run.about["epochs"] >= epochs]
        each = [{seed for arm, seed in long if arm == name} for name in arms]
        return sorted(set.intersection(*each)) if each else []

    @cached_property
    def budget(self) -> float:
        """The greatest budget of a run."""
        return max((run.about["epochs"] for run in self.finished.values()), default=0.0)

    def at(self, arm: str, epochs: float, seeds: Sequence[int] | None = None) -> list[float]:
        """Return an arm's hypervolumes, by seed; runs of a lesser budget are left out."""
        wanted = self.seeds(arm, epochs=epochs) if seeds is None else seeds
        return [self.curves[arm, seed].at(epochs) for seed in wanted]

    def best(self, arms: Sequence[str], epochs: float) -> str | None:
        """Return the arm of greatest median hypervolume, the first one where they tie."""
        there = [arm for arm in arms if self.seeds(arm, epochs=epochs)]
        if not there:
            return None
        return max(there, key=lambda arm: statistics.median(self.at(arm, epochs)))

    def epochs_to_reach(self, arm: str, rival: str, budget: float) -> dict[int, float]:
        """Return, by seed, after how many epochs an arm had what the rival has at the budget.

        Runs of a lesser budget are left out.
        """
        return {
            seed: self.curves[arm, seed].first_at(self.curves[rival, seed].at(budget), budget)
            for seed in self.seeds(arm, rival, epochs=budget)
        }


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third, by linear interpolation.

    Infinite ones are kept: a quartile that lies between a number and infinity is infinite.

    Examples
    --------
    >>> quartiles([1.0, 2.0, 3.0, 4.0, math.inf])
    (2.0, 3.0, 4.0)
    """
    ordered = sorted(numbers)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        between = place - math.floor(place)
        return low if not between or low == high else low + (high - low) * between

    return quantile(0.25), quantile(0.5), quantile(0.75)


@dataclass(frozen=True)
class Wilcoxon:
    """The paired signed-rank test, exact.

    Parameters
    ----------
    two_sided, greater : float or None
        Probabilities; None where all pairs are equal. `greater` is for the first being greater.
    """

    n: int
    two_sided: float | None
    greater: float | None


def wilcoxon(ours: Sequence[float], theirs: Sequence[float]) -> Wilcoxon:
    """Compare pairs; those that are equal are left out.

    Examples
    --------
    >>> wilcoxon([0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.1, 0.1, 0.1, 0.1]).greater
    0.03125
    """
    from scipy.stats import wilcoxon as test

    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    if not pairs:
        return Wilcoxon(0, None, None)
    gaps = [a - b for a, b in pairs]
    both, one = (
        float(test(gaps, alternative=side, method="exact").pvalue)
        for side in ("two-sided", "greater")
    )
    return Wilcoxon(len(pairs), both, one)
