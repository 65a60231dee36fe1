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

    A stage that is stored needs none of its parents. What rests on a state that diverged is that
    state: its status is the result of all that follows, and it costs nothing.
    """

    context: WorkerContext
    records: dict[str, StageRecord] = field(default_factory=dict)
    _diverged: dict[str, TrialState] = field(default_factory=dict)
    _passed: set[str] = field(default_factory=set)

    def state(self, stage: Stage) -> TrialState:
        """Return a stage's state, computing what is missing."""
        key = stage.key(self.context.keys)
        state = self._diverged.get(key) or self.context.store.get(key)
        reused = state is not None
        wall_s, behind = 0.0, False
        if state is None:
            inputs = [self.state(parent) for parent in stage.parents]
            start = time.perf_counter()
            if inputs and inputs[0].diverged:
                state = self._diverged[key] = inputs[0]
                behind = True
            else:
                state = stage.run(inputs, self.context)
                keep = self.context.store.remember if stage.cheap else self.context.store.put
                keep(key, state)
            wall_s = time.perf_counter() - start
        if key in self._passed:
            self._passed.remove(key)
            del self.records[key]
        if key not in self.records:
            behind = behind or key in self._diverged
            epochs = 0.0 if behind else stage.spent(state)
            self.records[key] = StageRecord(key, stage.kind, epochs, reused, wall_s)
        return state

    def epochs_of(self, stage: Stage) -> float:
        """Return what a stage costs, or did, where only its state says how much that is."""
        state = self.context.store.get(stage.key(self.context.keys)) if stage.open_ended else None
        return stage.epochs if state is None else stage.spent(state)

    def pass_over(self, stage: Stage) -> None:
        """Put a stage on record as reused, for now: its state is not needed, until one asks."""
        key = stage.key(self.context.keys)
        if key not in self.records:
            self._passed.add(key)
            self.records[key] = StageRecord(key, stage.kind, self.epochs_of(stage), True, 0.0)

    def look_at(self, stage: Stage) -> TrialState:
        """Return a state that is only measured: on record is what had to be trained for it."""
        aside = Resolver(self.context)
        state = aside.state(stage)
        trained = {k: r for k, r in aside.records.items() if r.epochs and not r.reused}
        self.records |= trained
        self._passed -= trained.keys()
        return state
