"""The dimensions of a search space: choices and ranges, each perhaps under a condition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Value = bool | int | float | str | None
Flat = dict[str, Value]

ABSENT = -1.0


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Parameters
    ----------
    path : str
        Where it stands in the space, such as ``method.imp.rounds``.
    values : tuple
        What may be drawn, in the order of the file.
    when : (str, str) or None
        Another dimension and the value it must have for this one to exist.
    """

    path: str
    values: tuple[Value, ...]
    when: tuple[str, str] | None = None

    @property
    def width(self) -> int:
        """Columns of the encoding: one per value, one for absence."""
        return len(self.values) + (self.when is not None)

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a value, all alike."""
        return self.values[int(rng.integers(len(self.values)))]

    def neighbour(self, value: Value, rng: np.random.Generator) -> Value:
        """Draw another value, or the same when there is no other."""
        others = [v for v in self.values if v != value]
        return others[int(rng.integers(len(others)))] if others else value

    def columns(self, value: Value, absent: bool) -> list[float]:
        """Encode one-hot, absence being a value of its own."""
        row = [0.0] * self.width
        row[-1 if absent else self.values.index(value)] = 1.0
        return row

    def grid(self) -> list[Value]:
        """Return the values a grid search tries."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included.

    Parameters
    ----------
    path, when
        As for `Choice`.
    low, high : float
        The ends, ``low < high``.
    log : bool
        Even in the logarithm rather than in the value.
    step : float or None
        Distance of the allowed values from `low` on.
    integer : bool
        Only whole numbers.
    """

    path: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False
    when: tuple[str, str] | None = None

    @property
    def width(self) -> int:
        """Columns of the encoding."""
        return 1

    def to_unit(self, value: float) -> float:
        """Map a value onto [0, 1]."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """Map [0, 1] onto the nearest allowed value."""
        if self.log:
            value = float(self.low * (self.high / self.low) ** unit)
        else:
            value = self.low + unit * (self.high - self.low)
        if self.step is not None:
            value = round(self.low + round((value - self.low) / self.step) * self.step, 12)
            value = value if value <= self.high else round(value - self.step, 12)
        if self.integer:
            return round(value)
        return min(max(float(f"{value:.6g}"), self.low), self.high)

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a value, even over the (log) range."""
        return self.from_unit(float(rng.random()))

    def neighbour(self, value: Value, rng: np.random.Generator) -> Value:
        """Draw a value nearby: a normal step of 0.15 of the range, reflected at the ends."""
        unit = abs(self.to_unit(float(value or 0.0)) + 0.15 * float(rng.standard_normal()))
        return self.from_unit(min(max(2.0 - unit if unit > 1.0 else unit, 0.0), 1.0))

    def columns(self, value: Value, absent: bool) -> list[float]:
        """Encode on [0, 1]; absence lies outside, where a tree splits it off."""
        return [ABSENT if absent else self.to_unit(float(value or 0.0))]

    def grid(self) -> list[Value]:
        """Return the values a grid search tries: both ends and the middle."""
        return list(dict.fromkeys(self.from_unit(unit) for unit in (0.0, 0.5, 1.0)))


Dimension = Choice | Range
