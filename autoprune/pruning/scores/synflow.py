"""SynFlow: weights that carry much of the flow from the inputs to the outputs."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.view import ModelView, Scores, Signal


class SynFlow:
    """Scores a weight by its share of the positive signal that reaches the outputs.

    Notes
    -----
    ``|w| * dR/d|w|`` (card pruning_at_init, c5). In a chain without biases every layer's scores
    sum to R, so a layer with few weights has large scores: scored anew in many rounds, no layer
    empties before the others are down to a weight each.

    A call costs one forward and one backward pass of a single image of ones, counted as one pass.

    References
    ----------
    .. [1] H. Tanaka, D. Kunin, D. Yamins, S. Ganguli, "Pruning neural networks without any data
       by iteratively conserving synaptic flow", NeurIPS 2020, arXiv 2006.05467, equation 5.
    """

    reference: ClassVar[str] = "Tanaka et al., NeurIPS 2020, arXiv 2006.05467"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.SYNAPTIC_FLOW})
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def __call__(self, view: ModelView) -> Scores:
        """Return ``|w| * dR/d|w|`` in the signal's precision."""
        slopes = view.signals[Signal.SYNAPTIC_FLOW]
        return {
            name: weight.to(slopes[name]).abs() * slopes[name]
            for name, weight in view.weights.items()
        }
