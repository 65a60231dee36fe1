"""Filter norms: units made of small weights can go."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from autoprune.pruning.scores.units import by_group, makers, mean, rows, sums
from autoprune.pruning.view import ModelView, Scores, Signal, UnitGroup


def l1_norms(group: UnitGroup, view: ModelView) -> Tensor:
    """Return the sum of absolute weights of each unit's filter, averaged over its layers."""
    return mean(sums(m, rows(m.name, view).abs().sum(1)) for m in makers(group, view))


def l2_norms(group: UnitGroup, view: ModelView) -> Tensor:
    """Return the Euclidean norm of each unit's filter, averaged over its layers."""
    return mean(sums(m, rows(m.name, view).square().sum(1)).sqrt() for m in makers(group, view))


class FilterL1:
    """Scores a unit by the l1-norm of its filter, ``sum |w|``.

    Notes
    -----
    Biases, and the consumers' slices that go with the unit, are left out, as in the paper.

    # Deviation: where several layers write into one residual stream their norms are averaged; the
    paper lets the shortcut's projection decide.

    References
    ----------
    .. [1] H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf, "Pruning Filters for Efficient
       ConvNets", ICLR 2017, arXiv 1608.08710.

    Examples
    --------
    >>> import torch
    >>> from autoprune.pruning.view import UnitMember
    >>> group = UnitGroup("w", 2, (UnitMember("w", 0, ((0,), (1,)), "out"),))
    >>> weights = {"w": torch.tensor([[3.0, -4.0], [0.0, 6.0]])}
    >>> view = ModelView(weights, {"w": torch.ones(2, 2) > 0}, groups=(group,))
    >>> FilterL1()(view)["w"].tolist(), FilterL2()(view)["w"].tolist()
    ([7.0, 6.0], [5.0, 6.0])
    """

    reference: ClassVar[str] = "Li et al., ICLR 2017, arXiv 1608.08710"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""
        return by_group(view, lambda group: l1_norms(group, view))


class FilterL2(FilterL1):
    """Scores a unit by the l2-norm of its filter, ``sqrt(sum w^2)``; see `FilterL1`."""

    reference: ClassVar[str] = "Li et al., ICLR 2017, arXiv 1608.08710 (l2-norm)"

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""
        return by_group(view, lambda group: l2_norms(group, view))
