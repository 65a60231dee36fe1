"""N:M patterns: of every M consecutive weights along the input dimension at most N live.

A block is M consecutive inputs of one neuron, or M consecutive input channels of one filter at
one kernel position (`autoprune.pruning.patterns.to_blocks`): the layout of sparse tensor cores,
and of `torch.sparse`'s semi-structured matrices for a linear layer.

The rule of whole blocks: a layer is cut only where its input dimension is a multiple of M; any
other (a first convolution on three channels, a depthwise one) stays dense.

References
----------
A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv 2104.08378 (2:4).
A. Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch",
ICLR 2021, arXiv 2102.04010.
W. Sun et al., "DominoSearch: Find layer-wise fine-grained N:M sparse schemes from dense neural
networks", NeurIPS 2021 (N by layer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from autoprune.core.errors import ConfigError
from autoprune.pruning.granularities.spec import Pattern
from autoprune.pruning.granularities.weight import WeightGranularity
from autoprune.pruning.keep import Allocation, LayerUnits, UnitScores, counts_around
from autoprune.pruning.masks import MaskSet
from autoprune.pruning.patterns import from_blocks, to_blocks
from autoprune.pruning.view import ModelView


@dataclass(frozen=True)
class LayerPattern(WeightGranularity):
    """``n:M``: the allocation chooses N for each layer, from 1 to M.

    An allocation counts single weights; a layer's N is what it says of the layer, per block,
    rounded up or down so that the weights of all layers come to the total (`round_together`).
    Blocks choose among their living weights, and every layer that is cut keeps at least 1:M.
    """

    pattern: Pattern

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """Return the number of weights to hand out, found by bisection.

        With what layers hold that are not cut, and with 1:M at least in the others, they come to
        the target. Where they cannot, they come as near as can be.
        """
        target = (1.0 - sparsity) * sum(layer.num_units for layer in units.values())
        held = {name: _held(view.masks[name], self.pattern) for name in units}

        def meant(count: int) -> float:
            try:
                return self._total(units, allocation(units, count), held)
            except ConfigError:  # too few for this allocation: the nearest it can is above
                return -math.inf

        def miss(count: int) -> float:
            if meant(count) < 0.0:
                return math.inf
            numbers = self._numbers(units, allocation(units, count), held)
            return abs(sum(held[name][n] for name, n in numbers.items()) - target)

        alive = sum(int(view.masks[name].sum()) for name in units)
        low, high = counts_around(meant, alive, target)
        # A count next to these may round otherwise. Tie-break: in this order.
        near = [n for n in (high, low, high + 1, low - 1) if 0 <= n <= alive]
        return min(near, key=miss)

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Keep the best N of every block, ties to the lower index."""
        held = {name: _held(view.masks[name], self.pattern) for name in units}
        return _cut(units, self._numbers(units, keep, held), self.pattern, view)

    def _numbers(
        self, units: UnitScores, keep: Mapping[str, int], held: Mapping[str, Sequence[int]]
    ) -> dict[str, int]:
        """Return N of every layer, M of one that is not cut."""
        size = self.pattern.size
        wanted = {
            name: size * keep[name] / layer.num_units
            if self.pattern.divides(layer.shape)
            else float(size)
            for name, layer in units.items()
        }
        return round_together(wanted, held, self._total(units, keep, held))

    def _total(
        self, units: UnitScores, keep: Mapping[str, int], held: Mapping[str, Sequence[int]]
    ) -> int:
        """Return how many weights an allocation stands for."""
        return sum(
            max(keep[name], held[name][1]) if self.pattern.divides(layer.shape) else held[name][-1]
            for name, layer in units.items()
        )


def round_together(
    wanted: Mapping[str, float], held: Mapping[str, Sequence[int]], target: float
) -> dict[str, int]:
    """Round numbers up or down so that what they hold together comes near to a target.

    Parameters
    ----------
    wanted : mapping of str to float
        N of each layer before rounding.
    held : mapping of str to sequence of int
        Weights the layer holds under N = 0, 1, ..., M.
    target : float
        Weights that all layers should hold together.

    Returns
    -------
    dict of str to int
        Whole numbers from 1 to M, each less than 1 from what was wanted (or the nearer end): first
        the nearest, then one or two layers at a time the other way, the best first, while that
        brings the total nearer.

    Examples
    --------
    >>> round_together({"a": 1.7, "b": 1.4}, {"a": [0, 5, 10, 15], "b": [0, 8, 16, 24]}, 21)
    {'a': 1, 'b': 2}
    """
    ends = {
        name: tuple(min(max(end, 1), len(held[name]) - 1) for end in (math.floor(n), math.ceil(n)))
        for name, n in wanted.items()
    }
    # Tie-break: halves are rounded up.
    found = {
        name: high if high - wanted[name] <= wanted[name] - low else low
        for name, (low, high) in ends.items()
    }
    free = [name for name, (low, high) in ends.items() if low != high]

    def flipped(name: str) -> int:
        return sum(ends[name]) - found[name]

    while True:
        miss = sum(held[name][n] for name, n in found.items()) - target
        gain = {name: held[name][flipped(name)] - held[name][found[name]] for name in free}
        cost = {n: abs(flipped(n) - wanted[n]) - abs(found[n] - wanted[n]) for n in free}
        moves = [*combinations(free, 1), *combinations(free, 2)]
        # Tie-break: of moves that come equally near, the one truer to what was wanted.
        best = min(
            ((abs(miss + sum(gain[n] for n in m)), sum(cost[n] for n in m), m) for m in moves),
            default=(math.inf, 0.0, ()),
        )
        if best[0] >= abs(miss):
            return found
        found |= {name: flipped(name) for name in best[2]}


@dataclass(frozen=True)
class FixedPattern(WeightGranularity):
    """``N:M``: the same N in every layer that is cut, so an allocation has nothing to decide.

    On the way down, before a method's last round, it is the N between M and the pattern's that
    comes nearest to the sparsity asked for. From the pattern's own sparsity ``1 - N / M`` on it
    is the pattern, whatever share of the weights lies in layers that are not cut.
    """

    pattern: Pattern

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """Return what the nearest N leaves in all layers together."""
        totals = self._totals(units, view)
        if sparsity >= self.pattern.reaches[0]:
            return min(totals.values())
        target = (1.0 - sparsity) * sum(layer.num_units for layer in units.values())
        # Tie-break: of two equally near N the greater, which stands first.
        return totals[min(totals, key=lambda n: abs(totals[n] - target))]

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Keep the best N of every block, ties to the lower index; `keep` counts by its sum."""
        totals, kept = self._totals(units, view), sum(keep.values())
        n = min(totals, key=lambda n: abs(totals[n] - kept))
        return _cut(units, dict.fromkeys(units, n), self.pattern, view)

    def _totals(self, units: UnitScores, view: ModelView) -> dict[int, int]:
        """Return how many weights live in all layers under each N, from M down."""
        held = [_held(view.masks[name], self.pattern) for name in units]
        numbers = range(self.pattern.size, (self.pattern.keep or 1) - 1, -1)
        return {n: sum(layer[n] for layer in held) for n in numbers}


def _held(mask: Tensor, pattern: Pattern) -> list[int]:
    """Return how many weights a layer holds under N = 0 to M: all, if it is not cut."""
    if not pattern.divides(mask.shape):
        return [int(mask.sum())] * (pattern.size + 1)
    alive = to_blocks(mask, pattern.size).sum(-1)
    return [int(alive.clamp(max=n).sum()) for n in range(pattern.size + 1)]


def _cut(
    units: UnitScores, numbers: Mapping[str, int], pattern: Pattern, view: ModelView
) -> MaskSet:
    """Keep the best living weights of every block; layers that are not cut stay as they are."""
    masks = {}
    for name, layer in units.items():
        masks[name] = view.masks[name].clone()
        if pattern.divides(layer.shape):
            masks[name] &= _best(layer, numbers[name], pattern.size)
    return MaskSet(masks)


def _best(layer: LayerUnits, keep: int, size: int) -> Tensor:
    """Return the mask of the `keep` best entries of every block."""
    least = torch.finfo(layer.scores.dtype).min
    # A score that is no number comes after all others of the living, and before the dead.
    scores = to_blocks(layer.scores, size).nan_to_num(
        nan=least, posinf=torch.inf, neginf=-torch.inf
    )
    # Tie-break: the sort is stable, so equal scores go to the lower index.
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order[..., :keep], True)
    return from_blocks(chosen)
