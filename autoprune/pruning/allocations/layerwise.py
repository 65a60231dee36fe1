"""Layerwise: every layer loses the same share of what it has left, the output layer half of it."""

from __future__ import annotations

from fractions import Fraction

from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Remove the same share of each layer's living units, half that share of the last layer's.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Units by layer, in model order; the last layer counts as the output.
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
    With ``a_l`` units alive the share is ``p = (sum(a) - kept) / (sum(a) - a_out / 2)``, layer
    ``l`` keeps ``a_l (1 - p)`` and the last one ``a_out (1 - p / 2)`` (card lottery_ticket, c B).
    Over several rounds the last layer therefore ends denser than the others; in one round it
    differs little from uniform.
    # Deviation: the paper fixes ``p`` and takes the total that follows; here the total is given.
    # Deviation: where half the rate would leave the last layer more than `kept` allows in all, it
    loses the same share as the others.

    References
    ----------
    .. [1] J. Frankle, M. Carbin, "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
       Networks", ICLR 2019, arXiv 1803.03635, section 2.
    """
    alive = alive_counts(units)
    total, last = sum(alive.values()), next(reversed(alive), "")
    rates = dict.fromkeys(alive, Fraction(1))
    if 0 <= kept < total != alive[last]:
        share = Fraction(2 * (total - kept), 2 * total - alive[last])
        if share < 1:
            rates = dict.fromkeys(alive, 1 - share) | {last: 1 - share / 2}
    # A layer without units left has a cap of 0; its weight only has to be positive.
    weights = [max(count, 1) * rates[name] for name, count in alive.items()]
    floors = floors_of_one(alive, kept)
    counts = fill(list(alive.values()), list(floors.values()), weights, kept)
    return dict(zip(units, counts, strict=True))
