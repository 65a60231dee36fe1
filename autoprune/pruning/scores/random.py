"""Random: the control that every score must beat."""

from __future__ import annotations

from typing import ClassVar

import torch

from autoprune.core.seeds import torch_stream
from autoprune.pruning.view import ModelView, Scores, Signal


class Random:
    """Scores a weight by a draw from the uniform distribution, one stream per tensor.

    References
    ----------
    .. [1] Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network
       Pruning", ICLR 2019, arXiv 1810.05270 (random pruning as a control).
    """

    reference: ClassVar[str] = "control"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    of_units: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    passes: ClassVar[int] = 0

    def __call__(self, view: ModelView) -> Scores:
        """Return draws in [0, 1), float64 so that ties are rare."""
        return {
            name: torch.rand(
                weight.shape,
                generator=torch_stream(view.seed, "score", "random", name),
                dtype=torch.float64,
            ).to(weight.device)
            for name, weight in view.weights.items()
        }
