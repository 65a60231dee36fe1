"""How many units a group may keep, and how far that lets a model be pruned; torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from autoprune.core.records import LayerInfo, UnitInfo

ROUND_TO = 8
"""Kept units are multiples of it where nothing else is said: runtimes' blocks."""

PARTS = 8
"""However narrow, a group can be cut to about one of this many parts."""

SLACK = 0.01
"""Share of the units asked for by which whole multiples may miss them."""


@dataclass(frozen=True)
class Grain:
    """The counts that a group of units may be cut to.

    Whole multiples, since runtimes work through channels in blocks: layers that join several
    groups are then multiples wide, too. Finer steps begin below the first multiple, and one group
    takes one where multiples alone would miss what is asked for (few, narrow groups).

    Parameters
    ----------
    round_to : int
        Kept units are multiples of it, >= 1, or all of them. Fewer than that are multiples of its
        greatest divisor that is at most an eighth of the group.
    floor : float
        Least share of its units that a group keeps, in [0, 1); never less than one step.

    Examples
    --------
    >>> grain = Grain(round_to=8, floor=0.1)
    >>> [grain.step(units) for units in (8, 16, 60, 300)]
    [1, 2, 4, 8]
    >>> [grain.least(units) for units in (8, 16, 60, 300)]
    [1, 2, 8, 32]
    >>> [grain.at_most(count, 60) for count in (7, 8, 15, 59, 60)]
    [4, 8, 8, 56, 60]
    """

    round_to: int = 1
    floor: float = 0.0

    def step(self, num_units: int) -> int:
        """Return what a group's kept units are a multiple of below `round_to`."""
        finest = max(1, num_units // PARTS)
        return max(k for k in range(1, min(self.round_to, finest) + 1) if self.round_to % k == 0)

    def widest(self, num_units: int) -> int:
        """Return the greatest distance between two counts that follow one another."""
        return self.round_to if num_units > self.round_to else self.step(num_units)

    def least(self, num_units: int) -> int:
        """Return the least number of units that a group keeps."""
        wanted = max(1, math.ceil(self.floor * num_units - 1e-9))
        return self._at_least(wanted, num_units)

    def at_most(self, count: int, num_units: int) -> int:
        """Return the greatest count that a group may keep without exceeding one; 0 if none."""
        if count >= num_units:
            return num_units
        step = self.round_to if count >= self.round_to else self.step(num_units)
        return count // step * step

    def _at_least(self, count: int, num_units: int) -> int:
        below = self.at_most(count, num_units)
        if below >= count:
            return below
        step = self.round_to if below >= self.round_to else self.step(num_units)
        return min(below + step, num_units)

    def counts(
        self,
        wanted: Mapping[str, int],
        num_units: Mapping[str, int],
        alive: Mapping[str, int],
        weights: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Move the counts of an allocation to whole steps, so that their sum hardly moves.

        Groups are rounded up in order of what they have beyond a whole step, as many of them as
        bring the sum nearest to the one asked for. If that misses it by more than `SLACK`, the
        group where the most was rounded off gives or takes the rest, in its finer steps.

        Parameters
        ----------
        wanted, num_units, alive : mapping of str to int
            Units to keep, of all, and of those not yet gone, by group.
        weights : mapping of str to int, optional
            What a unit of each group counts in the sum; 1 by default.

        Examples
        --------
        >>> sizes = {"a": 64, "b": 64, "c": 16}
        >>> Grain(round_to=8).counts({"a": 20, "b": 21, "c": 16}, sizes, sizes)
        {'a': 16, 'b': 24, 'c': 16}
        >>> Grain(round_to=8).counts({"a": 11}, {"a": 16}, {"a": 16})
        {'a': 12}
        """
        weight = weights or dict.fromkeys(wanted, 1)
        found: dict[str, int] = {}
        upper: dict[str, int] = {}
        for name, count in wanted.items():
            least = self.least(num_units[name])
            if count >= alive[name] or least >= alive[name]:
                found[name] = alive[name]
            elif count <= least:
                found[name] = least
            else:
                found[name] = max(least, self.at_most(count, num_units[name]))
                if found[name] < count:
                    upper[name] = min(self._at_least(count, num_units[name]), alive[name])
        beyond = sum(weight[name] * (wanted[name] - found[name]) for name in upper)
        # Tie-break: equal remainders go to the earlier group (the sort is stable), and of two
        # equally near sums the greater is taken.
        for name in sorted(upper, key=lambda n: -(wanted[n] - found[n]) / (upper[n] - found[n])):
            size = weight[name] * (upper[name] - found[name])
            if 2 * beyond < size:
                break
            beyond -= size
            found[name] = upper[name]
        if upper and abs(beyond) > SLACK * sum(weight[name] * wanted[name] for name in wanted):
            # Tie-break: of equally far groups the earlier.
            sign = 1 if beyond > 0 else -1
            far = max(upper, key=lambda n: sign * weight[n] * (wanted[n] - found[n]))
            step = self.step(num_units[far])
            moved = math.floor((found[far] + beyond / weight[far]) / step + 0.5) * step
            found[far] = min(max(moved, self.least(num_units[far])), alive[far])
        return found


def greatest(
    layers: Sequence[LayerInfo],
    groups: Sequence[UnitInfo],
    grain: Grain,
    of: Literal["weights", "macs"] = "weights",
    elsewhere: int = 0,
) -> float:
    """Return the share of a model's weights, or multiply-adds, that goes when groups keep least.

    Parameters
    ----------
    layers : sequence of LayerInfo
        The model's prunable weights.
    groups : sequence of UnitInfo
        Those that lose units.
    elsewhere : int
        Multiply-adds that no prunable weight does; they are taken to stay (attention's products
        shrink with its heads, so a model with some may lose a little more than this).
    """
    total = kept = float(elsewhere if of == "macs" else 0)
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
