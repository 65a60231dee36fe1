"""Physical removal: a smaller model that computes what the masked one computes.

Tensors are sliced by the index lists of the unit groups, so nothing here traces a graph. The
result is described by a plan, a few lines of JSON, from which the architecture is rebuilt with
nothing but the dense model's factory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from autoprune.core.errors import VerificationError
from autoprune.pruning.low_rank import can_factorise, factorise, low_rank_layer
from autoprune.pruning.view import UnitGroup

_CONV, _NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm
_SIZED = (nn.Linear, _CONV, _NORM, nn.PReLU)
"""Modules whose integers follow from the shapes of their tensors."""

BUFFERS = ("running_mean", "running_var")
"""Last names of the members that are statistics: sliced with their unit, never masked."""


@dataclass(frozen=True)
class Slot:
    """One dimension of one tensor, and the unit that owns each entry along it (-1: none)."""

    name: str
    dim: int
    role: str
    group: str
    owner: Tensor


def slots(groups: Iterable[UnitGroup]) -> list[Slot]:
    """Turn the index lists of unit groups into owner vectors, one per member."""
    found = []
    for group in groups:
        for member in group.members:
            size = member.size or 1 + max(max(index) for index in member.index)
            owner = torch.full((size,), -1, dtype=torch.int64)
            units = torch.arange(len(member.index))
            owned = torch.tensor([len(index) for index in member.index])
            entries = torch.tensor([e for index in member.index for e in index], dtype=torch.int64)
            owner[entries] = units.repeat_interleave(owned)
            found.append(Slot(member.name, member.dim, member.role, group.name, owner))
    return found


def live_entries(
    places: Iterable[Slot], units: Mapping[str, Tensor]
) -> dict[str, dict[int, Tensor]]:
    """Return which entries along which dimension of which tensor live.

    Parameters
    ----------
    places : iterable of Slot
        Where the units lie.
    units : mapping
        Group name to a bool vector, True = kept; groups that are not named are whole.

    Returns
    -------
    dict
        Tensor name to dimension to a bool vector; tensors no unit owns are absent.
    """
    live: dict[str, dict[int, Tensor]] = {}
    for place in places:
        dims = live.setdefault(place.name, {})
        alive = dims.setdefault(place.dim, torch.ones(len(place.owner), dtype=torch.bool))
        if place.group in units:
            flags = units[place.group].to(torch.bool)
            alive &= (place.owner < 0) | flags[place.owner.clamp(min=0)]
    return live


def compact(
    model: nn.Module,
    units: Mapping[str, Sequence[int]],
    ranks: Mapping[str, int],
    groups: Sequence[UnitGroup],
) -> nn.Module:
    """Return a physically smaller copy that equals the masked model in eval mode.

    Parameters
    ----------
    model : nn.Module
        The dense-shaped model; layers with a rank already hold weights of that rank.
    units : mapping
        Unit group name to one 0/1 flag per unit; groups that are not named stay whole.
    ranks : mapping
        Weight name to the rank its layer is split at.
    groups : sequence of UnitGroup
        The groups that `units` names.

    Raises
    ------
    VerificationError
        If `units` or `ranks` name something the model does not have.
    """
    slim = copy.deepcopy(model)
    flags = {name: torch.tensor(list(value), dtype=torch.bool) for name, value in units.items()}
    unknown = set(flags) - {group.name for group in groups}
    if unknown:
        raise VerificationError(f"the model has no unit groups {sorted(unknown)}")
    touched = [group for group in groups if group.name in flags and not flags[group.name].all()]
    tensors = {**dict(slim.named_parameters()), **dict(slim.named_buffers())}
    for name, dims in live_entries(slots(touched), flags).items():
        value = tensors[name].detach()
        for dim, alive in dims.items():
            value = value.index_select(dim, alive.nonzero().flatten().to(value.device))
        _put(slim, name, value)
    for group in touched:
        for counter in group.counters:
            counted = flags[group.name][list(counter.units) or slice(None)]
            number = int(counted.sum()) * counter.per_unit
            setattr(slim.get_submodule(counter.module), counter.attribute, number)
    for name, rank in ranks.items():
        path = name.rpartition(".")[0]
        layer = _layer(slim, path)
        first, second = factorise(layer.weight.detach(), rank)
        slim.set_submodule(path, low_rank_layer(layer, first, second))
    return slim


def compact_plan(dense: nn.Module, slim: nn.Module) -> dict[str, Any]:
    """Describe how a compact model differs from the dense one.

    Returns
    -------
    dict
        JSON: ``tensors``, names to new shapes; ``ranks``, layer paths to ranks; ``attributes``,
        module paths to new values of integers that do not follow from a shape, such as
        ``num_heads``.
    """
    shapes = {name: list(value.shape) for name, value in slim.state_dict().items()}
    ranks = {}
    for path, layer in dense.named_modules():
        if can_factorise(layer) and isinstance(slim.get_submodule(path), nn.Sequential):
            first = shapes[f"{path}.0.weight"]
            ranks[path] = first[0]
            shapes[f"{path}.weight"] = [shapes[f"{path}.1.weight"][0], *first[1:]]
            shapes[f"{path}.bias"] = [shapes[f"{path}.1.weight"][0]]
    changed = {
        name: shapes[name]
        for name, value in dense.state_dict().items()
        if shapes[name] != list(value.shape)
    }
    return {"tensors": changed, "ranks": ranks, "attributes": _changed_integers(dense, slim)}


def _changed_integers(dense: nn.Module, slim: nn.Module) -> dict[str, dict[str, int]]:
    """Return the integers of modules that differ, but those that `_put` reads off a shape."""
    changed: dict[str, dict[str, int]] = {}
    for path, module in dense.named_modules():
        if isinstance(module, _SIZED):
            continue
        now = vars(slim.get_submodule(path))
        for name, value in vars(module).items():
            if type(value) is int and now.get(name) != value:
                changed.setdefault(path, {})[name] = now[name]
    return changed


def apply_plan(dense: nn.Module, plan: Mapping[str, Any]) -> nn.Module:
    """Rebuild a compact architecture, its changed tensors zero, from the dense one and a plan.

    Raises
    ------
    VerificationError
        If the plan names a tensor, layer or integer that the dense model does not have.
    """
    slim = copy.deepcopy(dense)
    known = slim.state_dict()
    for name, shape in plan["tensors"].items():
        if name not in known or len(shape) != known[name].dim():
            raise VerificationError(f"the plan's tensor {name!r} is not one of this model's")
        _put(slim, name, known[name].new_zeros(shape))
    for path, integers in plan.get("attributes", {}).items():  # older plans have none
        module = dict(slim.named_modules()).get(path, nn.Identity())
        for name, value in integers.items():
            if type(vars(module).get(name)) is not int or type(value) is not int:
                raise VerificationError(f"the plan's integer '{path}.{name}' is not this model's")
            setattr(module, name, value)
    for path, rank in plan["ranks"].items():
        layer = _layer(slim, path)
        weight = layer.weight
        first = weight.new_zeros((int(rank), *weight.shape[1:]))
        second = weight.new_zeros((len(weight), int(rank), *(1,) * (weight.dim() - 2)))
        slim.set_submodule(path, low_rank_layer(layer, first, second))
    return slim


def _layer(model: nn.Module, path: str) -> nn.Conv2d | nn.Linear:
    """Return the layer to split, which must be one that can be."""
    layer = dict(model.named_modules()).get(path)
    if layer is None or not can_factorise(layer):
        raise VerificationError(f"{path!r} is not a layer that can be split in two")
    return cast("nn.Conv2d | nn.Linear", layer)


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    """Replace one tensor of a model, and what its module says about its own shape."""
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    if last in module._parameters:
        grad = cast(nn.Parameter, module._parameters[last]).requires_grad
        module._parameters[last] = nn.Parameter(value, requires_grad=grad)
    else:
        module._buffers[last] = value
    size = int(value.shape[0])
    if isinstance(module, nn.Linear) and last == "weight":
        module.out_features, module.in_features = size, int(value.shape[1])
    elif isinstance(module, _CONV) and last == "weight":
        if 1 < module.groups == module.in_channels == module.out_channels:
            module.groups = size  # depthwise: a channel is a group; else each group gets narrower
        module.out_channels, module.in_channels = size, int(value.shape[1]) * module.groups
    elif isinstance(module, _NORM) and value.dim():
        module.num_features = size
    elif isinstance(module, nn.PReLU):
        module.num_parameters = size
