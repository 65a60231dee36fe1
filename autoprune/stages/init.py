"""Where a trial starts: fresh initialisation, or the weights the task brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from autoprune.core.config import TaskConfig
    from autoprune.stages.state import TrialState


@dataclass(frozen=True)
class Init(Stage):
    """Initialise the model from a named stream.

    Parameters
    ----------
    task : TaskConfig
        Model and data, without the folders they lie in.
    label : str
        Stream label, so that a re-initialisation is a different draw of the same seed.
    """

    kind: ClassVar[str] = "init"

    task: TaskConfig
    seed: int
    label: str = "init"

    @property
    def cheap(self) -> bool:
        """Copying or ranking weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Build the model anew and take its weights."""
        from autoprune.stages.state import TrialState
        from autoprune.stages.support import export_weights

        return TrialState(export_weights(context.task.build_model(self.seed, self.label)))


@dataclass(frozen=True)
class Pretrained(Stage):
    """Take the weights that the task brings."""

    kind: ClassVar[str] = "pretrained"

    task: TaskConfig

    @property
    def cheap(self) -> bool:
        """Copying or ranking weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Read the task's own weights."""
        from autoprune.core.errors import TaskError
        from autoprune.stages.state import TrialState

        weights = context.task.pretrained()
        if weights is None:
            raise TaskError("task", "must bring pretrained weights for this plan")
        return TrialState(weights)
