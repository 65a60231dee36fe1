"""Plateau cubic: a cubic ramp between two plateaus."""

from __future__ import annotations

from autoprune.pruning.schedules import cubic

INITIAL_PLATEAU = 0.055
FINAL_PLATEAU = 0.275


def sparsity_at(progress: float, target: float) -> float:
    """Return the cubic curve between the plateaus: 0 before it, the target after it.

    Parameters
    ----------
    progress : float
        Share of the pruning phase that is done, in [0, 1].
    target : float
        Final sparsity, in [0, 1).

    Returns
    -------
    float
        Sparsity, in [0, 1); 0 up to progress .055, exactly the target from .725 on.

    Notes
    -----
    The authors schedule the remaining ratio, ``r = r_T + (1 - r_T) * (1 - x) ** 3``, which is the
    same curve (card platon, c5). The plateaus are the shares of training that their warm-up and
    cool-down take on MNLI: about 5.5 % and 27.5 % (card platon, d).

    References
    ----------
    .. [1] Q. Zhang, S. Zuo, C. Liang, A. Bukharin, P. He, W. Chen, T. Zhao, "PLATON: Pruning Large
       Transformer Models with Upper Confidence Bound of Weight Importance", ICML 2022,
       arXiv 2206.12562.
    """
    end = 1.0 - FINAL_PLATEAU
    ramp = (progress - INITIAL_PLATEAU) / (end - INITIAL_PLATEAU)
    return cubic.sparsity_at(min(1.0, max(0.0, ramp)), target)
