"""Linear: as much in every step."""

from __future__ import annotations


def sparsity_at(progress: float, target: float) -> float:
    """Return ``target * progress``.

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
       model compression", arXiv 1710.01878 (its polynomial with exponent 1).
    """
    return target * progress
