"""Mean activation: units that hardly speak can go."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.view import ModelView, Scores, Signal


class MeanActivation:
    """Scores a unit by its mean absolute post-activation over training images.

    Notes
    -----
    Mean over images, positions and consumers; see `autoprune.pruning.signals.activation` for where
    it is measured, which deviates from the paper (card dropnet, c).

    References
    ----------
    .. [1] J. Tan Chong Min, M. Motani, "DropNet: Reducing Neural Network Complexity via Iterative
       Pruning", ICML 2020, PMLR 119.
    """

    reference: ClassVar[str] = "Tan & Motani, ICML 2020"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.ACTIVATION})
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __call__(self, view: ModelView) -> Scores:
        """Return one vector per unit group."""
        means = view.signals[Signal.ACTIVATION]
        return {group.name: means[group.name] for group in view.groups}
