"""Soft sparsity: how far down a neuron's sorted weights one has to go."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.pruning.compressibility import descending, effective_count, tails
from autoprune.pruning.selection import turns
from autoprune.pruning.view import ModelView, Scores, Signal

Rule = Literal["effective_count", "tail_tolerance", "output_weighted"]


class Lq:
    """Scores a weight by the tolerance at which its neuron would let it go.

    Parameters
    ----------
    rule : str
        ``effective_count``: neuron ``j`` keeps ``ceil(kappa N_j)`` weights, with ``N_j`` the
        effective count of its weights in the norms q and 1. ``tail_tolerance``: it keeps the
        fewest whose rest has at most ``eta`` of the neuron's norm. ``output_weighted``: the same
        with every weight times the root mean square of its input.
    q : float
        Quasi-norm of ``effective_count``, in (0, 1).
    norm : int
        Norm of the tails, 1 or 2.

    Notes
    -----
    One ``kappa``, or one ``eta``, holds for all neurons. Every rule is monotone in it, so the
    value at which a weight goes is a score, and a top-k over the net bisects it to the target:
    ``N / (N + i)`` for the weight with ``i`` larger ones in its neuron, or the norm of the weight
    and all smaller ones relative to the neuron's.

    # Tie-break: every neuron's largest weight would score 1. They are ranked within their layer by
    the share of their neuron that they hold, above 1, and layers take turns.

    The idea is the paper's; the rules are a reconstruction (card lq_compressibility, c3).

    References
    ----------
    .. [1] W. Yang, G. Wang, J. Ding, Y. Yang, "A Theoretical Understanding of Neural Network
       Compression from Sparse Linear Approximation", arXiv 2206.05604.

    Examples
    --------
    >>> view = ModelView({"w": torch.tensor([[2.0, -5.0, 3.0]])}, {"w": torch.ones(1, 3) > 0})
    >>> Lq(norm=1)(view)["w"].tolist()  # 2 / 10, the largest of the only neuron, (3 + 2) / 10
    [[0.2, 2.0, 0.5]]
    """

    reference: ClassVar[str] = "Yang et al., arXiv 2206.05604 (a reconstruction)"
    of_units: ClassVar[bool] = False

    def __init__(self, rule: Rule = "tail_tolerance", q: float = 0.5, norm: int = 2) -> None:
        self.rule, self.q, self.norm = rule, q, norm

    @property
    def needs(self) -> frozenset[Signal]:
        """The inputs' root mean squares, if they weight."""
        return frozenset({Signal.INPUT_RMS} if self.rule == "output_weighted" else ())

    @property
    def cheap(self) -> bool:
        """A sort, unless data is read."""
        return not self.needs

    @property
    def passes(self) -> int:
        """One, if data is read."""
        return len(self.needs)

    def __call__(self, view: ModelView) -> Scores:
        """Return scores in [0, 2], float64; 0 for weights that are gone."""
        scores = {}
        for name, weight in view.weights.items():
            values = weight.double()
            if self.needs:
                values = values * view.signals[Signal.INPUT_RMS][name].to(values)
            rows = self._rank(values.flatten(1), view.masks[name].flatten(1))
            scores[name] = rows.view(weight.shape)
        return scores

    def _rank(self, values: Tensor, alive: Tensor) -> Tensor:
        ordered, order = descending(values, alive)
        if self.rule == "effective_count":
            count = effective_count(ordered, self.q, 1.0).unsqueeze(1)
            larger = torch.arange(ordered.shape[1], device=ordered.device)
            score = (count / (count + larger)).nan_to_num(0.0)
        else:
            score = tails(ordered, self.norm)
        score = torch.where(alive.gather(1, order), score, 0.0)
        score = torch.empty_like(score).scatter_(1, order, score)
        largest = torch.zeros_like(alive).scatter_(1, order[:, :1], True) & (score == 1.0)
        score[largest] = 1.0 + turns(values * alive, largest)
        return score
