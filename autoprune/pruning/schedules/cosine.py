"""Cosine: slow at both ends, fastest halfway."""

from __future__ import annotations

import math


def sparsity_at(progress: float, target: float) -> float:
    """Return ``target * (1 - cos(pi * progress)) / 2``.

    Parameters
    ----------
    progress : float
        Share of the pruning phase that is done, in [0, 1].
    target : float
        Final sparsity, in [0, 1).

    Returns
    -------
    float
        Sparsity, in [0, 1); exactly the target at 1.

    Notes
    -----
    Card sparsity_schedules, c1. Written as a squared sine, which does not cancel near 0.
    """
    return target * math.sin(math.pi / 2 * progress) ** 2
