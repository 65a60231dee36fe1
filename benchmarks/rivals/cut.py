"""Schedules that are cut: the first share of a long schedule, in place of the whole, compressed.

Only the learning rate is cut. What a method does to its masks during training still has to reach
the sparsity within the epochs there are, or the trial would have another one than was asked for.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, LRConfig, TrialConfig
from autoprune.training.lr.base import CycleInfo
from autoprune.training.registry import LR_SCHEDULES

PREFIX = "cut_"
_MADE: dict[str, type] = {}


def cut(config: TrialConfig, share: float) -> TrialConfig:
    """Return a trial whose every retraining runs the first share of its learning rates."""
    return config if share >= 1.0 else replace(config, lr=_cut(config.lr, share))


def _cut(lr: LRConfig, share: float) -> LRConfig:
    return LRConfig(name=cut_name(lr.name), params={**lr.params, "share": share})


def cut_name(name: str) -> str:
    """Return the name under which the cut form of a schedule is found in this process."""
    if name not in _MADE:
        _MADE[name] = cut_type(LR_SCHEDULES.get(name))
        LR_SCHEDULES.lend(PREFIX + name, _MADE[name])
    return PREFIX + name


def cut_type(inner: Any) -> Any:
    """Return a schedule that runs the first `share` of another, whose parameters and needs it has.

    It is told of the cycle as if that were as long as the whole schedule: warm-ups take as many
    steps as they would there.
    """

    @dataclass(frozen=True, config=STRICT, kw_only=True)
    class Cut(inner):  # type: ignore[misc] # a base that is known at run time
        share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0

        def __call__(self, progress: float, cycle: CycleInfo) -> float:
            rate: float = inner.__call__(self, progress * self.share, whole(cycle, self.share))
            return rate

    if hasattr(inner, "narrowed"):
        # A schedule that is another one within a cycle is that one's cut form there.
        def narrowed(self: Any, cycle: CycleInfo) -> LRConfig:
            return _cut(inner.narrowed(self, whole(cycle, self.share)), self.share)

        Cut.narrowed = narrowed
    Cut.__name__ = Cut.__qualname__ = f"Cut{inner.__name__}"
    assert {f.name for f in dataclasses.fields(Cut)} > {f.name for f in dataclasses.fields(inner)}
    return Cut


def whole(cycle: CycleInfo, share: float) -> CycleInfo:
    """Return the cycle of which this one is the first share."""
    steps = None if cycle.num_steps is None else round(cycle.num_steps / share)
    return replace(cycle, num_steps=steps, length_ratio=cycle.length_ratio / share)
