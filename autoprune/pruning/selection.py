"""Choosing weights while training goes on: scores in, masks out, over the dense weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.pruning.allocations.spec import resolve_allocation
from autoprune.pruning.granularities.spec import resolve_granularity
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks, top_k_mask
from autoprune.pruning.view import ModelView, Scores


def select_weights(
    scores: Scores,
    weights: Mapping[str, Tensor],
    allocation: str,
    sparsity: float,
    granularity: str = "weight",
) -> dict[str, Tensor]:
    """Return the masks that keep the best weights, whether or not they are alive now.

    Parameters
    ----------
    scores : mapping of str to Tensor
        One finite score per weight, higher = keep.
    weights : mapping of str to Tensor
        Their values; some allocations rank layers by them.
    allocation : str
        Allocation registry name, perhaps with knobs.
    sparsity : float
        Fraction of the weights to remove; the count kept is exact, or as near as the granularity
        allows.
    granularity : str
        Granularity registry name, or a pattern such as ``2:4``.
    """
    view = ModelView(weights=weights, masks=dense_masks(weights))
    rule = resolve_allocation(allocation)
    return keep_masks(scores, resolve_granularity(granularity), rule, sparsity, view).masks


def best_of_layer(scores: Tensor, share: float) -> Tensor:
    """Return the mask of a layer's best `share`, rounded up to whole weights.

    Examples
    --------
    >>> best_of_layer(torch.tensor([0.1, 0.4, 0.3]), 0.4).tolist()
    [False, True, True]
    """
    return top_k_mask(scores, math.ceil(share * scores.numel()))


def lift_best(scores: Scores, share: float) -> Scores:
    """Lift each layer's best `share` above all other scores, so that one ranking spares them.

    The order among the lifted, and among the others, stays. Where a sparsity leaves fewer weights
    than were lifted, the best of the lifted remain and the count is still exact.

    Parameters
    ----------
    scores : mapping of str to Tensor
        Finite scores by layer.
    share : float
        Share of each layer to lift, in [0, 1].

    Returns
    -------
    dict of str to Tensor
        float64 scores of the same shapes.
    """
    doubled = {name: score.double() for name, score in scores.items()}
    span = max(float(s.max()) for s in doubled.values()) - min(
        float(s.min()) for s in doubled.values()
    )
    return {n: s + (span + 1.0) * best_of_layer(s, share) for n, s in doubled.items()}


def rank(primary: Scores, secondary: Scores) -> Scores:
    """Rank all weights of a net by one score, ties by another, remaining ties by position.

    Returns
    -------
    dict of str to Tensor
        float64 whole numbers, distinct over all layers; the best weight has the highest.
    """
    first = torch.cat([score.reshape(-1) for score in primary.values()])
    second = torch.cat([secondary[name].reshape(-1) for name in primary])
    # Tie-break: both sorts are stable, so the lower index of the earlier layer ranks higher.
    order = torch.sort(second, descending=True, stable=True).indices
    order = order[torch.sort(first[order], descending=True, stable=True).indices]
    count = first.numel()
    ranks = torch.empty(count, dtype=torch.float64, device=first.device)
    ranks[order] = torch.arange(count, 0, -1, dtype=torch.float64, device=first.device)
    parts = torch.split(ranks, [score.numel() for score in primary.values()])
    return {n: p.view_as(primary[n]) for n, p in zip(primary, parts, strict=True)}


def turns(values: Tensor, chosen: Tensor) -> Tensor:
    """Rank some entries of a layer by the share of their row that they hold.

    Where a rule gives one entry of every row the same score, the rows of a wide layer would all
    come before those of the next. Ranked by quantile within their layer, layers take turns.

    Parameters
    ----------
    values : Tensor ``(out, in)``
        Sizes; the sign does not matter.
    chosen : Tensor ``(out, in)``
        Bool, the entries to rank.

    Returns
    -------
    Tensor
        One number in (0, 1] for each chosen entry, in their order; 1 for the largest share.
    """
    sizes = values.abs().double()
    shares = (sizes / sizes.sum(1, keepdim=True).clamp_min(1e-300))[chosen]
    places = torch.empty_like(shares)
    order = torch.sort(shares, stable=True).indices
    numbers = torch.arange(1, len(shares) + 1, dtype=shares.dtype, device=shares.device)
    places[order] = numbers / max(1, len(shares))
    return places
