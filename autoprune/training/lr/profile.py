"""Shapes inside a cycle that several schedules share."""

from __future__ import annotations

import math
from typing import Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Share


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


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Drops:
    """Two drops, at the shares `first` <= `second` of a cycle."""

    first: Share = 0.5
    second: Share = 0.75

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first > self.second:
            raise ValueError(f"first must be <= second = {self.second:g}, not {self.first:g}")
        return self

    def num_drops(self, progress: float) -> int:
        """Return how many of the drops have come at `progress`."""
        return (progress >= self.first) + (progress >= self.second)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RampAndDrops(Drops):
    """SILO's profile inside a cycle: a linear ramp from 0, then a tenth, then a hundredth.

    A drop overrides a ramp that has not ended (card silo, c4).
    """

    warmup: Share = 0.0875

    def factor(self, progress: float) -> float:
        """Return the share of the peak at `progress` in [0, 1)."""
        drops = self.num_drops(progress)
        if drops:
            return (0.1, 0.01)[drops - 1]
        return 1.0 if progress >= self.warmup else progress / self.warmup
