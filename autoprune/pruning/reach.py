"""How far each kind of pruning can go on a model, found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoprune.core.records import LayerInfo, UnitInfo
from autoprune.pruning.compact import slots
from autoprune.pruning.grain import Grain, greatest
from autoprune.pruning.groups import find_groups
from autoprune.pruning.low_rank import low_rank_macs, low_rank_reach, splittable
from autoprune.pruning.readers import read_once
from autoprune.pruning.view import UnitGroup


def find_reach(
    model: nn.Module,
    layers: Sequence[LayerInfo],
    units: Sequence[UnitInfo],
    elsewhere: int = 0,
) -> dict[str, float]:
    """Return the greatest shares that removing units and lowering ranks can remove.

    Parameters
    ----------
    model : nn.Module
        The dense model.
    layers : sequence of LayerInfo
        Its prunable weights.
    units : sequence of UnitInfo
        Its groups, by `find_units`.
    elsewhere : int
        Multiply-adds that no prunable weight does.

    Returns
    -------
    dict
        ``units`` (0 when no group of units can be removed) and ``low_rank``; single weights have
        no limit of the model's own. ``inner_channel`` is what remains of ``units`` where only
        those that a single layer reads go. Each also with ``_macs``: the share of the
        multiply-adds that then goes.
    """
    names = splittable(model, layers)
    inner = [group for group in units if group.inner]
    return {
        "units": greatest(layers, units, Grain()),
        "units_macs": greatest(layers, units, Grain(), "macs", elsewhere),
        "low_rank": low_rank_reach(layers, names),
        "low_rank_macs": low_rank_macs(layers, names, elsewhere),
        "inner_channel": greatest(layers, inner, Grain()),
        "inner_channel_macs": greatest(layers, inner, Grain(), "macs", elsewhere),
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
