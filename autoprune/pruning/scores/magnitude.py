"""Magnitude: large weights matter."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.view import ModelView, Scores, Signal


class Magnitude:
    """Scores a weight by its absolute value.

    References
    ----------
    .. [1] S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for
       Efficient Neural Networks", NeurIPS 2015, arXiv 1506.02626.

    Examples
    --------
    >>> import torch
    >>> view = ModelView(weights={"w": torch.tensor([-2.0, 1.0])}, masks={})
    >>> Magnitude()(view)["w"].tolist()
    [2.0, 1.0]
    """

    reference: ClassVar[str] = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return ``|w|``."""
        return {name: weight.abs() for name, weight in view.weights.items()}
