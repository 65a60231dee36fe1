"""What single modules have to do with a group of coupled layers, as index lists.

Reads the items of torch-pruning's groups; see `autoprune.pruning.groups`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch_pruning as tp
from torch import Tensor, nn

from autoprune.pruning.compact import BUFFERS
from autoprune.pruning.heads import Heads, NotRemovable
from autoprune.pruning.view import UnitMember

_CONV, _NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm
_TRANSPOSED = nn.modules.conv._ConvTransposeNd


def module_name(item: tp.dependency.Dependency) -> str:
    """Return the path of the module an item speaks of."""
    return str(item.dep.target.name).split(" ")[0]


def reads_units(item: tp.Group) -> bool:
    """Whether an item's module only reads the units."""
    return item.dep.handler in (tp.prune_conv_in_channels, tp.prune_linear_in_channels)


@dataclass(frozen=True)
class Part:
    """What one module has to do with a group: the channels there that each unit owns."""

    name: str
    module: nn.Module
    reads: bool
    index: list[list[int]]

    @property
    def groups(self) -> int:
        """Groups of a convolution whose channels can only go at the same position of each."""
        return (
            1
            if not isinstance(self.module, _CONV) or _depthwise(self.module)
            else int(self.module.groups)
        )

    @property
    def num_channels(self) -> int | None:
        """Channels there are on this side; None of a layer that need not know all of them."""
        if isinstance(self.module, nn.Linear):
            return self.module.in_features if self.reads else self.module.out_features
        if isinstance(self.module, _CONV):
            return self.module.in_channels if self.reads else self.module.out_channels
        return None


def _depthwise(module: nn.modules.conv._ConvNd) -> bool:
    return 1 < module.groups == module.in_channels == module.out_channels


def part_of(item: tp.Group, num_units: int, heads: Heads) -> Part | None:
    """Return what one module has to do with a group; nothing if removal passes it by."""
    module = item.dep.target.module
    if type(module).__module__ == "torch_pruning.ops":
        if isinstance(module, tp.ops._OutputOp):
            raise NotRemovable("they are outputs of the model")
        return None
    reads, kind, name = reads_units(item), type(module).__name__, module_name(item)
    if not reads and id(module) in heads.inner:
        raise NotRemovable(heads.inner[id(module)])
    odd = isinstance(module, _CONV) and (
        isinstance(module, _TRANSPOSED)
        # torch-pruning takes it for depthwise
        or (1 < module.groups == module.out_channels and not _depthwise(module))
    )
    if odd or not isinstance(module, (_CONV, _NORM, nn.Linear, nn.PReLU)):
        raise NotRemovable(f"they are coupled with {name} ({kind}), which mixes or fixes them")
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return None
    index: list[list[int]] = [[] for _ in range(num_units)]
    for entry, unit in zip(item.idxs, item.root_idxs, strict=True):
        index[unit].append(entry)
    part = Part(name, module, reads, index)
    owned = sorted(entry for entries in index for entry in entries)
    size = part.num_channels
    partly = size is not None and not reads and owned != list(range(size))
    if partly or len(set(owned)) != len(owned) or (size is not None and owned[-1] >= size):
        raise NotRemovable(f"their coupling with {name} cannot be followed")
    return part


def positions(parts: Sequence[Part], num_units: int) -> list[list[int]]:
    """Join the units that lie at the same position of the groups of a grouped convolution.

    Removed one by one they would leave groups of different widths.
    """
    joined = list(range(num_units))

    def first(unit: int) -> int:
        while joined[unit] != unit:
            unit = joined[unit]
        return unit

    for part in parts:
        if part.groups == 1 or part.num_channels is None:
            continue
        owner = {entry: unit for unit, entries in enumerate(part.index) for entry in entries}
        width = part.num_channels // part.groups
        for position in range(width):
            owners = {owner.get(g * width + position) for g in range(part.groups)}
            if None in owners and len(owners) > 1:
                raise NotRemovable(f"{part.name} groups them with channels of other layers")
            roots = {first(unit) for unit in owners if unit is not None}
            for root in roots:
                joined[root] = min(roots)
    units: dict[int, list[int]] = {}
    for unit in range(num_units):
        units.setdefault(first(unit), []).append(unit)
    return list(units.values())


def members_of(part: Part, units: Sequence[Sequence[int]]) -> list[UnitMember]:
    """Return the tensors of one module in a group, with the entries each unit owns."""
    dim = int(part.reads)
    width = 0
    if part.reads and part.groups > 1 and part.num_channels:
        width = part.num_channels // part.groups
    index: list[tuple[int, ...]] = []
    for some in units:
        entries = {entry for unit in some for entry in part.index[unit]}
        # What a grouped convolution reads lies in its weight at the position within a group.
        index.append(tuple(sorted({entry % width for entry in entries} if width else entries)))
    if len({len(entries) for entries in index}) > 1:
        raise NotRemovable(f"{part.name} has not equally many channels of each of them")
    return [
        UnitMember(
            name=f"{part.name}.{last}",
            dim=dim,
            index=tuple(index),
            role="in" if part.reads else "out",
            size=int(value.shape[dim]),
        )
        for last in (("weight",) if part.reads else ("weight", "bias", *BUFFERS))
        if isinstance(value := getattr(part.module, last, None), Tensor)
    ]


def owners_in(part: Part, units: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return which units have a channel in a part."""
    return tuple(at for at, some in enumerate(units) if any(part.index[unit] for unit in some))
