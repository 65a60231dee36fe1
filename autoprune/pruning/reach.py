"""How far each kind of pruning can go on a model, found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoprune.core.records import LayerInfo
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.low_rank import low_rank_reach, splittable
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.view import ModelView


def find_reach(
    model: nn.Module, layers: Sequence[LayerInfo], input_shape: Sequence[int]
) -> dict[str, float]:
    """Return the greatest sparsity that removing units and lowering ranks can reach.

    Returns
    -------
    dict
        ``units`` (0 when no group of units can be removed) and ``low_rank``; single weights have
        no limit of the model's own.
    """
    groups = find_groups(model, torch.zeros(2, *input_shape))
    parameters = dict(model.named_parameters())
    weights = {layer.name: parameters[layer.name].detach() for layer in layers}
    view = ModelView(weights=weights, masks=dense_masks(weights), groups=groups)
    return {
        "units": ChannelGranularity().reachable(view) if groups else 0.0,
        "low_rank": low_rank_reach(layers, splittable(model, layers)),
    }
