"""How far training and pruning have taken a network's weights from where they began."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Distance(NamedTuple):
    """A learning distance and its two parts; ``total^2 = alive^2 + pruned^2``."""

    total: float
    alive: float
    pruned: float


def learning_distance(
    initial: Mapping[str, Tensor], final: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Distance:
    """Measure the Euclidean distance of masked weights from their initial ones.

    Parameters
    ----------
    initial : dict of str to Tensor
        The weights to compare, as the dense network began.
    final : dict of str to Tensor
        The same tensors as they are now; others are left out.
    masks : dict of str to bool Tensor
        True = kept; a tensor without a mask is kept whole. What is masked counts as 0, whatever
        `final` holds there.

    Returns
    -------
    Distance
        ``total = ||w_init - m * w||``; ``alive`` over the kept weights; ``pruned`` over the masked
        ones, where it is the norm of the initial weights.

    Notes
    -----
    A layer that is followed by a norm computes the same at any scale of its weights, so distances
    compare within one architecture only.

    # Deviation: over the weights that the caller gives (the prunable ones, in a job); the paper
    does not say whether norms and biases count.

    References
    ----------
    Z. He, Z. Xie, Q. Zhu, Z. Qin, "Sparse Double Descent: Where Network Pruning Aggravates
    Overfitting", ICML 2022, arXiv 2206.08684.
    """
    alive = pruned = 0.0
    for name, start in initial.items():
        mask = masks.get(name, torch.ones_like(start, dtype=torch.bool))
        # Selected, not multiplied: a masked entry may be anything, and 0 times infinity is NaN.
        moved = start.double()[mask] - final[name].double()[mask]
        alive += float(moved.square().sum())
        pruned += float(start.double()[~mask].square().sum())
    return Distance(math.sqrt(alive + pruned), math.sqrt(alive), math.sqrt(pruned))
