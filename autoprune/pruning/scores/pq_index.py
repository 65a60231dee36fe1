"""PQ index: what SAP would remove first, scope by scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.pruning.compressibility import (
    SLACK,
    Scope,
    descending,
    from_rows,
    pq_index,
    retained,
    to_rows,
)
from autoprune.pruning.selection import turns
from autoprune.pruning.view import ModelView, Scores, Signal


class PqIndex:
    """Scores a weight by the scaling at which SAP's rule would remove it.

    Parameters
    ----------
    scope : str
        What a vector is: a ``neuron``'s (or filter's) weights, a ``layer``'s, or all (``global``).
    p, q : float
        Norms of the index, ``0 < p < q``.
    eta : float
        Tolerated loss, see `autoprune.pruning.compressibility.retained`.
    beta : float
        Largest share of a scope that the rule removes at once.

    Notes
    -----
    In a scope with ``d`` alive weights of which the bound retains ``r``, SAP removes the ``floor(d
    min(gamma (1 - r / d), beta))`` smallest (card lq_compressibility, c2). The k-th smallest goes
    as soon as ``gamma >= k / (d - r)``, so ranking all weights by ``x = k / (d - r)`` makes one
    top-k over the net the same as bisecting one gamma for all scopes. The score is ``x / (1 +
    x)``. What no gamma removes goes last: beyond ``beta d`` the score is ``1 + k / (d + 1)``,
    which bisects beta; where ``d = r`` it is ``2 + k / (d + 1)``.

    # Tie-break: a scope's largest weight goes last of all, above 3; those of a layer's neurons are
    ranked by the share of their neuron that they hold, so that layers take turns.

    References
    ----------
    .. [1] E. Diao, G. Wang, J. Zhang, Y. Yang, J. Ding, V. Tarokh, "Pruning Deep Neural Networks
       from a Sparsity Perspective", ICLR 2023, arXiv 2302.05601.

    Examples
    --------
    >>> view = ModelView({"w": torch.tensor([[4.0, 1.0, 1.0]])}, {"w": torch.ones(1, 3) > 0})
    >>> [round(x, 3) for x in PqIndex(p=1.0, q=2.0)(view)["w"][0].tolist()]  # N = 2, so r = 2
    [4.0, 0.667, 0.5]
    """

    reference: ClassVar[str] = "Diao et al., ICLR 2023, arXiv 2302.05601"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __init__(
        self,
        scope: Scope = "neuron",
        p: float = 0.5,
        q: float = 1.0,
        eta: float = 0.0,
        beta: float = 0.9,
    ) -> None:
        self.scope: Scope = scope
        self.p, self.q, self.eta, self.beta = p, q, eta, beta

    def __call__(self, view: ModelView) -> Scores:
        """Return ``x / (1 + x)`` and its tier, float64; 0 for weights that are gone."""
        return from_rows([self._rank(*rows) for rows in self._rows(view)], view.weights)

    def planned(self, view: ModelView, gamma: float) -> int:
        """Return how many weights SAP's own rule removes, all scopes together."""
        return sum(int(self.row_counts(*rows, gamma).sum()) for rows in self._rows(view))

    def row_counts(self, values: Tensor, alive: Tensor, gamma: float) -> Tensor:
        """Return how many weights the rule removes in every row."""
        sizes, kept = self._sizes(*descending(values, alive)[:1], alive)
        return torch.floor(torch.minimum(gamma * (sizes - kept), self.beta * sizes) + SLACK)

    def mean_index(self, view: ModelView) -> float:
        """Return the mean PQ index over the scopes that still hold a weight."""
        found = []
        for values, alive in self._rows(view):
            sizes = alive.sum(1).double()
            index = pq_index(descending(values, alive)[0], sizes, self.p, self.q)
            found.append(index[sizes > 0])
        together = torch.cat(found)
        return float(together.mean()) if len(together) else 0.0

    def _rows(self, view: ModelView) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weights and masks as rows."""
        masks = {name: view.masks[name] for name in view.weights}
        yield from zip(to_rows(view.weights, self.scope), to_rows(masks, self.scope), strict=True)

    def _sizes(self, ordered: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``d`` and ``r`` of every row."""
        sizes = alive.sum(1).double()
        return sizes, retained(ordered, sizes, self.p, self.q, self.eta)

    def _rank(self, values: Tensor, alive: Tensor) -> Tensor:
        ordered, order = descending(values, alive)
        sizes, kept = (column.unsqueeze(1) for column in self._sizes(ordered, alive))
        # Rank from the smallest, 1 to d; 0 and less for what is gone.
        rank = sizes - torch.arange(ordered.shape[1], device=ordered.device)
        room = sizes - kept
        beyond = rank > torch.floor(self.beta * sizes + SLACK)
        last = torch.where(room > 0, 1.0, 2.0) + rank / (sizes + 1.0)
        score = torch.where(beyond | (room <= 0), last, rank / (rank + room))
        score = torch.where(rank > 0, score, 0.0)
        score = torch.empty_like(score).scatter_(1, order, score)
        largest = torch.zeros_like(alive).scatter_(1, order[:, :1], True) & alive
        score[largest] = 3.0 + turns(values * alive, largest)
        return score
