"""Fresh weights under a mask: where a control from scratch starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.stages.base import RunContext
from autoprune.stages.prune import Rewind

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState


@dataclass(frozen=True)
class FreshWeights(Rewind):
    """Give survivors fresh weights; where units are gone, of the size that the slim net's have.

    A layer that lost inputs is drawn for the inputs it had: its weights and biases are scaled by
    ``sqrt(fan-in / fan-in left)``, which is the slim net's own draw.

    Parameters
    ----------
    parents : tuple of Stage
        The masked state, and the fresh draw.
    rescale : bool
        Where single weights are gone, scale a layer's by ``sqrt(1 / density)``, as if they were
        drawn for those that are left.
    """

    kind: ClassVar[str] = "fresh_weights"

    rescale: bool = False

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Draw, mask, and scale what lost inputs."""
        state = super().run(inputs, context)
        units = bool(state.structure.units)
        if not units and not self.rescale:
            return state
        weights = dict(state.weights)
        for layer in context.task.info.layers:
            mask = state.masks[layer.name].flatten(1)
            left = int(mask.any(0).sum() if units else mask.sum())
            of = mask.shape[1] if units else mask.numel()
            bias = f"{layer.name.removesuffix('weight')}bias"
            for name in (layer.name, bias) if units else (layer.name,):
                if left and name in weights:
                    weights[name] = weights[name] * (of / left) ** 0.5
        return replace(state, weights=weights)
