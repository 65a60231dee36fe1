"""The mean absolute activation of removable units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.pruning.readers import by_position
from autoprune.pruning.signals.base import Scorable, scoring_batches
from autoprune.pruning.view import UnitGroup

NUM_IMAGES = 2000
BATCH = 250


def activation(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return each unit's mean absolute post-activation, as its consumers read it.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    task : Scorable
        Data; up to 2,000 training images are passed, without augmentation.
    groups : tuple of UnitGroup
        The removable units.
    seed : int
        Root of the stream ``score``, which draws the images.

    Returns
    -------
    dict of str to Tensor
        Group name to a float64 vector with one entry per unit, on the CPU.

    Notes
    -----
    Mean over images and positions, then over a unit's entries, then over its consumers.
    Deviation: the paper measures right after the nonlinearity; here it is the input of the layers
    that read the unit, so a pooling layer or a residual sum in between is seen too. That point
    exists in every architecture, and it is what a removal takes away (card dropnet, c and g).
    Deviation: a sample in place of the whole training split; 2,000 images rank stably (d).
    """
    return _means(model, task, groups, seed, torch.abs)


def zero_share(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return the share of zeros in each unit's post-activation, where `activation` reads it.

    Notes
    -----
    APoZ. Deviation: behind a pooling layer a unit is zero where all that it pools is.
    """
    return _means(model, task, groups, seed, lambda values: values == 0)


def _means(
    model: nn.Module,
    task: Scorable,
    groups: tuple[UnitGroup, ...],
    seed: int,
    figure: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Average a figure of what each unit's consumers read."""
    model.eval()
    readers = {_module_of(m.name) for g in groups for m in g.members if m.role == "in"}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(module: nn.Module, args: tuple[Any, ...], *, name: str) -> None:
        values = figure(args[0].detach())
        dim = values.dim() - 1 if isinstance(module, nn.Linear) else 1
        total = values.movedim(dim, 0).flatten(1).sum(1, dtype=torch.float64).cpu()
        sums[name] = sums[name] + total if name in sums else total
        counts[name] = counts.get(name, 0) + values.numel() // len(total)

    for name in sorted(readers):
        model.get_submodule(name).register_forward_pre_hook(partial(add, name=name))
    device = next(model.parameters()).device
    with torch.no_grad():
        for inputs, _ in scoring_batches(task, seed, NUM_IMAGES, BATCH):
            model(inputs.to(device))
    means = {name: total / counts[name] for name, total in sums.items()}
    return {group.name: _of_group(group, means) for group in groups}


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _of_group(group: UnitGroup, means: dict[str, Tensor]) -> Tensor:
    """Average a group's readers, and in each the entries that belong to one unit."""
    readers = [member for member in group.members if member.role == "in"]
    total = torch.zeros(group.num_units, dtype=torch.float64)
    for member in readers:
        mean = means[_module_of(member.name)]
        mean = by_position(mean, member.size or len(mean)).mean(0)
        total += torch.stack([mean[list(entries)].mean() for entries in member.index])
    return total / len(readers)
