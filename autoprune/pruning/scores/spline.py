"""Spline: units whose hyperplane another unit of their layer has already."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.pruning.scores.units import by_group, makers, mean, scales, sums
from autoprune.pruning.view import ModelView, Scores, Signal, UnitGroup

FLAT = 1e-6
"""A normal shorter than this share of its layer's longest is none: the unit is constant."""


def pair_distances(planes: Tensor, rho: float, *, normalised: bool = True) -> Tensor:
    """Return how far the hyperplanes of a layer's units are from one another.

    Parameters
    ----------
    planes : Tensor ``(units, fan_in + 1)``
        Normals ``w`` and, last, offsets ``b``; float64.
    rho : float
        Weight of the offsets, >= 0.
    normalised : bool
        Whether offsets are those of unit normals on the same side.

    Returns
    -------
    Tensor ``(units, units)``
        Symmetric, >= 0, with zeros on the diagonal and wherever one of the two is constant.

    Notes
    -----
    With ``c`` the cosine of two normals the raw form is ``1 - |c| + rho |b - b'|``, and the
    normalised one ``1 - |c| + rho |b / |w| - sign(c) b' / |w'||`` (card spline, c4). The latter
    does not change when a unit is multiplied by a positive number, or its normal is turned round.
    """
    normals, offsets = planes[:, :-1], planes[:, -1]
    lengths = normals.norm(dim=1)
    flat = flat_units(planes)
    safe = torch.where(flat, 1.0, lengths)
    normals = normals / safe[:, None]
    cosine = normals @ normals.T
    if normalised:
        offsets = offsets / safe
        gap = offsets[:, None] - torch.where(cosine < 0, -1.0, 1.0) * offsets
    else:
        gap = offsets[:, None] - offsets
    found: Tensor = (1.0 - cosine.abs()).clamp(min=0.0) + rho * gap.abs()
    found = torch.where(flat[:, None] | flat, 0.0, (found + found.T) / 2)
    found.fill_diagonal_(0.0)
    return found


def flat_units(planes: Tensor) -> Tensor:
    """Say which units have no hyperplane to speak of, their normals being next to nothing."""
    lengths: Tensor = planes[:, :-1].norm(dim=1)
    return lengths <= FLAT * lengths.max()


def drops(distances: Tensor, strength: Tensor) -> Iterator[tuple[int, float]]:
    """Yield the units in the order in which they are dropped, down to one, with their distance.

    The closest pair of those left loses its weaker member, again and again.

    Parameters
    ----------
    distances : Tensor ``(units, units)``
        Symmetric.
    strength : Tensor ``(units,)``
        Higher = stays.

    Examples
    --------
    >>> three = torch.tensor([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    >>> list(drops(three, torch.tensor([1.0, 2.0, 3.0])))
    [(0, 1.0), (1, 2.0)]
    """
    left = distances.clone().fill_diagonal_(math.inf)
    # Tie-break: of equally close pairs the first, of equally strong units the lower index stays.
    nearest, partner = left.min(dim=1)
    for _ in range(len(left) - 1):
        one = int(nearest.argmin())
        other = int(partner[one])
        gone = one if strength[one] < strength[other] else other
        yield gone, float(nearest[one])
        left[gone, :] = left[:, gone] = nearest[gone] = math.inf
        stale = (partner == gone).nonzero().flatten()
        nearest[stale], partner[stale] = left[stale].min(dim=1)


class Spline:
    """Scores a unit by the distance to its nearest neighbour at which it is dropped.

    Parameters
    ----------
    rho : float
        Weight of the offsets, see `pair_distances`.
    normalised : bool
        Whether offsets are normalised; without, layers of large biases seem less redundant.

    Notes
    -----
    In each group the closest pair of hyperplanes loses the unit with the smaller ``|gamma|`` (the
    smaller outgoing weights, in L2, where it has no batch norm), until one is left. The closest
    distance of a group never falls on the way, so ranking these distances over all groups drops
    units in the very order of the rule that always takes the closest pair of the whole net and
    then looks at its layer anew; and within a group any count keeps what the rule keeps.

    A reconstruction: the form of the distance is recalled and not confirmed, as is which of two
    units is dropped (card spline, c4). No released code has the criterion.

    # Deviation: offsets are normalised unless told otherwise.

    # Deviation: a unit made by several layers (where branches meet in a sum) has their mean
    distance; a unit with next to no incoming weights has no hyperplane, and is dropped first.

    # Tie-break: equal distances are set apart by one unit in the last place, so that the order of
    dropping stays. Units that are gone already score 0.

    References
    ----------
    .. [1] H. You, R. Balestriero, Z. Lu, Y. Kou, H. Shi, S. Zhang, S. Wu, Y. Lin, R. Baraniuk,
       "Max-Affine Spline Insights Into Deep Network Pruning", TMLR 2022, arXiv 2101.02338.
    """

    reference: ClassVar[str] = "You et al., TMLR 2022, arXiv 2101.02338"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.HYPERPLANES})
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1  # of one image

    def __init__(self, rho: float = 0.1, normalised: bool = True) -> None:
        self.rho, self.normalised = rho, normalised

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""
        return by_group(view, lambda group: self._of_group(group, view))

    def _of_group(self, group: UnitGroup, view: ModelView) -> Tensor:
        scores = torch.zeros(group.num_units, dtype=torch.float64)
        alive = _alive(group, view).nonzero().flatten()
        if not len(alive):
            return scores
        layers = [planes[alive] for planes in _planes(group, view)]
        distances = mean(pair_distances(p, self.rho, normalised=self.normalised) for p in layers)
        flat = torch.stack([flat_units(planes) for planes in layers]).all(0)
        strength = torch.where(flat, -1.0, _strength(group, view)[alive])
        last, stays = 0.0, set(range(len(alive)))
        for unit, distance in drops(distances, strength):
            last = max(distance, math.nextafter(last, math.inf))
            scores[alive[unit]] = last
            stays.remove(unit)
        scores[alive[stays.pop()]] = math.nextafter(last, math.inf)
        return scores


def _planes(group: UnitGroup, view: ModelView) -> Iterator[Tensor]:
    """Yield, layer by layer (and entry by entry of a unit), one hyperplane per unit."""
    found = view.signals[Signal.HYPERPLANES]
    for member in group.members:
        if member.role == "out" and member.name in found:
            for entries in zip(*member.index, strict=True):
                yield found[member.name][list(entries)]


def _alive(group: UnitGroup, view: ModelView) -> Tensor:
    """Say which units have an incoming weight left."""
    kept = [sums(m, view.masks[m.name].flatten(1).sum(1).cpu()) for m in makers(group, view)]
    return torch.stack(kept).sum(0) > 0


def _strength(group: UnitGroup, view: ModelView) -> Tensor:
    """Return each unit's ``|gamma|``, or the L2 norm of its outgoing weights."""
    norms = scales(group, view)
    if norms:
        return mean(sums(m, view.others[m.name].abs().double().cpu()) for m in norms)
    readers = [m for m in group.members if m.role == "in" and m.name in view.weights]
    squares = [
        sums(m, view.weights[m.name].double().cpu().square().movedim(m.dim, 0).flatten(1).sum(1))
        for m in readers
    ]
    return torch.stack(squares).sum(0).sqrt()
