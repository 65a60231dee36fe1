"""NNrelief: connections that carry a large share of what their unit receives."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.pruning.readers import rows_of, units_with
from autoprune.pruning.selection import turns
from autoprune.pruning.view import ModelView, Scores, Signal


def relief(contributions: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return, for each input of each unit, the share of signal that it and lesser ones bring.

    Parameters
    ----------
    contributions : Tensor ``(out, in)``
        What each input brings on the mean, >= 0.
    bias : Tensor ``(out,)``, optional
        What the unit's bias brings: it takes part in the ranking, but is no input.

    Returns
    -------
    Tensor ``(out, in)``
        In [0, 1]; -1 for the inputs of a unit that receives nothing.

    Notes
    -----
    A unit keeps the fewest inputs that together carry the share ``alpha`` of its signal: an input
    stays if those before it, from the largest down, carry less than ``alpha``. It stays, in other
    words, if ``1 - (share of those before it)`` exceeds ``1 - alpha``. So the highest of these
    numbers over a whole net are what one ``alpha`` for all units keeps, and keeping an exact count
    of them is the bisection over ``alpha``.
    """
    entries = contributions if bias is None else torch.cat([contributions, bias[:, None]], dim=1)
    # Tie-break: of equal contributions the lower index counts as the larger, a bias as the least.
    ordered, order = torch.sort(entries, dim=1, descending=True, stable=True)
    sums = ordered.cumsum(1)
    before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], dim=1)
    total = sums[:, -1:]
    ranked = torch.where(total > 0, (1.0 - before / total).clamp(min=0.0), -1.0)
    return torch.empty_like(ranked).scatter_(1, order, ranked)[:, : contributions.shape[1]]


class NNRelief:
    """Scores a connection by how early its unit's mean absolute signal could do without it.

    All weights of a convolution's kernel have the kernel's score. The inputs of units that
    receive nothing, are never active, or are read by nobody any more come last of all.

    Notes
    -----
    See `relief` for the rule, `autoprune.pruning.signals.contribution` for what is measured, which
    costs one forward sweep (counted as one pass). Biases are part of the sum and of the ranking
    but are never pruned: a sparsity counts weights.

    # Tie-break: the strongest input of every unit has a share of 1 behind it, whatever alpha is.
    They are ranked within their layer by the share they carry themselves, and layers take turns,
    so that the last connections are not all one layer's.

    # Deviation: the authors go back from the outputs and take all inputs of units without readers
    at once, beyond what alpha removes. The number of weights to remove is given here, so those
    inputs go first in the next round instead.

    # Deviation: one alpha serves linear layers and convolutions; the rule for whole filters at a
    residual sum is left out, since it speaks of units.

    References
    ----------
    .. [1] A. Dekhovich, D. Tax, M. Sluiter, M. Bessa, "Neural network relief: a pruning algorithm
       based on neural activity", Machine Learning 113, 2024, arXiv 2109.10795.
    """

    reference: ClassVar[str] = "Dekhovich et al., Machine Learning 2024, arXiv 2109.10795"
    signal: ClassVar[Signal] = Signal.CONTRIBUTION
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.CONTRIBUTION})
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __call__(self, view: ModelView) -> Scores:
        """Return scores in [-1, 2]: `relief`, and above 1 the order of the strongest inputs."""
        unread = _unread_rows(view)
        found = view.signals[self.signal]
        scores = {}
        for name, weight in view.weights.items():
            # A kernel is as large as the largest of its weights: they are all alike.
            kernels = found[name].flatten(2).amax(2) if weight.dim() > 2 else found[name]
            score = relief(kernels, found.get(f"{name.removesuffix('weight')}bias"))
            strongest = score == 1.0
            score[strongest] = 1.0 + turns(kernels, strongest)
            if name in unread:
                score[unread[name]] = -1.0
            spread = score.reshape(*score.shape, *(1,) * (weight.dim() - 2))
            scores[name] = spread.expand(weight.shape).clone().to(weight.device)
        return scores


class NNReliefFroMean(NNRelief):
    """`NNRelief` by the norm of a kernel's mean map, as in the authors' VGG and ResNet code."""

    signal: ClassVar[Signal] = Signal.CONTRIBUTION_FRO_MEAN
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.CONTRIBUTION_FRO_MEAN})


class NNReliefL1(NNRelief):
    """`NNRelief` by the sum of a kernel's mean map, as in the authors' LeNet code."""

    signal: ClassVar[Signal] = Signal.CONTRIBUTION_L1
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.CONTRIBUTION_L1})


def _unread_rows(view: ModelView) -> dict[str, Tensor]:
    """Return, by weight, the rows of units all of whose outgoing connections are masked."""
    entries = {
        name: mask.movedim(1, 0).flatten(1).any(1)
        for name, mask in view.masks.items()
        if mask.dim() > 1
    }
    read = units_with(view.groups, entries)
    return {name: ~alive for name, alive in rows_of(view.groups, read).items()}
