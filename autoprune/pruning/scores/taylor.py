"""Taylor: units whose removal changes the loss least, to first order."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.pruning.scores.units import by_group, makers, mean, rows, scales, sums
from autoprune.pruning.view import ModelView, Scores, Signal, UnitGroup, UnitMember


class Taylor:
    """Scores a unit by ``|dL/dz|`` at ``z = 1`` of a gate ``z`` that multiplies its output.

    Notes
    -----
    A gate's derivative is the sum of ``w * dL/dw`` over what the gate multiplies: scale and shift
    of a batch norm after which it stands, weights and bias of a layer without one. Removing the
    unit is ``z = 0``, so this is the change of the loss to first order. Where units pass batch
    norms the gates stand after these (in the paper the better place, FO-BN), and the filters
    before them do not count.

    # Deviation: a residual stream has several such places; the score is their mean. After norms
    that only read the stream (pre-activation) a gate misses what the shortcut carries on.

    # Deviation: one class-balanced batch in eval mode. The authors average squares over many
    training batches; on one batch the square ranks as the absolute value does.

    References
    ----------
    .. [1] P. Molchanov, A. Mallya, S. Tyree, I. Frosio, J. Kautz, "Importance Estimation for
       Neural Network Pruning", CVPR 2019, arXiv 1906.10771.
    """

    reference: ClassVar[str] = "Molchanov et al., CVPR 2019, arXiv 1906.10771"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.GRADIENT})
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""

        def score(group: UnitGroup) -> Tensor:
            gated = scales(group, view) or makers(group, view)
            return mean(_gate(member, group, view).abs() for member in gated)

        return by_group(view, score)


def _gate(member: UnitMember, group: UnitGroup, view: ModelView) -> Tensor:
    """Return the derivative by a gate behind the layer or norm that a weight belongs to."""
    bias = f"{member.name.removesuffix('weight')}bias"
    parts = [member, *(m for m in group.members if m.name == bias)]
    return torch.stack([sums(part, _products(part.name, view)) for part in parts]).sum(0)


def _products(name: str, view: ModelView) -> Tensor:
    """Return ``w * dL/dw``, summed over each row of a weight or for each entry of a vector."""
    gradient = view.signals[Signal.GRADIENT][name]
    if name in view.weights:
        return (rows(name, view) * gradient.flatten(1)).sum(1)
    return view.others[name].double().cpu() * gradient
