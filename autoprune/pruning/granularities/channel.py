"""Whole units (filters, neurons) live and die together, across every layer that shares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.core.errors import ConfigError, TaskError
from autoprune.pruning.compact import BUFFERS, live_entries, slots
from autoprune.pruning.grain import Grain
from autoprune.pruning.keep import Allocation, LayerUnits, UnitScores, counts_around
from autoprune.pruning.masks import MaskSet, top_k_mask
from autoprune.pruning.view import ModelView, Scores, UnitGroup


@dataclass(frozen=True)
class ChannelGranularity:
    """A unit takes its filters, biases, norm parameters and its consumers' input slices along.

    Every group keeps at least one step of units, so the counts of an allocation are raised where
    they fall below; `kept_count` then asks the allocation for fewer, which the others give.

    Parameters
    ----------
    round_to, floor : int, float
        See `autoprune.pruning.grain.Grain`.
    """

    of_units: ClassVar[bool] = True

    round_to: int = 1
    floor: float = 0.0

    @property
    def grain(self) -> Grain:
        """The counts a group may keep."""
        return Grain(self.round_to, self.floor)

    def pool(self, scores: Scores, view: ModelView) -> UnitScores:
        """Take one vector per group, and mark dead units with ``-inf``.

        Scores of single weights are summed over those a unit is made of.

        Raises
        ------
        TaskError
            If the model has no units that can be removed.
        """
        if not view.groups:
            raise TaskError(
                "the model",
                "must have channels or neurons that can be removed",
                remedy="use a method that removes single weights",
            )
        return {group.name: _layer_units(group, scores, view) for group in view.groups}

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """Return the number of units to keep in all, found by bisection.

        A prunable weight is kept if the units on both of its sides are; the sparsity counts all
        prunable weights, also of layers that no unit owns. Beyond `reachable` every group keeps
        its least.
        """
        meter = _Meter(view)
        target = (1.0 - sparsity) * meter.total

        def kept(count: int) -> float:
            try:
                return meter(self._flags(units, allocation(units, count)))
            except ConfigError:  # too few for this allocation, which says so itself when used
                return 0.0

        most = sum(_num_alive(layer) for layer in units.values())
        low, high = counts_around(kept, most, target)
        # Counts in steps do not rise evenly with what is asked of the allocation: look around.
        widest = [self.grain.widest(layer.num_units) for layer in units.values()]
        around = max(widest, default=1) - 1
        near = range(min(high + around, most), max(low - around, 0) - 1, -1)
        # Tie-break: of equally near counts the greatest.
        return min(near, key=lambda count: abs(kept(count) - target))

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Keep the best units of each group; what a dead unit owns anywhere is masked."""
        flags = self._flags(units, keep)
        masks = {name: mask.clone() for name, mask in view.masks.items()}
        for name, dims in live_entries(slots(view.groups), flags).items():
            if name.rpartition(".")[2] in BUFFERS:
                continue
            for dim, alive in dims.items():
                mask = masks.setdefault(name, torch.ones_like(alive))
                shape = [-1 if d == dim else 1 for d in range(mask.dim())]
                masks[name] = mask & alive.reshape(shape).to(mask.device)
        return MaskSet(masks, flags)

    def reachable(self, view: ModelView) -> float:
        """Return the greatest sparsity: every group down to its least number of units."""
        units = self.pool({g.name: torch.zeros(g.num_units) for g in view.groups}, view)
        meter = _Meter(view)
        return 1.0 - meter(self._flags(units, dict.fromkeys(units, 0))) / meter.total

    def _flags(self, units: UnitScores, keep: Mapping[str, int]) -> dict[str, Tensor]:
        """Return one bool vector per group."""
        sizes = {name: layer.num_units for name, layer in units.items()}
        alive = {name: _num_alive(layer) for name, layer in units.items()}
        held = {name: layer.weights_per_unit for name, layer in units.items()}
        counts = self.grain.counts({name: keep[name] for name in units}, sizes, alive, held)
        return {name: top_k_mask(units[name].scores, count) for name, count in counts.items()}


def _num_alive(layer: LayerUnits) -> int:
    return int((layer.scores > -torch.inf).sum())


def _layer_units(group: UnitGroup, scores: Scores, view: ModelView) -> LayerUnits:
    """Gather what an allocation wants to know of one group."""
    summed = torch.zeros(group.num_units, dtype=torch.float64)
    squares = torch.zeros(group.num_units, dtype=torch.float64)
    alive = torch.zeros(group.num_units, dtype=torch.bool)
    per_unit = 0
    for place in slots([group]):
        if place.name not in view.weights:
            continue
        owned = place.owner >= 0
        owner = place.owner[owned]
        mask = _rows(view.masks[place.name], place.dim)[owned]
        per_unit += len(owner) // group.num_units * mask.shape[1]
        if place.role == "out":
            weight = _rows(view.weights[place.name], place.dim)[owned].double()
            squares.index_add_(0, owner, (weight * mask).square().sum(1))
            alive[owner[mask.any(1)]] = True
            if scores[group.name].dim() > 1:
                score = _rows(scores[place.name], place.dim)[owned].double()
                summed.index_add_(0, owner, torch.where(mask, score, 0).sum(1))
    own = scores[group.name]
    pooled = summed.to(own.dtype) if own.dim() > 1 else own.cpu()
    return LayerUnits(
        scores=torch.where(alive, pooled, -torch.inf),
        magnitudes=squares.sqrt().to(own.dtype),
        shape=tuple(view.weights[group.name].shape),
        weights_per_unit=per_unit,
    )


def _rows(tensor: Tensor, dim: int) -> Tensor:
    """Return a tensor as a matrix with one row per entry along a dimension."""
    return tensor.cpu().movedim(dim, 0).flatten(1)


class _Meter:
    """Counts the prunable weights that live under unit flags, without building masks."""

    def __init__(self, view: ModelView) -> None:
        self.places = [place for place in slots(view.groups) if place.name in view.weights]
        self.live = {
            name: view.masks[name].cpu().flatten(2).sum(2, dtype=torch.float64)
            if view.masks[name].dim() > 2
            else view.masks[name].cpu().double()
            for name in view.weights
        }
        self.total = sum(view.masks[name].numel() for name in view.weights)

    def __call__(self, flags: Mapping[str, Tensor]) -> float:
        entries = live_entries(self.places, flags)
        kept = 0.0
        for name, matrix in self.live.items():
            value = matrix
            for dim, alive in sorted(entries.get(name, {}).items()):
                value = value[alive] if dim == 0 else value[:, alive]
            kept += float(value.sum())
        return kept
