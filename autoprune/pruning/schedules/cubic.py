"""Cubic: fast at first, while there is much to spare, then ever slower."""

from __future__ import annotations


def sparsity_at(progress: float, target: float) -> float:
    """Return ``target * (1 - (1 - progress) ** 3)``.

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

    References
    ----------
    .. [1] M. Zhu, S. Gupta, "To prune, or not to prune: exploring the efficacy of pruning for
       model compression", arXiv 1710.01878, equation 1 (initial sparsity 0).
    """
    return target * (1 - (1 - progress) ** 3)
