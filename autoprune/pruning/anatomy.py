"""What of a model can be pruned, what cannot and why: what `autoprune doctor` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from autoprune.core.records import LayerInfo
from autoprune.pruning.groups import GroupReport, inspect_groups
from autoprune.pruning.low_rank import splittable
from autoprune.pruning.view import UnitGroup

_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
UNTRACED = "the model's channels cannot be traced"
UNFOUND = "no removable unit was found: they are coupled with what stays, or not traced"


def anatomy(
    model: nn.Module, layers: Sequence[LayerInfo], input_shape: Sequence[int]
) -> dict[str, Any]:
    """Take a model apart.

    Parameters
    ----------
    model : nn.Module
        Left untouched.
    layers : sequence of LayerInfo
        Its prunable weights.
    input_shape : sequence of int
        Of one input.

    Returns
    -------
    dict
        ``groups``: a row per group of removable units with its ``name``, number of ``units``, and
        the layers that ``make`` and ``read`` them; ``units_stay``: prunable weight to the reason
        why its units cannot go; ``rank_stays``: weights that are never factorised; ``tied``: lists
        of names of one tensor; ``attention``: a row per attention module with its ``name``,
        ``type``, ``heads``, whether its weights are ``understood``, and ``note``;
        ``not_prunable``: a row per sort of parameter that no method removes by itself, with how
        many ``params`` it has.
    """
    report = inspect_groups(model, torch.zeros(2, *input_shape))
    able = set(splittable(model, layers))
    order = {name: position for position, (name, _) in enumerate(model.named_modules())}
    return {
        "groups": [_group(group, order) for group in report.groups],
        "units_stay": _units_stay(report, layers),
        "rank_stays": [layer.name for layer in layers if layer.name not in able],
        "tied": _tied(model),
        "attention": [
            _attention(name, module, layers, report)
            for name, module in model.named_modules()
            if _attends(module)
        ],
        "not_prunable": _not_prunable(model, layers),
    }


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _group(group: UnitGroup, order: Mapping[str, int]) -> dict[str, Any]:
    def names(role: str) -> list[str]:
        found = {_layer(m.name) for m in group.members if m.role == role}
        return sorted(found, key=order.__getitem__)

    return {
        "name": group.name,
        "units": group.num_units,
        "make": names("out"),
        "read": names("in"),
    }


def _units_stay(report: GroupReport, layers: Sequence[LayerInfo]) -> dict[str, str]:
    made = {member.name for g in report.groups for member in g.members if member.role == "out"}
    default = UNFOUND if report.groups or report.left_out else UNTRACED
    return {
        layer.name: "attention's projections keep their shape"
        if layer.kind == "attention"
        else report.left_out.get(layer.name, default)
        for layer in layers
        if layer.name not in made
    }


def _tied(model: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def _attends(module: nn.Module) -> bool:
    heads = isinstance(getattr(module, "num_heads", None), int)
    return heads or isinstance(module, nn.MultiheadAttention)


def _attention(
    name: str, module: nn.Module, layers: Sequence[LayerInfo], report: GroupReport
) -> dict[str, Any]:
    """Describe an attention module: whether all of its matrices are prunable weights."""
    known = {layer.name for layer in layers}
    lost = [
        path
        for path, value in module.named_parameters(prefix=name)
        if value.dim() > 1 and path not in known
    ]
    heads = any(group.name.startswith(f"{name}.") for group in report.groups)
    note = "single weights and whole heads can go"
    if not heads:
        whys = [why for layer, why in report.left_out.items() if layer.startswith(f"{name}.")]
        note = f"single weights can go; heads stay: {whys[0] if whys else UNFOUND}"
    if lost:
        note = f"not understood: {', '.join(lost)} belong to no layer that can be pruned"
    return {
        "name": name,
        "type": type(module).__name__,
        "heads": getattr(module, "num_heads", None),
        "understood": not lost,
        "note": note,
    }


def _not_prunable(model: nn.Module, layers: Sequence[LayerInfo]) -> list[dict[str, Any]]:
    known = {layer.name for layer in layers}
    owners: Mapping[str, nn.Module] = dict(model.named_modules())
    sorts: dict[str, int] = {}
    for name, value in model.named_parameters():
        if name not in known:
            owner, last = owners[_layer(name)], name.rpartition(".")[2]
            sort = _sort(owner, last, name)
            sorts[sort] = sorts.get(sort, 0) + value.numel()
    return [{"what": sort, "params": number} for sort, number in sorts.items()]


def _sort(owner: nn.Module, last: str, name: str) -> str:
    if isinstance(owner, _NORMS):
        return "norms"
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embeddings"
    if isinstance(owner, _WEIGHTED) and "bias" in last:
        return "biases"
    return f"{name} ({type(owner).__name__})"
