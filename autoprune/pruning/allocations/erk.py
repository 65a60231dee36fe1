"""ERK: density from the dimensions, so that small layers stay dense."""

from __future__ import annotations

from fractions import Fraction

from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Keep weights in proportion to the sum of each layer's dimensions.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Units by layer, in model order; `shape` is the dense weight's.
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
    ``n_l`` is proportional to ``n_out + n_in + k_h + k_w`` (card rigl, c1), capped at the layer's
    size by water-filling, which gives the densities of the original's saturation loop. Where a
    unit holds several weights, weights are what the rule speaks of, so its units count as many.

    References
    ----------
    .. [1] U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All
       Tickets Winners", ICML 2020, arXiv 1911.11134, section 3.
    """
    alive = alive_counts(units)
    floors = floors_of_one(alive, kept)
    weights = [Fraction(sum(layer.shape), layer.weights_per_unit) for layer in units.values()]
    counts = fill(list(alive.values()), list(floors.values()), weights, kept)
    return dict(zip(units, counts, strict=True))
