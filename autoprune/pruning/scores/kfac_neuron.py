"""K-FAC units: keep what is dear to remove, and let go of what makes the loss steep."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.pruning.compact import slots
from autoprune.pruning.view import ModelView, Scores, Signal, UnitGroup

SHARE = 0.02
"""Of a group's units, the share that goes last, where it is more than `min_alive`."""

SIGNALS = {
    "sampled": Signal.UNIT_CURVATURE,
    "empirical": Signal.UNIT_CURVATURE_EMPIRICAL,
}


class KfacNeuron:
    """Scores a unit by the damage of its removal, less a share of what it would flatten.

    Parameters
    ----------
    flatness : float
        Weight of the fall of the spectral radius, mu, >= 0; 0 leaves the damage alone.
    labels : str
        ``sampled``: the Fisher matrix; ``empirical``: that of the data's labels.
    min_alive : int
        The best so many units of a group, or 2 % of them if that is more, go after all others.

    Notes
    -----
    ``damage / mean(damage) - mu * flatness / mean(flatness)``, means over all units of the net.
    Units that are gone count in both means, with 0 in both, which changes no order. How damage
    and flatness are measured says `autoprune.pruning.signals.kfac`.

    The damage is standard curvature mathematics for a stationary point (OBD with Kronecker
    factors); that it is joined with flatness is the paper's idea; how, and every constant, is a
    reconstruction (card kfac_neuron, c' and d).

    # Tie-break: the units of `min_alive` keep their order, above every other score, so that a
    sparsity that needs them can still be met.

    References
    ----------
    .. [1] A. Ebrahimi, D. Klabjan, "Neuron-based Pruning of Deep Neural Networks with Better
       Generalization using Kronecker Factored Curvature Approximation", IJCNN 2023,
       arXiv 2111.08577.
    .. [2] J. Martens, R. Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate
       Curvature", ICML 2015, arXiv 1503.05671.
    """

    reference: ClassVar[str] = "Ebrahimi & Klabjan, arXiv 2111.08577 (a reconstruction)"
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __init__(
        self,
        flatness: float = 0.3,
        labels: Literal["sampled", "empirical"] = "sampled",
        min_alive: int = 4,
    ) -> None:
        self.flatness, self.labels, self.min_alive = flatness, labels, min_alive

    @property
    def needs(self) -> frozenset[Signal]:
        """The units' curvature, with the labels asked for."""
        return frozenset({SIGNALS[self.labels]})

    def __call__(self, view: ModelView) -> Scores:
        """Return one float64 vector per unit group."""
        if not view.groups:
            return {}
        found = view.signals[SIGNALS[self.labels]]
        every = torch.cat([found[group.name] for group in view.groups], 1)
        means = every.mean(1, keepdim=True).clamp(min=torch.finfo(every.dtype).tiny)
        rates = torch.tensor([1.0, -self.flatness], dtype=every.dtype)
        scores = {group.name: rates @ (found[group.name] / means) for group in view.groups}
        whole = torch.cat(list(scores.values()))
        above = whole.max() - whole.min() + 1.0
        for group in view.groups:
            scores[group.name][self._last(scores[group.name], group, view)] += above
        return scores

    def _last(self, score: Tensor, group: UnitGroup, view: ModelView) -> Tensor:
        """Return the units of a group that go after all others; fewer if fewer are alive."""
        alive = torch.zeros(group.num_units, dtype=torch.bool)
        for place in slots([group]):
            if place.role == "out" and place.name in view.masks:
                kept = view.masks[place.name].flatten(1).any(1).cpu()
                alive[place.owner[(place.owner >= 0) & kept]] = True
        order = torch.where(alive, score, -torch.inf).argsort(descending=True, stable=True)
        least = max(self.min_alive, math.ceil(SHARE * group.num_units))
        return order[: min(least, int(alive.sum()))]
