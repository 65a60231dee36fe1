"""A convolution's whole kernels, of one input channel to one filter, live and die together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.core.errors import ConfigError
from autoprune.pruning.keep import Allocation, LayerUnits, UnitScores, counts_around
from autoprune.pruning.masks import MaskSet, top_k_mask
from autoprune.pruning.view import ModelView, Scores


class KernelGranularity:
    """A unit is all that connects one input channel to one output: one weight in a linear layer.

    Weights that are masked stay dead; a kernel is alive while one of its weights is.
    """

    of_units: ClassVar[bool] = False

    def pool(self, scores: Scores, view: ModelView) -> UnitScores:
        """Average the scores of each kernel's living weights; mark dead kernels with ``-inf``."""
        units = {}
        for name, score in scores.items():
            mask = _kernels(view.masks[name])
            alive = mask.sum(2)
            total = torch.where(mask, _kernels(score).double(), 0.0).sum(2)
            weight = _kernels(view.weights[name]).double() * mask
            units[name] = LayerUnits(
                scores=torch.where(alive > 0, total / alive.clamp(min=1), -torch.inf),
                magnitudes=weight.square().sum(2).sqrt(),
                shape=tuple(view.weights[name].shape),
                weights_per_unit=mask.shape[2],
            )
        return units

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """Return the number of kernels to keep in all, found by bisection.

        The weights they hold are as near to ``total - round(sparsity * total)`` as can be: that
        number itself where no layer is a convolution.
        """
        held = {name: _held(layer, view.masks[name]) for name, layer in units.items()}
        total = sum(mask.numel() for mask in (view.masks[name] for name in units))
        target = total - sparsity * total
        whole = total - round(sparsity * total)

        def kept(count: int) -> int:
            try:
                keep = allocation(units, count)
            except ConfigError:  # too few for this allocation, which says so itself when used
                return 0
            return sum(int(held[name][keep[name]]) for name in units)

        alive = sum(int((layer.scores > -torch.inf).sum()) for layer in units.values())
        low, high = counts_around(kept, alive, target)
        # Tie-break: as `round` has it, then the greater count.
        return min((high, low), key=lambda n: (abs(kept(n) - target), abs(kept(n) - whole)))

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Keep the best kernels of each layer, with the weights of theirs that live."""
        masks = {}
        for name, layer in units.items():
            chosen = top_k_mask(layer.scores, keep[name])
            mask = view.masks[name]
            masks[name] = mask & chosen.reshape(*chosen.shape, *(1,) * (mask.dim() - 2))
        return MaskSet(masks)


def _kernels(tensor: Tensor) -> Tensor:
    """Return a weight as ``(out, in, weights of a kernel)``."""
    return tensor.flatten(2) if tensor.dim() > 2 else tensor.unsqueeze(2)


def _held(layer: LayerUnits, mask: Tensor) -> Tensor:
    """Return how many weights a layer's best 0, 1, 2, ... kernels hold."""
    order = torch.sort(layer.scores.flatten(), descending=True, stable=True).indices
    sizes = _kernels(mask).sum(2).flatten()[order]
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
