"""FPGM: a filter near all others can be replaced by them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.pruning.scores.units import by_group, makers, mean, rows, sums
from autoprune.pruning.view import ModelView, Scores, Signal


def distances(filters: Tensor, alive: Tensor) -> Tensor:
    """Sum each filter's Euclidean distances to the living ones.

    Parameters
    ----------
    filters : Tensor ``(units, entries)``
        One filter a row.
    alive : Tensor ``(units,)``
        Bool; a filter that is gone is nobody's neighbour.

    Returns
    -------
    Tensor ``(units,)``
        Least at the filter that is nearest to the geometric median of all.
    """
    # Through a product of matrices a filter would have a distance of rounding to its twin.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(filters, filters[alive], compute_mode=exact).sum(1)


class Fpgm:
    """Scores a unit by ``sum_j ||w - w_j||_2`` over the filters ``w_j`` of its layer.

    Notes
    -----
    On raw weights: a filter and its negative are far apart (card structured_core, g5). Filters that
    are masked already take no part.

    # Deviation: where several layers write into one residual stream their sums are averaged; the
    authors judge each layer by itself.

    References
    ----------
    .. [1] Y. He, P. Liu, Z. Wang, Z. Hu, Y. Yang, "Filter Pruning via Geometric Median for Deep
       Convolutional Neural Networks Acceleration", CVPR 2019, arXiv 1811.00250, equation 6.
    """

    reference: ClassVar[str] = "He et al., CVPR 2019, arXiv 1811.00250"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False  # quadratic in the number of filters
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""

        def of_layer(name: str) -> Tensor:
            return distances(rows(name, view), view.masks[name].flatten(1).any(1).cpu())

        return by_group(
            view, lambda group: mean(sums(m, of_layer(m.name)) for m in makers(group, view))
        )
