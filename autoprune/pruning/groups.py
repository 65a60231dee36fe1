"""Unit groups: which channels and neurons can only be removed together.

The one adapter to torch-pruning, whose dependency graph is read and turned into plain index
lists. It is trusted as far as it can be checked: every group is removed for trial, on a copy with
randomised batch-norm statistics, and left out if the small model differs from the masked one.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch_pruning as tp
from torch import Tensor, nn

from autoprune.core.seeds import torch_stream
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.compact import BUFFERS, compact, live_entries, slots
from autoprune.pruning.heads import Heads, NotRemovable, find_heads
from autoprune.pruning.padding import Spelling, spell_out
from autoprune.pruning.parts import (
    Part,
    members_of,
    module_name,
    owners_in,
    part_of,
    positions,
    reads_units,
)
from autoprune.pruning.view import UnitCounter, UnitGroup

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Greatest relative deviation of a small model from its masked twin, in float64 where it runs."""

_CONV, _NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm
_TRANSPOSED = nn.modules.conv._ConvTransposeNd
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)


@dataclass(frozen=True)
class GroupReport:
    """The removable units of a model, and what was left out.

    Parameters
    ----------
    groups : tuple of UnitGroup
        In model order.
    left_out : dict
        Weight name to the reason why its units cannot be removed, for every prunable weight
        that is made of none.
    """

    groups: tuple[UnitGroup, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


def find_groups(model: nn.Module, example: Tensor) -> tuple[UnitGroup, ...]:
    """Return the removable units of a model; see `inspect_groups`."""
    return inspect_groups(model, example).groups


def inspect_groups(model: nn.Module, example: Tensor) -> GroupReport:
    """Find the units that can be removed, and say why the others cannot.

    Units are channels and neurons, the channels at one position of all groups of a grouped
    convolution, and whole attention heads. Left out are outputs of the model, layers coupled with
    a normalisation over channels, heads of an attention that is not understood, and couplings
    that tracing cannot follow (zero-padded shortcuts).

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
    order = {name: position for position, (name, _) in enumerate(model.named_parameters())}
    spelling = spell_out(model, example)
    heads = find_heads(spelling.model)
    found, left_out = list(heads.groups), dict(heads.left_out)
    for graph_group in _trace(spelling, example, heads, left_out):
        try:
            found += _unit_groups(graph_group, list(order), heads, spelling)
        except NotRemovable as why:
            for name in _made_of(graph_group):
                left_out.setdefault(name, str(why))
    found.sort(key=lambda group: order[group.name])
    model, example = _in_float64(model, example)
    groups = tuple(_checked(model, found, example, left_out))
    owned = {m.name for group in groups for m in group.members if m.role == "out"}
    for name in prunable_parameters(model)[0].keys() - owned:
        left_out.setdefault(name, "their couplings cannot be traced")
    spelt = {f"{path}.{side}.weight" for path, side in spelling.zeros.values()}
    stay = sorted(left_out.keys() - owned - spelt, key=lambda name: order.get(name, len(order)))
    left_out = {name: left_out[name] for name in stay}
    for name, reason in left_out.items():
        logger.debug("units of %s stay: %s", name, reason)
    return GroupReport(groups, left_out)


def _trace(
    spelling: Spelling, example: Tensor, heads: Heads, left_out: dict[str, str]
) -> list[tp.Group]:
    """Return torch-pruning's groups, each with all of its units."""
    spelling.model.requires_grad_(True)  # frozen layers would be missed without a word
    graph = tp.DependencyGraph()
    try:
        with torch.enable_grad():
            graph.build_dependency(spelling.model, [example], verbose=False)
    except _FAILURES as error:
        # The library fails in many ways on graphs it does not know; such a model has no channels.
        logger.warning("the model's channels cannot be traced (%r): none to remove", error)
        return []
    found: list[tp.Group] = []
    done = {*heads.inner, *spelling.zeros}
    for module, node in graph.module2node.items():
        if id(module) in done or not isinstance(module, (_CONV, nn.Linear)):
            continue
        pruner = graph.get_pruner_of_module(module)
        every = list(range(pruner.get_out_channels(module)))
        try:
            group = graph.get_pruning_group(module, pruner.prune_out_channels, every)
        except _FAILURES as error:
            name = f"{str(node.name).split(' ')[0]}.weight"
            left_out[name] = f"their couplings cannot be traced ({error!r})"
            continue
        found.append(group)
        # A layer of which the group has but a part may be the root of a wider group.
        done |= {
            id(item.dep.target.module)
            for item in group
            if graph.is_out_channel_pruning_fn(item.dep.handler)
            and len(item.idxs) == graph.get_out_channels(item.dep.target)
        }
    return found


def _made_of(graph_group: tp.Group) -> list[str]:
    """Return the weights whose rows are units of one of torch-pruning's groups."""
    return [
        f"{module_name(item)}.weight"
        for item in graph_group
        if isinstance(item.dep.target.module, (_CONV, nn.Linear)) and not reads_units(item)
    ]


def _unit_groups(
    graph_group: tp.Group, order: Sequence[str], heads: Heads, spelling: Spelling
) -> list[UnitGroup]:
    """Turn one of torch-pruning's groups into index lists.

    Units that lie in other layers than their neighbours (behind a concatenation, or where a
    shortcut is padded) make groups of their own: each loses the share that an allocation says.
    """
    num_units = len(graph_group[0].idxs)
    parts = [part for item in graph_group if (part := part_of(item, num_units, heads))]
    units = positions(parts, num_units)
    kinds: dict[tuple[bool, ...], list[list[int]]] = {}
    for some in units:
        lies = tuple(
            id(part.module) not in spelling.zeros and any(part.index[unit] for unit in some)
            for part in parts
        )
        kinds.setdefault(lies, []).append(some)
    found: list[UnitGroup] = []
    reasons: list[NotRemovable] = []
    # The most widely coupled come first: a group is named by a layer that names no other.
    for lies, alike in sorted(kinds.items(), key=lambda item: -sum(item[0])):
        own = [
            part
            for part, there in zip(parts, lies, strict=True)
            if there or id(part.module) in spelling.zeros
        ]
        try:
            group = _group_of(own, alike, order, spelling, {group.name for group in found})
        except NotRemovable as why:
            reasons.append(why)
        else:
            found.append(group)
    if not found:
        raise reasons[0]
    return found


def _group_of(
    parts: Sequence[Part],
    units: Sequence[Sequence[int]],
    order: Sequence[str],
    spelling: Spelling,
    taken: Collection[str],
) -> UnitGroup:
    """Return units that lie in the same layers as a group."""
    zeros = [part for part in parts if id(part.module) in spelling.zeros]
    members = [m for part in parts if part not in zeros for m in members_of(part, units)]
    if not any(member.role == "in" for member in members):
        raise NotRemovable("they are outputs of the model")
    if len(units) < 2:
        raise NotRemovable("there is only one")
    made_of = {
        f"{part.name}.weight"
        for part in parts
        if not part.reads and isinstance(part.module, (_CONV, nn.Linear))
    }
    if any(m.name not in order and m.name.rpartition(".")[2] not in BUFFERS for m in members):
        raise NotRemovable("their weights are shared with another layer")
    first = next((name for name in order if name in made_of and name not in taken), None)
    if first is None:
        raise NotRemovable("no layer begins with them")
    owners = {id(part.module): owners_in(part, units) for part in zeros if not part.reads}
    counters = tuple(
        UnitCounter(*spelling.zeros[layer], units=some) for layer, some in owners.items() if some
    )
    return UnitGroup(first, len(units), tuple(members), counters)


def _randomise(model: nn.Module) -> None:
    """Give norms, and all that is constant, random values: no coupling hides behind a 0 or 1e-6."""
    stream = torch_stream(0, "unit groups")
    for module in model.modules():
        norm = isinstance(module, _NORM)
        buffers = [(n, b) for n, b in module.named_buffers(recurse=False) if n in BUFFERS and norm]
        for last, value in [*module.named_parameters(recurse=False), *buffers]:
            if not value.is_floating_point() or not value.numel():
                continue
            if not norm and not bool((value == value.flatten()[0]).all()):
                continue
            spread = torch.rand(value.shape, generator=stream, dtype=value.dtype)
            if value.dim() > 1 and (fan_in := value[0].numel()) > 1:
                value.data = (spread - 0.5) / fan_in**0.5
            else:
                value.data = spread - 0.5 if last in ("bias", "running_mean") else spread + 0.5


def _in_float64(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a model and its input in float64, where small deviations show, if it runs so."""
    if example.is_floating_point():
        try:
            with torch.no_grad():
                model.double()(example.double())
        except (RuntimeError, TypeError):  # it makes float32 tensors of its own
            return model.float(), example.float()
        return model, example.double()
    return model, example


def _checked(
    model: nn.Module, groups: list[UnitGroup], example: Tensor, left_out: dict[str, str]
) -> list[UnitGroup]:
    """Keep the groups whose removal equals their masking, together with all groups before them."""

    def keep(kept: list[UnitGroup], rest: list[UnitGroup]) -> list[UnitGroup]:
        if not rest or _removes(model, [*kept, *rest], example):
            return rest
        if len(rest) == 1:
            for member in rest[0].members:
                if member.role == "out" and member.name.endswith("weight"):
                    left_out[member.name] = "the model without them differs from the masked model"
            return []
        middle = len(rest) // 2
        first = keep(kept, rest[:middle])
        return first + keep([*kept, *first], rest[middle:])

    return keep([], groups)


def _removes(model: nn.Module, groups: Iterable[UnitGroup], example: Tensor) -> bool:
    """Whether removing some units of each group changes nothing but the size."""
    groups = list(groups)
    units = {}
    for group in groups:
        stream = torch_stream(0, "unit groups", group.name)
        alive = torch.rand(group.num_units, generator=stream) < 0.75  # signals still get through
        alive[0], alive[-1] = True, False
        units[group.name] = alive
    masked: dict[str, Tensor] = {}
    with torch.no_grad():
        parameters = dict(model.named_parameters())
        for name, dims in live_entries(slots(groups), units).items():
            for dim, alive in dims.items():
                if name in parameters:
                    shape = [-1 if d == dim else 1 for d in range(parameters[name].dim())]
                    masked[name] = masked.get(name, parameters[name]) * alive.reshape(shape)
        expected = torch.func.functional_call(model, masked, (example,))
        try:
            slim = compact(model, {k: v.int().tolist() for k, v in units.items()}, {}, groups)
            got = slim(example)
        except (AssertionError, RuntimeError, ValueError, IndexError):
            return False  # a shape that no longer fits is the answer, not a failure
    if got.shape != expected.shape:
        return False
    tolerance = TOLERANCE.get(expected.dtype, TOLERANCE[torch.float32])
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())
