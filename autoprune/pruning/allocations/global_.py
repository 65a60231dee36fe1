"""Global: the highest scores survive, wherever they are."""

from __future__ import annotations

from autoprune.pruning.allocations.ranking import count_highest
from autoprune.pruning.keep import UnitScores


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Count the `kept` highest scores of all layers in each layer.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Scores by layer, in model order.
    kept : int
        Units to keep in all, at most those alive.

    Returns
    -------
    dict of str to int
        Units to keep by layer; a layer may keep none.

    Raises
    ------
    ConfigError
        If `kept` exceeds the units alive.

    References
    ----------
    .. [1] S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for
       Efficient Neural Networks", NeurIPS 2015, arXiv 1506.02626 (the ranking; there by layer).
    """
    return count_highest({name: layer.scores for name, layer in units.items()}, kept)
