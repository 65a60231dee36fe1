"""SNIP: weights whose removal changes the loss most, to first order."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.view import ModelView, Scores, Signal


class Snip:
    """Scores a weight by the absolute product of weight and gradient.

    Notes
    -----
    ``|dL/dc|`` at ``c = 1`` for a loss of ``c * w`` equals ``|w * dL/dw|`` (card pruning_at_init,
    c3). The original divides by the sum over all weights, which changes no ranking and is left
    out.

    References
    ----------
    .. [1] N. Lee, T. Ajanthan, P. Torr, "SNIP: Single-shot Network Pruning based on Connection
       Sensitivity", ICLR 2019, arXiv 1810.02340, equation 5.
    """

    reference: ClassVar[str] = "Lee et al., ICLR 2019, arXiv 1810.02340"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.GRADIENT})
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __call__(self, view: ModelView) -> Scores:
        """Return ``|w * g|`` in the gradient's precision."""
        gradients = view.signals[Signal.GRADIENT]
        return {
            name: (weight.to(gradients[name]) * gradients[name]).abs()
            for name, weight in view.weights.items()
        }
