"""From tensors to units: how scores of whole channels and neurons read what units are made of.

A unit's *filters* are its rows of the convolutions and linear layers that make it, several where
layers write into one residual stream, depthwise convolutions among them; its *scales* are its
entries of the batch norms it passes. What is read of each of these tensors is averaged over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from autoprune.core.seeds import torch_stream
from autoprune.pruning.view import ModelView, Scores, UnitGroup, UnitMember


def makers(group: UnitGroup, view: ModelView) -> list[UnitMember]:
    """Return the weights, one per layer, whose rows a group's units are made of."""
    return [m for m in group.members if m.role == "out" and m.name in view.weights]


def scales(group: UnitGroup, view: ModelView) -> list[UnitMember]:
    """Return the scales, one vector per batch norm, that a group's units pass.

    A scale comes with a shift, which the slope of a PReLU lacks.
    """
    made_of = {m.name: m for m in group.members if m.role == "out"}
    return [
        member
        for name, member in made_of.items()
        if name.endswith("weight")
        and name in view.others
        and view.others[name].dim() == 1
        and f"{name.removesuffix('weight')}bias" in made_of
    ]


def rows(name: str, view: ModelView) -> Tensor:
    """Return a weight as a matrix, one row per filter, float64, masked entries 0."""
    return torch.where(view.masks[name], view.weights[name], 0.0).flatten(1).double().cpu()


def sums(member: UnitMember, entries: Tensor) -> Tensor:
    """Sum a vector over a tensor's entries into one over units, mostly an entry each."""
    return torch.stack([entries[list(index)].sum() for index in member.index])


def mean(vectors: Iterable[Tensor]) -> Tensor:
    """Average vectors over units."""
    return torch.stack(list(vectors)).mean(0)


def by_group(view: ModelView, score: Callable[[UnitGroup], Tensor]) -> Scores:
    """Score every group of which the view shows filters."""
    return {group.name: score(group) for group in view.groups if makers(group, view)}


def drawn(view: ModelView) -> Scores:
    """Return draws in [0, 1) from the view's own stream, one vector per unit group."""
    return {
        group.name: torch.rand(
            group.num_units,
            generator=torch_stream(view.seed, "score", "random_units", group.name),
            dtype=torch.float64,
        )
        for group in view.groups
    }
