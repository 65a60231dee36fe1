"""How far each kind of pruning can go on a model, found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoprune.core.records import LayerInfo, UnitInfo
from autoprune.pruning.compact import slots
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.granularities.inner_channel import InnerChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.low_rank import low_rank_macs, low_rank_reach, splittable
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.readers import read_once
from autoprune.pruning.view import ModelView, UnitGroup


def find_reach(
    model: nn.Module, layers: Sequence[LayerInfo], input_shape: Sequence[int]
) -> dict[str, float]:
    """Return the greatest shares that removing units and lowering ranks can remove.

    Returns
    -------
    dict
        ``units`` (0 when no group of units can be removed) and ``low_rank``; single weights have
        no limit of the model's own. ``inner_channel`` is what remains of ``units`` where only
        those that a single layer reads go. Each also with ``_macs``: the share of the
        multiply-adds that then goes.
    """
    groups = find_groups(model, torch.zeros(2, *input_shape))
    parameters = dict(model.named_parameters())
    weights = {layer.name: parameters[layer.name].detach() for layer in layers}
    view = ModelView(weights=weights, masks=dense_masks(weights), groups=groups)
    names = splittable(model, layers)
    inner = bool(read_once(groups))
    return {
        **_unit_reach("units", ChannelGranularity() if groups else None, view, layers),
        "low_rank": low_rank_reach(layers, names),
        "low_rank_macs": low_rank_macs(layers, names),
        **_unit_reach("inner_channel", InnerChannelGranularity() if inner else None, view, layers),
    }


def find_units(
    model: nn.Module, layers: Sequence[LayerInfo], input_shape: Sequence[int]
) -> tuple[UnitInfo, ...]:
    """Describe a model's groups of units by how much of each layer a unit takes along."""
    groups = find_groups(model, torch.zeros(2, *input_shape))
    inner = {group.name for group in read_once(groups)}
    names = [layer.name for layer in layers]
    return tuple(
        UnitInfo(group.name, group.num_units, group.name in inner, _entries(group, names))
        for group in groups
    )


def _entries(group: UnitGroup, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count the rows and columns of each tensor that a unit owns."""
    owned: dict[tuple[str, int], torch.Tensor] = {}
    for place in slots([group]):
        if place.name in names and place.dim < 2:
            key = (place.name, place.dim)
            mine = place.owner >= 0
            owned[key] = mine | owned[key] if key in owned else mine

    def per_unit(name: str, dim: int) -> int:
        return int(owned[name, dim].sum()) // group.num_units if (name, dim) in owned else 0

    found = {name: (per_unit(name, 0), per_unit(name, 1)) for name in names}
    return {name: entries for name, entries in found.items() if any(entries)}


def _unit_reach(
    name: str,
    granularity: ChannelGranularity | None,
    view: ModelView,
    layers: Sequence[LayerInfo],
) -> dict[str, float]:
    """Return the shares of weights and of multiply-adds that go with all units but one."""
    gone = macs = 0.0
    if granularity is not None:
        gone = granularity.reachable(view)
        units = granularity.pool({g.name: torch.zeros(g.num_units) for g in view.groups}, view)
        masks = granularity.select(units, dict.fromkeys(units, 0), view).masks
        kept = sum(float(masks[layer.name].double().mean()) * layer.macs for layer in layers)
        macs = 1.0 - kept / sum(layer.macs for layer in layers)
    return {name: gone, f"{name}_macs": macs}
