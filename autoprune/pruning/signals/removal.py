"""The order in which a greedy oracle removes units: always the one that the loss misses least."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.pruning.compact import BUFFERS, Slot, slots
from autoprune.pruning.signals.activation import BATCH, NUM_IMAGES
from autoprune.pruning.signals.base import Scorable, scoring_batches
from autoprune.pruning.view import UnitGroup


def removal_order(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return each unit's place in a greedy removal by the training loss, without any training.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    task : Scorable
        Data and loss; up to 2,000 training images are passed, without augmentation.
    groups : tuple of UnitGroup
        The removable units.
    seed : int
        Root of the stream ``score``, which draws the images.

    Returns
    -------
    dict of str to Tensor
        Group name to a float64 vector: 0 for the unit that goes first.

    Notes
    -----
    Every unit that is left is tried, in eval mode, before one goes: for n units ``n (n + 1) / 2``
    passes. The sets of two counts are nested, so one order holds them all. The last unit of a
    group goes after all that are not the last of theirs.
    Deviation: a sample in place of the whole training split; a removal is that of the unit
    and its batch norm's shift, as in the exported net.
    """
    model.eval()
    batches = list(scoring_batches(task, seed, NUM_IMAGES, BATCH))
    made = {
        group.name: [p for p in slots([group]) if p.name.rpartition(".")[2] not in BUFFERS]
        for group in groups
    }
    left = {group.name: list(range(group.num_units)) for group in groups}
    places = {g.name: torch.zeros(g.num_units, dtype=torch.float64) for g in groups}
    tensors = dict(model.named_parameters())

    def loss_without(name: str, unit: int) -> float:
        with _Without(tensors, made[name], unit), torch.no_grad():
            return sum(
                float(task.loss(model(inputs), targets)) * len(targets)
                for inputs, targets in _on(batches, next(model.parameters()).device)
            )

    for place in range(sum(group.num_units for group in groups)):
        several = {name: units for name, units in left.items() if len(units) > 1}
        candidates = [(n, u) for n, units in (several or left).items() for u in units]
        # Tie-break: the first of equally small losses.
        name, unit = min(candidates, key=lambda one: loss_without(*one))
        _zero(tensors, made[name], unit)
        left[name].remove(unit)
        places[name][unit] = place
    return places


def _on(batches: list[tuple[Tensor, Tensor]], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    return [(inputs.to(device), targets.to(device)) for inputs, targets in batches]


def _rows(place: Slot, unit: int) -> Tensor:
    return (place.owner == unit).nonzero().flatten()


def _zero(tensors: dict[str, nn.Parameter], places: list[Slot], unit: int) -> None:
    """Set what belongs to a unit to 0, for good."""
    with torch.no_grad():
        for place in places:
            value = tensors[place.name]
            value.index_fill_(place.dim, _rows(place, unit).to(value.device), 0.0)


class _Without:
    """Sets what belongs to a unit to 0 for a while."""

    def __init__(self, tensors: dict[str, nn.Parameter], places: list[Slot], unit: int) -> None:
        self.tensors, self.places, self.unit = tensors, places, unit
        self.held: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        names = {place.name for place in self.places}
        self.held = {name: self.tensors[name].detach().clone() for name in names}
        _zero(self.tensors, self.places, self.unit)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for name, value in self.held.items():
                self.tensors[name].copy_(value)
