"""Re-scaled initialisation: a stage between the mask (or the rewind) and the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState
    from autoprune.training.recipes.tost_rescale import Scales


@dataclass(frozen=True)
class Rescale(Stage):
    """Multiply each parameter tensor of the parent by a scale that eases its training.

    Parameters
    ----------
    steps : int
        Steps of the search for the scales, >= 1.
    lr : float
        Length of the step it looks ahead: the learning rate of the training to come.
    batch_size, label_smoothing
        Of the training to come.
    label : str
        Names the streams that draw images.

    Notes
    -----
    Made for fresh or rewound weights. On trained ones it is legal and follows the same rule, but
    it trades their function for a start, so it mostly costs accuracy.
    """

    kind: ClassVar[str] = "rescale"

    steps: int
    lr: float
    batch_size: int
    seed: int
    label: str
    label_smoothing: float = 0.0

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Find the scales on a copy of the masked net, and apply them."""
        from functools import partial

        from autoprune.stages.support import load_model
        from autoprune.training.recipes.tost_rescale import find_scales

        state, task = inputs[0], context.task
        found = find_scales(
            load_model(state, context),
            task.data.train,
            partial(task.loss, label_smoothing=self.label_smoothing),
            state.masks,
            steps=self.steps,
            lr=self.lr,
            batch_size=self.batch_size,
            seed=self.seed,
            label=self.label,
        )
        return replace(
            state,
            weights=scaled(state, context, found.values),
            log=self._log(state, found, context),
        )

    def _log(self, state: TrialState, found: Scales, context: RunContext) -> dict[str, Any]:
        """Add the steps, the extremes and the multiply-adds to what was logged.

        A step's gradient takes three passes' worth of multiply-adds per image, and so does the
        loss ahead; the norm's own gradient takes two for each of the three.
        """
        layers = context.task.info.layers
        masks = state.masks
        forward = sum(
            x.macs * (float(masks[x.name].float().mean()) if x.name in masks else 1.0)
            for x in layers
        )
        passes = 6 * self.steps + 3 * found.bound_steps
        log = state.log
        return {
            **log,
            "train_macs": log.get("train_macs", 0.0) + passes * found.images * forward,
            "rescale_steps": log.get("rescale_steps", 0) + self.steps,
            "rescale_bound_steps": log.get("rescale_bound_steps", 0) + found.bound_steps,
            "rescale_least": min(found.values.values()),
            "rescale_greatest": max(found.values.values()),
        }


def scaled(state: TrialState, context: RunContext, scales: dict[str, float]) -> dict[str, Any]:
    """Return the state's weights times the scales, under every name that tied weights have."""
    import torch

    from autoprune.stages.support import export_weights, load_model

    model = load_model(state, context)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(scales.get(name, 1.0))
    return export_weights(model)
