"""The heart: who matters, how much per layer, in which pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from autoprune.pruning.masks import MaskSet
from autoprune.pruning.view import ModelView, Scores


@dataclass(frozen=True)
class LayerUnits:
    """The units of one layer (or unit group), for an allocation.

    Parameters
    ----------
    scores : Tensor
        One score per unit, any shape; ``-inf`` marks a unit that is already gone.
    shape : tuple of int
        Shape of the dense weight the units stand for (ERK reads it).
    weights_per_unit : int
        Prunable weights that one unit holds.
    magnitudes : Tensor
        ``|w|`` per unit (the L2 norm of its weights where it has several), whatever the score
        is, same shape as `scores`; LAMP reads it.
    """

    scores: Tensor
    magnitudes: Tensor
    shape: tuple[int, ...]
    weights_per_unit: int = 1

    @property
    def num_units(self) -> int:
        """Number of units, the dead ones included."""
        return self.scores.numel()

    @property
    def is_conv(self) -> bool:
        """Whether the dense weight is a convolution's."""
        return len(self.shape) > 2


UnitScores = Mapping[str, LayerUnits]
"""Layer (or group) name to its units, in model order."""


class Allocation(Protocol):
    """Decides how many units each layer keeps: integers that sum to `kept`.

    Each integer lies in ``[0, num_units]`` and never counts a unit whose score is ``-inf``.
    """

    def __call__(self, units: UnitScores, kept: int) -> Mapping[str, int]:
        """Return how many units each layer keeps."""
        ...


class Granularity(Protocol):
    """Decides which weights live and die together."""

    @property
    def of_units(self) -> bool:
        """Whether it speaks of unit groups, which are looked for only then."""
        ...

    def pool(self, scores: Scores, view: ModelView) -> UnitScores:
        """Turn scores into one score per unit."""
        ...

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """Return the number of units to keep so that `sparsity` is met as nearly as can be."""
        ...

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Turn counts into masks: the best units of each layer, ties to the lower index."""
        ...


def counts_around(kept: Callable[[int], float], most: int, target: float) -> tuple[int, int]:
    """Return the neighbouring counts between which `kept`, which never falls, passes a target."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kept(middle) < target else (low, middle)
    return low, high


def keep_masks(
    scores: Scores,
    granularity: Granularity,
    allocation: Allocation,
    sparsity: float,
    view: ModelView,
) -> MaskSet:
    """Turn scores into masks that remove the fraction `sparsity` of the dense weights."""
    units = granularity.pool(scores, view)
    keep = allocation(units, granularity.kept_count(units, sparsity, allocation, view))
    return granularity.select(units, keep, view)
