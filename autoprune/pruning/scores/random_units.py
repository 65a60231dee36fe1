"""Random units: the control for scores of whole channels and neurons."""

from __future__ import annotations

from typing import ClassVar

from autoprune.pruning.scores.units import drawn
from autoprune.pruning.view import ModelView, Scores, Signal


class RandomUnits:
    """Scores a unit by a draw from the uniform distribution, one stream per group.

    References
    ----------
    .. [1] J. Tan Chong Min, M. Motani, "DropNet: Reducing Neural Network Complexity via Iterative
       Pruning", ICML 2020, PMLR 119 (the random metric).
    """

    reference: ClassVar[str] = "control"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return draws in [0, 1), one vector per unit group."""
        return drawn(view)
