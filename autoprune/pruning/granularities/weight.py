"""One weight is one unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from autoprune.pruning.keep import Allocation, LayerUnits, UnitScores
from autoprune.pruning.masks import MaskSet, top_k_mask
from autoprune.pruning.view import ModelView, Scores


class WeightGranularity:
    """Weights live and die alone; weights that are already masked stay dead."""

    of_units: ClassVar[bool] = False

    def pool(self, scores: Scores, view: ModelView) -> UnitScores:
        """Mark dead weights with ``-inf``, so that masks only shrink."""
        return {
            name: LayerUnits(
                scores=torch.where(view.masks[name], score, -torch.inf),
                magnitudes=view.weights[name].abs() * view.masks[name],
                shape=tuple(view.weights[name].shape),
            )
            for name, score in scores.items()
        }

    def kept_count(
        self, units: UnitScores, sparsity: float, allocation: Allocation, view: ModelView
    ) -> int:
        """``total - round(sparsity * total)``, at most what is still alive."""
        total = sum(layer.num_units for layer in units.values())
        alive = sum(int(view.masks[name].sum()) for name in units)
        return min(total - round(sparsity * total), alive)

    def select(self, units: UnitScores, keep: Mapping[str, int], view: ModelView) -> MaskSet:
        """Keep the best weights of each layer."""
        return MaskSet({n: top_k_mask(layer.scores, keep[n]) for n, layer in units.items()})
