"""How many units a group may keep, and how far that lets a model be pruned; torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from autoprune.core.records import LayerInfo, UnitInfo

PARTS = 8
"""A group is never cut in coarser steps than this part of it."""


@dataclass(frozen=True)
class Grain:
    """The counts that a group of units may be cut to.

    Parameters
    ----------
    round_to : int
        Kept units are multiples of it, >= 1, or of an eighth of the group's where that is less;
        or all of them.
    floor : float
        Least share of its units that a group keeps, in [0, 1); never less than one step.

    Examples
    --------
    >>> grain = Grain(round_to=8, floor=0.1)
    >>> [grain.step(units) for units in (8, 16, 60, 300)]
    [1, 2, 7, 8]
    >>> [grain.least(units) for units in (8, 16, 60, 300)]
    [1, 2, 7, 32]
    """

    round_to: int = 1
    floor: float = 0.0

    def step(self, num_units: int) -> int:
        """Return what a group's kept units are a multiple of."""
        return min(self.round_to, max(1, num_units // PARTS))

    def least(self, num_units: int) -> int:
        """Return the least number of units that a group keeps."""
        step = self.step(num_units)
        steps = math.ceil(self.floor * num_units / step - 1e-9)
        return min(num_units, max(1, steps) * step)

    def counts(
        self, wanted: Mapping[str, int], num_units: Mapping[str, int], alive: Mapping[str, int]
    ) -> dict[str, int]:
        """Move the counts of an allocation to whole steps, so that their sum hardly moves.

        Groups are rounded up in order of what they have beyond a whole step, as many of them as
        bring the sum nearest to the one asked for.

        Parameters
        ----------
        wanted, num_units, alive : mapping of str to int
            Units to keep, of all, and of those not yet gone, by group.

        Examples
        --------
        >>> sizes = {"a": 64, "b": 64, "c": 16}
        >>> Grain(round_to=8).counts({"a": 20, "b": 21, "c": 16}, sizes, sizes)
        {'a': 16, 'b': 24, 'c': 16}
        """
        found: dict[str, int] = {}
        upper: dict[str, int] = {}
        for name, count in wanted.items():
            step, least = self.step(num_units[name]), self.least(num_units[name])
            if count >= alive[name] or least >= alive[name]:
                found[name] = alive[name]
            elif count <= least:
                found[name] = least
            else:
                found[name] = max(least, count // step * step)
                if found[name] < count:
                    upper[name] = min(found[name] + step, alive[name])
        beyond = sum(wanted[name] - found[name] for name in upper)
        # Tie-break: equal remainders go to the earlier group (the sort is stable), and of two
        # equally near sums the greater is taken.
        for name in sorted(upper, key=lambda n: -(wanted[n] - found[n]) / (upper[n] - found[n])):
            size = upper[name] - found[name]
            if 2 * beyond < size:
                break
            beyond -= size
            found[name] = upper[name]
        return found


def greatest(
    layers: Sequence[LayerInfo],
    groups: Sequence[UnitInfo],
    grain: Grain,
    of: Literal["weights", "macs"] = "weights",
) -> float:
    """Return the share of a model's weights, or multiply-adds, that goes when groups keep least.

    Parameters
    ----------
    layers : sequence of LayerInfo
        The model's prunable weights.
    groups : sequence of UnitInfo
        Those that lose units.
    """
    total = kept = 0.0
    for layer in layers:
        sides = list(layer.shape[:2])
        for group in groups:
            gone = group.num_units - grain.least(group.num_units)
            for dim, entries in enumerate(group.entries.get(layer.name, ())):
                sides[dim] -= gone * entries
        amount = layer.num_weights if of == "weights" else layer.macs
        total += amount
        kept += amount * math.prod(sides) / math.prod(layer.shape[:2])
    return 1.0 - kept / total if total else 0.0
