"""One ranking over all layers, and what an allocation knows of a layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.core.errors import ConfigError
from autoprune.pruning.keep import UnitScores


def alive_counts(units: UnitScores) -> dict[str, int]:
    """Count each layer's units that are still there."""
    return {name: int((layer.scores > -torch.inf).sum()) for name, layer in units.items()}


def floors_of_one(alive: Mapping[str, int], kept: int) -> dict[str, int]:
    """Let every layer keep one unit, or none where `kept` does not reach for all.

    A layer that empties is a result of an extreme sparsity, not an error.
    """
    floors = {name: min(1, count) for name, count in alive.items()}
    return floors if sum(floors.values()) <= kept else dict.fromkeys(alive, 0)


def count_highest(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Count, layer by layer, the `kept` highest scores of all layers.

    Raises
    ------
    ConfigError
        If fewer than `kept` scores are above ``-inf``.
    """
    flat = torch.cat([values.reshape(-1) for values in scores.values()])
    alive = int((flat > -torch.inf).sum())
    if not 0 <= kept <= alive:
        rule = f"must keep between 0 and {alive} units in all"
        raise ConfigError("allocation", rule, kept, "choose another sparsity")
    if kept == 0:
        return dict.fromkeys(scores, 0)
    threshold = flat.kthvalue(flat.numel() - kept + 1).values
    counts = {name: int((values > threshold).sum()) for name, values in scores.items()}
    # Tie-break: scores equal to the threshold are kept in layer order.
    left = kept - sum(counts.values())
    for name, values in scores.items():
        tied = min(left, int((values == threshold).sum()))
        counts[name] += tied
        left -= tied
    return counts
