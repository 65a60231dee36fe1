"""Shapes inside a cycle that several schedules share."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, LRConfig, Share
from autoprune.training.lr.base import CycleInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CosineRise:
    """A cosine rise from 0 to the peak over the share `warmup` of a cycle.

    Where the cycle's number of steps is known the rise takes whole ones, rounded down, so a cycle
    too short for one has no rise (card imp, c).
    """

    warmup: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0

    def risen(self, progress: float, cycle: CycleInfo) -> float:
        """Return the share of the peak, 1 from the end of the rise on.

        ``(1 - cos(pi * j / W)) / 2`` at step ``j`` of ``W`` (card imp, c).
        """
        end = self._end(cycle)
        return 1.0 if progress >= end else (1 - math.cos(math.pi * progress / end)) / 2

    def done(self, progress: float, cycle: CycleInfo) -> float:
        """Return the share done of what follows the rise, 0 during it."""
        end = self._end(cycle)
        return max(0.0, (progress - end) / (1 - end))

    def _end(self, cycle: CycleInfo) -> float:
        if cycle.num_steps is None:
            return self.warmup
        # The margin keeps rounding noise from taking a step of a product that is whole.
        return math.floor(self.warmup * cycle.num_steps + 1e-9) / cycle.num_steps


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Restart(CosineRise):
    """The warm-up of every schedule that restarts from the dense run's greatest rate: a tenth."""

    warmup: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1


def linear_ramp(progress: float, share: float, cycle: CycleInfo) -> float:
    """Return ``t / W`` over the share `share` of a cycle, and 1 afterwards.

    Steps count from ``t = 1`` where their number is known, so the first one learns (card silo,
    c4).
    """
    place = progress if cycle.num_steps is None else progress + 1 / cycle.num_steps
    return 1.0 if place >= share else place / share


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
    """SILO's profile inside a cycle: a linear ramp, then a tenth, then a hundredth of the peak.

    A drop overrides a ramp that has not ended (card silo, c4).
    """

    warmup: Share = 0.0875

    def profile_under(self, peak: float) -> LRConfig:
        """Return this profile under one peak, by the name that has no other cycles to know of."""
        shares = {"warmup": self.warmup, "first": self.first, "second": self.second}
        return LRConfig(name="fixed_peak", params={"peak": peak, **shares})

    def factor(self, progress: float, cycle: CycleInfo) -> float:
        """Return the share of the peak at `progress` in [0, 1)."""
        drops = self.num_drops(progress)
        if drops:
            return (0.1, 0.01)[drops - 1]
        return linear_ramp(progress, self.warmup, cycle)
