"""Uniform+: uniform, but the first convolution stays dense and the last linear layer is spared."""

from __future__ import annotations

from autoprune.core.errors import ConfigError
from autoprune.pruning.allocations.ranking import alive_counts
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.keep import UnitScores


def _protected(units: UnitScores, alive: dict[str, int]) -> dict[str, int]:
    """Return what must stay: the first layer if a convolution, a fifth of the last linear one."""
    least: dict[str, int] = {}
    linear = [name for name, layer in units.items() if not layer.is_conv]
    if linear:
        fifth = -(-units[linear[-1]].num_units // 5)
        least[linear[-1]] = min(fifth, alive[linear[-1]])
    first = next(iter(units), None)
    if first is not None and units[first].is_conv:
        least[first] = alive[first]
    return least


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Keep the first convolution whole, a fifth or more of the last linear layer, the rest evenly.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Units by layer, in model order.
    kept : int
        Units to keep in all.

    Returns
    -------
    dict of str to int
        Units to keep by layer.

    Raises
    ------
    ConfigError
        If the protected layers alone hold more than `kept` units.

    Notes
    -----
    In a net that does not begin with a convolution only the rule of the last layer applies.
    Water-filling with floors gives the two cases of the original in one (cards
    sparsity_schedules c3 and imp c).

    References
    ----------
    .. [1] T. Gale, E. Elsen, S. Hooker, "The State of Sparsity in Deep Neural Networks",
       arXiv 1902.09574.
    """
    alive = alive_counts(units)
    least = _protected(units, alive)
    if sum(least.values()) > kept:
        raise ConfigError(
            "allocation.uniform_plus",
            f"must keep at least {sum(least.values())} units (the first convolution and 20 % of "
            "the last linear layer)",
            kept,
            "lower the sparsity or choose another allocation",
        )
    floors = {name: least.get(name, min(1, count)) for name, count in alive.items()}
    if sum(floors.values()) > kept:
        floors = {name: least.get(name, 0) for name in alive}
    weights = [layer.num_units for layer in units.values()]
    counts = fill(list(alive.values()), list(floors.values()), weights, kept)
    return dict(zip(units, counts, strict=True))
