"""Stages that only look: they add numbers to the log and leave the state as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from autoprune.metrics.dnr import DeadNeurons
    from autoprune.stages.state import TrialState


@dataclass(frozen=True)
class MeasureDead(Stage):
    """Log the dead-neuron rates of a cycle.

    Parameters
    ----------
    parents : tuple of Stage
        The cycle's end, which is what this stage returns, and its start: masked, before the first
        update. Nothing trains on this stage, so measuring changes no other stage's key.
    seed : int
        Root of the stream that draws the training images; one draw for start, end and rounds.
    num_images : int
        How many images at most.

    Notes
    -----
    Logged are ``dnr_start`` and ``dnr_end``, the static part ``dnr_static`` (what initialisation
    and the mask cause: the start's rate), the dynamic part ``dnr_dynamic`` (what training adds:
    end less start, possibly negative) and ``dead_all`` at the end.

    # Deviation: the paper parts the rate in a static and a dynamic one; that the dynamic one is
    this difference is unconfirmed.
    """

    kind: ClassVar[str] = "measure_dead"

    seed: int
    num_images: int = 2000

    @property
    def cheap(self) -> bool:
        """Whether two passes over a sample cost less than another copy of the weights."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Measure both states; return the first, with the rates in its log."""
        end, start = (self._dead(state, context) for state in inputs)
        rates = {
            "dnr_start": start.rate,
            "dnr_end": end.rate,
            "dnr_static": start.rate,
            "dnr_dynamic": end.rate - start.rate,
            "dead_all": end.dead_all,
        }
        return replace(inputs[0], log={**inputs[0].log, **rates})

    def _dead(self, state: TrialState, context: RunContext) -> DeadNeurons:
        """Measure in eval mode, on BatchNorm statistics of the net as it is (card ap, g10)."""
        import torch

        from autoprune.core.seeds import torch_stream
        from autoprune.metrics.dnr import dead_neurons
        from autoprune.stages.prune import Recalibrate
        from autoprune.stages.support import load_model

        if context.task.info.has_batchnorm:
            state = Recalibrate().run([state], context)
        train = context.task.data.train
        order = torch.randperm(train.size, generator=torch_stream(self.seed, "dead_neurons"))
        return dead_neurons(load_model(state, context), train, order=order[: self.num_images])
