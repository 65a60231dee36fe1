"""Searched: uniform, with one knob per group of layers for a search to turn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from autoprune.core.errors import ConfigError

if TYPE_CHECKING:
    from autoprune.pruning.keep import UnitScores


def group_of(layer: int, num_layers: int, num_groups: int) -> int:
    """Return the group of a layer, both counted from 0 in model order.

    Groups are contiguous, and their sizes differ by one at most.
    """
    return layer * num_groups // num_layers


@dataclass(frozen=True)
class Searched:
    """Scales the density of each group of layers by the exponential of its knob.

    Parameters
    ----------
    knobs : tuple of float
        One per group, in model order: the natural logarithm of the group's density relative to
        the others'. Without any, the allocation is uniform; so it is when all are equal.

    Notes
    -----
    The prunable layers are split by depth into as many contiguous groups as there are knobs.
    ``n_l`` is proportional to ``N_l * exp(knob)``, within one and what is alive, by the
    water-filling that all allocations share (card sparsity_schedules, c3). As text it is written
    ``searched:0.5,0,-1.2``, see `autoprune.pruning.allocations.spec`.

    Examples
    --------
    >>> Searched((0.5, 0.0)).with_knobs((0.0, -1.2))
    Searched(knobs=(0.0, -1.2))
    """

    knobs: tuple[float, ...] = ()

    def with_knobs(self, knobs: tuple[float, ...]) -> Searched:
        """Return the allocation with these knobs."""
        return replace(self, knobs=knobs)

    def __call__(self, units: UnitScores, kept: int) -> dict[str, int]:
        """Return how many units each layer keeps.

        Raises
        ------
        ConfigError
            If `kept` exceeds the units alive, or the knobs the layers.
        """
        from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
        from autoprune.pruning.allocations.rounding import fill

        if len(self.knobs) > len(units):
            rule = f"must have at most as many knobs as there are layers ({len(units)})"
            raise ConfigError("allocation.searched", rule, len(self.knobs), "use fewer knobs")
        factors = [Fraction(math.exp(knob)) for knob in self.knobs or (0.0,)]
        weights = [
            layer.num_units * factors[group_of(index, len(units), len(factors))]
            for index, layer in enumerate(units.values())
        ]
        alive = alive_counts(units)
        floors = floors_of_one(alive, kept)
        counts = fill(list(alive.values()), list(floors.values()), weights, kept)
        return dict(zip(units, counts, strict=True))


SEARCHED = Searched()
