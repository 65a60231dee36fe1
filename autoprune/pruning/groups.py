"""Unit groups: which channels and neurons can only be removed together.

The one adapter to torch-pruning, whose dependency graph is read and turned into plain index
lists. It is trusted as far as it can be checked: every group is removed for trial, on a copy with
randomised batch-norm statistics, and left out if the small model differs from the masked one.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch_pruning as tp
from torch import Tensor, nn

from autoprune.core.seeds import torch_stream
from autoprune.pruning.compact import BUFFERS, compact, live_entries, slots
from autoprune.pruning.view import UnitGroup, UnitMember

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Greatest relative deviation of a small model from its masked twin, in float32."""

_CONV, _NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm
_TRANSPOSED = nn.modules.conv._ConvTransposeNd


@dataclass(frozen=True)
class GroupReport:
    """The removable units of a model, and what was left out.

    Parameters
    ----------
    groups : tuple of UnitGroup
        In model order.
    left_out : dict
        Weight name to the reason why its units cannot be removed.
    """

    groups: tuple[UnitGroup, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


class _NotRemovable(Exception):  # noqa: N818 - a reason, not an error
    """Why a group of coupled layers cannot lose units."""


def find_groups(model: nn.Module, example: Tensor) -> tuple[UnitGroup, ...]:
    """Return the removable units of a model; see `inspect_groups`."""
    return inspect_groups(model, example).groups


def inspect_groups(model: nn.Module, example: Tensor) -> GroupReport:
    """Find the units that can be removed, and say why the others cannot.

    Outputs of the model, attention projections, layers coupled with a normalisation over
    channels or with grouped convolutions, and couplings that tracing cannot follow (zero-padded
    shortcuts) are left out.

    Parameters
    ----------
    model : nn.Module
        Left untouched.
    example : Tensor
        An input batch, any size; only its shape and type are read when it is real-valued.
    """
    model = copy.deepcopy(model).cpu().eval()
    example = example.detach().cpu()
    if example.is_floating_point():  # zeros would hide a wrong coupling
        example = torch.randn(example.shape, generator=torch_stream(0, "unit groups"))
    _randomise(model)
    names = {id(value): name for name, value in model.named_parameters()}
    found: list[UnitGroup] = []
    left_out: dict[str, str] = {}
    for graph_group in _trace(model, example):
        root = f"{_module_name(graph_group[0])}.weight"
        try:
            found.append(_unit_group(graph_group, list(names.values())))
        except _NotRemovable as why:
            left_out[root] = str(why)
    order = {name: position for position, name in enumerate(names.values())}
    found.sort(key=lambda group: order[group.name])
    groups = tuple(_checked(model, found, example, left_out))
    for name, reason in left_out.items():
        logger.debug("units of %s stay: %s", name, reason)
    return GroupReport(groups, left_out)


def _trace(model: nn.Module, example: Tensor) -> list[tp.Group]:
    """Return torch-pruning's groups, each with all of its units."""
    model.requires_grad_(True)  # frozen layers would be missed without a word
    graph = tp.DependencyGraph()
    try:
        with torch.enable_grad():
            graph.build_dependency(model, [example], verbose=False)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError) as error:
        # The library fails in many ways on graphs it does not know; such a model has no units.
        logger.warning("the model's channels cannot be traced (%r): no units to remove", error)
        return []
    heads = [
        m for parent in model.modules() if hasattr(parent, "num_heads") for m in parent.children()
    ]
    return list(graph.get_all_groups(ignored_layers=heads))


def _module_name(item: tp.dependency.Dependency) -> str:
    return str(item.dep.target.name).split(" ")[0]


def _unit_group(graph_group: tp.Group, order: Sequence[str]) -> UnitGroup:
    """Turn one of torch-pruning's groups into index lists."""
    num_units = len(graph_group[0].idxs)
    members: list[UnitMember] = []
    for item in graph_group:
        members += _item_members(item, num_units)
    if not any(member.role == "in" for member in members):
        raise _NotRemovable("they are outputs of the model")
    if num_units < 2:
        raise _NotRemovable("there is only one")
    made_of = {m.name for m in members if m.role == "out" and m.name.endswith("weight")}
    if any(m.name not in order and m.name.rpartition(".")[2] not in BUFFERS for m in members):
        raise _NotRemovable("their weights are shared with another layer")
    first = next(name for name in order if name in made_of)
    return UnitGroup(first, num_units, tuple(members))


def _item_members(item: tp.Group, num_units: int) -> list[UnitMember]:
    """Return the tensors of one module in a group, with the entries each unit owns."""
    module = item.dep.target.module
    if type(module).__module__ == "torch_pruning.ops":
        if isinstance(module, tp.ops._OutputOp):
            raise _NotRemovable("they are outputs of the model")
        return []
    kind, name = type(module).__name__, _module_name(item)
    grouped = isinstance(module, _CONV) and module.groups > 1
    depthwise = grouped and module.groups == module.in_channels == module.out_channels
    odd = isinstance(module, _TRANSPOSED) or (grouped and not depthwise)
    if odd or not isinstance(module, (_CONV, _NORM, nn.Linear, nn.PReLU)):
        raise _NotRemovable(f"they are coupled with {name} ({kind}), which mixes or fixes them")
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return []
    reads = item.dep.handler in (tp.prune_conv_in_channels, tp.prune_linear_in_channels)
    index: list[list[int]] = [[] for _ in range(num_units)]
    for entry, unit in zip(item.idxs, item.root_idxs, strict=True):
        index[unit].append(entry)
    owned = sorted(entry for entries in index for entry in entries)
    producer = isinstance(module, (_CONV, nn.Linear)) and not reads
    size = module.weight.shape[1 if reads else 0] if producer or reads else None
    whole = producer and owned != list(range(int(size or 0)))
    if whole or len(set(owned)) != len(owned) or (size and owned[-1] >= size):
        raise _NotRemovable(f"their coupling with {name} cannot be followed")
    lasts = ("weight",) if reads else ("weight", "bias", *BUFFERS)
    return [
        UnitMember(
            name=f"{name}.{last}",
            dim=int(reads),
            index=tuple(tuple(entries) for entries in index),
            role="in" if reads else "out",
            size=int(value.shape[int(reads)]),
        )
        for last in lasts
        if isinstance(value := getattr(module, last, None), Tensor)
    ]


def _randomise(model: nn.Module) -> None:
    """Give every batch norm random statistics and scales, so that no coupling hides behind a 0."""
    stream = torch_stream(0, "unit groups")
    for module in model.modules():
        if not isinstance(module, _NORM):
            continue
        for last in ("weight", "bias", *BUFFERS):
            value = getattr(module, last, None)
            if isinstance(value, Tensor):
                spread = torch.rand(value.shape, generator=stream)
                positive = last in ("weight", "running_var")
                value.data = spread + 0.5 if positive else spread - 0.5


def _checked(
    model: nn.Module, groups: list[UnitGroup], example: Tensor, left_out: dict[str, str]
) -> list[UnitGroup]:
    """Keep the groups whose removal equals their masking, together with all groups before them."""
    if not groups or _removes(model, groups, example):
        return groups
    kept: list[UnitGroup] = []
    for group in groups:
        if _removes(model, [*kept, group], example):
            kept.append(group)
        else:
            left_out[group.name] = "the model without them differs from the masked model"
    return kept


def _removes(model: nn.Module, groups: Iterable[UnitGroup], example: Tensor) -> bool:
    """Whether removing some units of each group changes nothing but the size."""
    groups = list(groups)
    units = {}
    for group in groups:
        stream = torch_stream(0, "unit groups", group.name)
        alive = torch.rand(group.num_units, generator=stream) < 0.5
        alive[0], alive[-1] = True, False
        units[group.name] = alive
    masked = copy.deepcopy(model)
    parameters = dict(masked.named_parameters())
    with torch.no_grad():
        for name, dims in live_entries(slots(groups), units).items():
            for dim, alive in dims.items():
                if name in parameters:
                    shape = [-1 if d == dim else 1 for d in range(parameters[name].dim())]
                    parameters[name].mul_(alive.reshape(shape))
        expected = masked(example)
        try:
            slim = compact(model, {k: v.int().tolist() for k, v in units.items()}, {}, groups)
            got = slim(example)
        except (RuntimeError, ValueError, IndexError):
            return False  # a shape that no longer fits is the answer, not a failure
    if got.shape != expected.shape:
        return False
    return bool((got - expected).abs().max() <= TOLERANCE * expected.abs().max())
