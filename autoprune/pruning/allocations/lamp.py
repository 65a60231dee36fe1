"""LAMP: each layer's magnitudes relative to what would be left above them, ranked globally."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.pruning.allocations.ranking import count_highest
from autoprune.pruning.keep import LayerUnits, UnitScores


def lamp_scores(layer: LayerUnits) -> Tensor:
    """Return each unit's squared magnitude over the sum of those not smaller in its layer.

    Parameters
    ----------
    layer : LayerUnits
        Its `magnitudes` are read; units whose score is ``-inf`` are left out.

    Returns
    -------
    Tensor
        float64 vector, one entry per unit; the largest is exactly 1, dead units are ``-inf``.
    """
    squares = layer.magnitudes.reshape(-1).double().square()
    squares = torch.where(layer.scores.reshape(-1) > -torch.inf, squares, -torch.inf)
    # Tie-break: among equal magnitudes the lower index counts as the larger, as in top_k_mask.
    ordered, order = torch.sort(squares, descending=True, stable=True)
    # Summed from the largest down: a total minus a prefix sum would cancel.
    ratios = ordered / ordered.cumsum(0)
    # A dead unit gives a NaN, as does an alive 0 where nothing is larger: gone, and last.
    ratios = torch.where(ordered == -torch.inf, -torch.inf, ratios.nan_to_num(nan=0.0))
    if ratios.numel() and ratios[0] > -torch.inf:
        ratios[0] = 1.0
    return torch.empty_like(ratios).scatter_(0, order, ratios)


def allocate(units: UnitScores, kept: int) -> dict[str, int]:
    """Count the `kept` highest LAMP scores of all layers in each layer.

    Parameters
    ----------
    units : mapping of str to LayerUnits
        Units by layer, in model order; `magnitudes` decide, whatever the score is.
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
    ``score(u) = w_u^2 / sum(w_v^2 for v with w_v^2 >= w_u^2)`` (card sparsity_schedules, c3).
    Deviation: the sum runs in float64 from the largest down; the authors' code subtracts a prefix
    sum from the total, which cancels in large layers.

    References
    ----------
    .. [1] J. Lee, S. Park, S. Mo, S. Ahn, J. Shin, "Layer-adaptive Sparsity for the
       Magnitude-based Pruning", ICLR 2021, arXiv 2010.07611, equation 3.
    """
    return count_highest({name: lamp_scores(layer) for name, layer in units.items()}, kept)
