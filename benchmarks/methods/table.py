"""What the rows say: means, spreads and paired differences."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from autoprune.metrics.statistics import Comparison, paired

Row = dict[str, Any]


@dataclass(frozen=True)
class Gap:
    """A paired difference of test accuracies over seeds, in points.

    Parameters
    ----------
    found : Comparison
        The difference, as fractions.
    """

    found: Comparison

    @property
    def mean(self) -> float:
        """Mean."""
        return 100 * self.found.difference

    @property
    def half(self) -> float:
        """Half of its 95 % interval; infinite from one pair."""
        low, high = self.found.low, self.found.high
        return math.inf if low is None or high is None else 50 * (high - low)

    @property
    def noise(self) -> bool:
        """Whether the interval holds 0."""
        return self.found.outcome in ("within noise", "no interval")

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.half:.2f}"


class Table:
    """Final rows of one setting, by label and target."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows: dict[tuple[str, float], dict[int, Row]] = {}
        for row in rows:
            self._rows.setdefault((row["label"], row["target"]), {})[row["seed"]] = row

    def has(self, label: str, target: float) -> bool:
        """Whether a label was measured there."""
        return (label, target) in self._rows

    def rows(self, label: str, target: float) -> list[Row]:
        """Return the rows of a label, in the order of their seeds."""
        found = self._rows[label, target]
        return [found[seed] for seed in sorted(found)]

    def accuracies(self, label: str, target: float) -> list[float]:
        """Return test accuracies in percent; a run that gave no model counts as it tested."""
        return [100 * accuracy for accuracy in self._fractions(label, target)]

    def mean(self, label: str, target: float) -> float:
        """Return the mean test accuracy in percent."""
        return statistics.fmean(self.accuracies(label, target))

    def metric(self, label: str, target: float, name: str) -> float:
        """Return the median of a metric; 0 where it was not logged."""
        return statistics.median(r["metrics"].get(name, 0.0) for r in self.rows(label, target))

    def density(self, label: str, target: float, layer: str) -> float:
        """Return the mean kept share of a layer."""
        return statistics.fmean(row["layers"][layer] for row in self.rows(label, target))

    def gap(self, one: str, other: str, target: float) -> Gap:
        """Return how many points `one` lies above `other`, seed by seed."""
        return Gap(paired(self._fractions(one, target), self._fractions(other, target)))

    def _fractions(self, label: str, target: float) -> list[float]:
        return [row["metrics"]["test_accuracy"] for row in self.rows(label, target)]
