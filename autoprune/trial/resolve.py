"""Turn a plan into states: what the store has is taken, the rest is computed, parents first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from autoprune.core.records import StageRecord
from autoprune.stages.base import Stage
from autoprune.stages.state import TrialState
from autoprune.trial.context import WorkerContext


@dataclass
class Resolver:
    """Resolves the stages of one job and keeps its accounts.

    Each stage is looked up once; a stage that is stored needs none of its parents.
    """

    context: WorkerContext
    records: dict[str, StageRecord] = field(default_factory=dict)

    def state(self, stage: Stage) -> TrialState:
        """Return a stage's state, computing what is missing."""
        key = stage.key(self.context.keys)
        state = self.context.store.get(key)
        reused = state is not None
        wall_s, epochs = 0.0, stage.epochs
        if state is None:
            inputs = [self.state(parent) for parent in stage.parents]
            start = time.perf_counter()
            if inputs and inputs[0].diverged:
                # What diverged stays as it is: its status is the result of all that follows.
                state, epochs = inputs[0], 0.0
            else:
                state = stage.run(inputs, self.context)
            wall_s = time.perf_counter() - start
            if stage.cheap or epochs < stage.epochs:
                self.context.store.remember(key, state)
            else:
                self.context.store.put(key, state)
        if key not in self.records:
            self.records[key] = StageRecord(key, stage.kind, epochs, reused, wall_s)
        return state
