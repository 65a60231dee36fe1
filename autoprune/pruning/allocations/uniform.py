"""Uniform: the same density in every layer."""

from __future__ import annotations

from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Keep the same share of each layer's units.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Units by layer, in model order.
    kept : int
        Units to keep in all, at most those alive.

    Returns
    -------
    dict of str to int
        Units to keep by layer, at least one while `kept` reaches for all layers.

    Raises
    ------
    ConfigError
        If `kept` exceeds the units alive.

    Notes
    -----
    Deviation: RigL's "uniform" keeps the first layer dense and is not compensated for it, and
    rounding by layer misses the total; here the total is exact (card sparsity_schedules, c3).

    References
    ----------
    .. [1] T. Gale, E. Elsen, S. Hooker, "The State of Sparsity in Deep Neural Networks",
       arXiv 1902.09574.
    """
    alive = alive_counts(units)
    floors = floors_of_one(alive, kept)
    weights = [layer.num_units for layer in units.values()]
    counts = fill(list(alive.values()), list(floors.values()), weights, kept)
    return dict(zip(units, counts, strict=True))
