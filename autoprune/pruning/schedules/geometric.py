"""Geometric: the same share of what remains in every round."""

from __future__ import annotations

import math


def sparsity_at(progress: float, target: float) -> float:
    """Return ``1 - (1 - target) ** progress``.

    Parameters
    ----------
    progress : float
        Share of the rounds that are done, in [0, 1]: round ``j`` of ``R`` is ``j / R``.
    target : float
        Final sparsity, in [0, 1).

    Returns
    -------
    float
        Sparsity, in [0, 1); exactly the target at 1.

    Notes
    -----
    Each of ``R`` rounds removes the share ``1 - (1 - target) ** (1 / R)`` of the remaining
    weights (cards sparsity_schedules c1 and imp c). Counts made of it are taken from the dense
    total, so rounding never adds up.

    References
    ----------
    .. [1] J. Frankle, M. Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, arXiv 1803.03635.
    """
    if progress == 1:
        return target
    # Rounding could lift it above the target just before the end.
    return min(1 - math.pow(1 - target, progress), target)
