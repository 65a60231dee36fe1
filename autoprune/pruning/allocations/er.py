"""ER: density from the channels, so that narrow layers stay dense."""

from __future__ import annotations

import math
from fractions import Fraction

from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Keep weights in proportion to each layer's channels, at every kernel position.

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
    The density is proportional to ``(n_out + n_in) / (n_out * n_in)`` (card rigl, c1), so ``n_l``
    to ``(n_out + n_in) * k_h * k_w``, capped at the layer's size by water-filling. On linear
    layers it equals ERK. Where a unit holds several weights, its units count as many.

    References
    ----------
    .. [1] D. C. Mocanu, E. Mocanu, P. Stone, P. H. Nguyen, M. Gibescu, A. Liotta, "Scalable
       Training of Artificial Neural Networks with Adaptive Sparse Connectivity Inspired by
       Network Science", Nature Communications 9:2383, 2018, arXiv 1707.04780.
    .. [2] U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All
       Tickets Winners", ICML 2020, arXiv 1911.11134, section 3.
    """
    alive = alive_counts(units)
    floors = floors_of_one(alive, kept)
    weights = [
        Fraction(sum(layer.shape[:2]) * math.prod(layer.shape[2:]), layer.weights_per_unit)
        for layer in units.values()
    ]
    counts = fill(list(alive.values()), list(floors.values()), weights, kept)
    return dict(zip(units, counts, strict=True))
