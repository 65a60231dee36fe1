"""i-SpaSP: which hidden units a layer can be reconstructed from, as sparse recovery."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.pruning.compact import slots
from autoprune.pruning.readers import units_with
from autoprune.pruning.view import ModelView, Scores, Signal

Sign = Literal["signed", "abs"]


def pursue(
    mass: Tensor,
    pull: Tensor,
    keep: Tensor,
    *,
    iterations: int = 20,
    candidates: int = 2,
    sign: Sign = "signed",
) -> Tensor:
    """Choose the units to keep, once for each of several counts.

    Parameters
    ----------
    mass : Tensor ``(n,)``
        Summed size of each unit's activations, b; ``-inf`` for a unit that is gone.
    pull : Tensor ``(n, n)``
        How much each missing unit of a column adds to the row's correlation with the residual.
    keep : Tensor ``(k,)``
        int64 counts s, each at most the number of units that are not gone.
    iterations : int
        T, at least 1; a set that comes out as it went in is final.
    candidates : int
        Candidates taken in per kept unit and iteration.
    sign : str
        ``signed`` takes in units that correlate with the residual, ``abs`` also those that
        correlate against it.

    Returns
    -------
    Tensor ``(k, n)``
        Bool, `keep` units in each row.

    Notes
    -----
    From no unit at all: (a) ``y_i = sum over j not in S of pull_ij``, (b) the ``candidates * s``
    largest y join S, (c) of these the ``s`` largest b are the new S. Where ``candidates * s`` are
    all units, S is the ``s`` largest b, whatever the weights are.

    # Tie-break: to the lower index, in (b) and in (c).

    Examples
    --------
    Masses 4, 3, 2, 1; weights 0, 1, 1, -1 of one output that sees ``0 + 3 + 2 - 1 = 4``. Units 1
    and 2 correlate with it, 1 is the louder. Alone, it leaves ``4 - 3 = 1``, and they still do.

    >>> mass, weight = torch.tensor([4.0, 3, 2, 1]), torch.tensor([0.0, 1, 1, -1])
    >>> pursue(mass, weight.outer(weight * mass), torch.tensor([1, 2])).int().tolist()
    [[0, 1, 0, 0], [1, 1, 0, 0]]
    """
    gone = mass.isneginf()
    support = torch.zeros(len(keep), len(mass), dtype=torch.bool)
    moving = torch.arange(len(keep))
    for _ in range(iterations):
        before, count = support[moving], keep[moving]
        correlation = (~before).to(pull) @ pull.T
        if sign == "abs":
            correlation = correlation.abs()
        merged = _best(correlation.masked_fill(gone, -torch.inf), candidates * count) | before
        after = _best(torch.where(merged, mass, -torch.inf), count)
        support[moving] = after
        moving = moving[(after != before).any(1)]
        if not len(moving):
            break
    return support


def _best(values: Tensor, count: Tensor) -> Tensor:
    """Mark the `count` largest entries of each row."""
    order = torch.sort(values, dim=1, descending=True, stable=True).indices
    places = torch.arange(values.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places) < count.unsqueeze(1)


class ISpasp:
    """Scores a unit by the share of all counts for which i-SpaSP would keep it.

    Parameters
    ----------
    iterations, candidates, sign
        See `pursue`.

    Notes
    -----
    The method chooses a set for a given count, and the sets of two counts need not be nested: no
    score can rank units so that every count gets its own set. This one lets the sets of all counts
    vote; where they are nested, the best ``s`` units are the set for ``s``. The method
    `autoprune.methods.i_spasp` takes its counts from here, and the sets of just these counts.

    The mean over a group's n units is about a half in every group, so an allocation that compares
    groups divides nearly evenly.

    # Tie-break: equal votes go to the larger mass, then to the lower index.

    References
    ----------
    .. [1] C. R. Wolfe, A. Kyrillidis, "i-SpaSP: Structured Neural Pruning via Sparse Signal
       Recovery", L4DC 2022, PMLR 168, arXiv 2112.04905.
    """

    reference: ClassVar[str] = "Wolfe & Kyrillidis, L4DC 2022, arXiv 2112.04905"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.READOUT})
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __init__(self, iterations: int = 20, candidates: int = 2, sign: Sign = "signed") -> None:
        self.iterations, self.candidates, self.sign = iterations, candidates, sign

    def __call__(self, view: ModelView) -> Scores:
        """Return one vector per unit group, in [0, 1), float64; 0 for units that are gone."""
        alive = units_with(view.groups, _read(view))
        found = view.signals[Signal.READOUT]
        return {g.name: self._rank(found[g.name], alive[g.name]) for g in view.groups}

    def _rank(self, readout: Tensor, alive: Tensor) -> Tensor:
        mass = torch.where(alive, readout[:, 0], -torch.inf)
        sets = pursue(
            mass,
            readout[:, 1:],
            torch.arange(1, int(alive.sum()) + 1),
            iterations=self.iterations,
            candidates=self.candidates,
            sign=self.sign,
        )
        num_units = len(mass)
        order = torch.sort(mass, descending=True, stable=True).indices
        places = torch.empty(num_units, dtype=torch.float64)
        places[order] = torch.arange(num_units, 0, -1, dtype=torch.float64) / (num_units + 1)
        votes = sets.sum(0, dtype=torch.float64)
        return torch.where(alive, (votes + places) / (len(sets) + 1), 0.0)


def _read(view: ModelView) -> dict[str, Tensor]:
    """Say of each entry of the reading weights whether a mask leaves anything of it."""
    return {
        place.name: view.masks[place.name].movedim(place.dim, 0).flatten(1).any(1)
        for place in slots(view.groups)
        if place.role == "in" and place.name in view.masks
    }
