"""Network slimming: units that their batch norm scales down can go."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from autoprune.pruning.scores.filter_norm import l1_norms
from autoprune.pruning.scores.units import makers, mean, scales, sums
from autoprune.pruning.view import ModelView, Scores, Signal, UnitGroup, UnitMember


class Slimming:
    """Scores a unit by the absolute scale ``|gamma|`` of the batch norms it passes.

    The mean over several norms, and over a norm's entries where a unit has more than one there.
    Units that pass none rank above all others, among themselves by ``n / (1 + n)`` of their
    filters' l1-norm ``n``.

    Notes
    -----
    # Deviation: the authors never remove units without a scale; an allocation that gives every
    layer its share, such as ``uniform``, takes some, and they have to have an order.

    References
    ----------
    .. [1] Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang, "Learning Efficient Convolutional
       Networks through Network Slimming", ICCV 2017, arXiv 1708.06519.
    """

    reference: ClassVar[str] = "Liu et al., ICCV 2017, arXiv 1708.06519"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""
        scaled = {g.name: _scale(g, view) for g in view.groups if scales(g, view)}
        top = max((float(value.max()) for value in scaled.values()), default=0.0)
        found: Scores = {}
        for group in view.groups:
            if group.name in scaled:
                found[group.name] = scaled[group.name]
            elif makers(group, view):
                norms = l1_norms(group, view)
                found[group.name] = top + norms / (1.0 + norms)
        return found


def _scale(group: UnitGroup, view: ModelView) -> Tensor:
    """Return the mean ``|gamma|`` of each unit."""

    def of_norm(member: UnitMember) -> Tensor:
        size = len(member.index[0])
        return sums(member, view.others[member.name].double().cpu().abs()) / size

    return mean(of_norm(member) for member in scales(group, view))
