"""IGQ, ideal gas quotas: the density falls with the layer's size, and no layer is ever full."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from autoprune.pruning.allocations.ranking import alive_counts, floors_of_one
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Keep the share ``1 / (F * N + 1)`` of each layer of ``N`` weights.

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
    The one ``F >= 0`` that meets the total is bisected (card sparsity_schedules, c3): 0 keeps
    everything, and towards infinity all layers keep as many.

    # Deviation: the authors bisect up to 1e20 with a tolerance of 1 / N and round each layer by
    itself; here the bracket is tight, the bisection ends at neighbouring floats, and the counts
    sum to the total.

    References
    ----------
    .. [1] A. Vysogorets, J. Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens
       of Effective Sparsity", arXiv 2107.02306.
    """
    alive = alive_counts(units)
    caps, floors = list(alive.values()), list(floors_of_one(alive, kept).values())
    sizes = [(layer.num_units, layer.weights_per_unit) for layer in units.values()]
    quotas = [Fraction(quota) for quota in _quotas(sizes, caps, floors, kept)]
    # The quotas sum to the total already, up to rounding: this only makes integers of them.
    counts = fill(caps, floors, quotas, kept)
    return dict(zip(units, counts, strict=True))


def _quotas(
    sizes: Sequence[tuple[int, int]], caps: Sequence[int], floors: Sequence[int], kept: int
) -> list[float]:
    """Return each layer's real number of units at the ``F`` that meets the total."""

    def at(force: float) -> list[float]:
        return [units / (force * units * weights + 1.0) for units, weights in sizes]

    def total(force: float) -> float:
        bounds = zip(at(force), caps, floors, strict=True)
        return sum(min(max(quota, floor), cap) for quota, cap, floor in bounds)

    # A quota is at most 1 / F, so there are too few units at the upper end, or just enough.
    low, high = 0.0, max(1.0, len(sizes) / max(kept, 1))
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if total(middle) > kept else (low, middle)
    return at(high)
