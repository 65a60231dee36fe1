"""GraSP: weights whose removal would hurt the flow of gradients."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.view import ModelView, Scores, Signal


class Grasp:
    """Scores a weight by its product with the Hessian-gradient product.

    Notes
    -----
    Removing weight ``j`` changes ``||g||^2`` by ``-2 w_j (H g)_j`` to first order, so what is kept
    has the largest ``w * (H g)``: the weights whose removal shrinks the gradient most (the paper
    removes the largest ``-w * (H g)``, which is the same). The sign matters; there is no absolute
    value (card pruning_at_init, c4).

    Two sweeps over the scoring set a call: one for the gradient, one for the product.

    References
    ----------
    .. [1] C. Wang, G. Zhang, R. Grosse, "Picking Winning Tickets Before Training by Preserving
       Gradient Flow", ICLR 2020, arXiv 2002.07376, equation 8.
    """

    reference: ClassVar[str] = "Wang et al., ICLR 2020, arXiv 2002.07376"
    needs: ClassVar[frozenset[Signal]] = frozenset({Signal.HESSIAN_GRADIENT})
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = False
    passes: ClassVar[int] = 2

    def __call__(self, view: ModelView) -> Scores:
        """Return ``w * (H g)`` in the signal's precision."""
        products = view.signals[Signal.HESSIAN_GRADIENT]
        return {
            name: weight.to(products[name]) * products[name]
            for name, weight in view.weights.items()
        }
