"""From journal events to what the live view shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from autoprune.report.live import LiveState
from autoprune.search.front import hypervolume as volume_of
from autoprune.search.front import points
from autoprune.search.profile import BANDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoprune.search.engine import Engine
    from autoprune.search.state import Record


class Watcher:
    """Listens to a study's journal and passes on the state of the search.

    Parameters
    ----------
    engine : Engine
        Whose journal it is.
    show : Callable
        Takes each new `LiveState`.
    """

    def __init__(self, engine: Engine, show: Callable[[LiveState], None]) -> None:
        self.engine, self.show, self.start = engine, show, time.monotonic()
        self.best: dict[float, float] = {}
        self.hypervolume: float | None = None
        self.reused = self.total = self.failed = self.seen = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in a journal event (the engine's state follows it just after)."""
        if event["event"] in {"job", "result", "confirm", "end"}:
            self._catch_up()
            self.show(self._state())

    def _catch_up(self) -> None:
        state = self.engine.state
        for record in state.records[self.seen :]:
            self._count(record)
        if len(state.records) > self.seen:
            found = points(state.searched, self.engine.space.objectives, self.engine.info)
            self.hypervolume = volume_of([point.values for point in found]) if found else None
        self.seen = len(state.records)

    def _count(self, record: Record) -> None:
        result = record.result
        self.total += len(result.stages)
        self.reused += sum(stage.reused for stage in result.stages)
        self.failed += result.status == "failed"
        if record.job.purpose not in {"explore", "lift"} or not result.metrics:
            return
        for band in BANDS:
            if result.metrics["sparsity"] >= band:
                self.best[band] = max(self.best.get(band, 0.0), result.metrics["val_accuracy"])

    def _state(self) -> LiveState:
        state = self.engine.state
        return LiveState(
            spent=self._spent(),
            running=len(state.pending),
            done=len(state.records),
            failed=self.failed,
            stages_reused=self.reused,
            stages_total=self.total,
            best=dict(self.best),
            hypervolume=self.hypervolume,
            elapsed_s=time.monotonic() - self.start,
            last=_words(state.records[-1]) if state.records else "",
            phase=self._phase(),
        )

    def _phase(self) -> str:
        """Word what is going on; the confirmation's jobs are beyond a counted budget."""
        state = self.engine.state
        if state.confirm is None:
            return "search"
        rows = len(state.confirm["finalists"]) + len(state.confirm["baselines"])
        done = len(state.records) - len(state.searched)
        return f"confirmation, {done} of {rows * len(state.confirm['seeds'])} jobs"

    def _spent(self) -> float:
        unit, state = self.engine.budget.unit, self.engine.state
        if unit == "jobs":
            return float(len(state.searched))
        return state.epochs_trained if unit == "epochs" else state.time_s


def _words(record: Record) -> str:
    config, metrics = record.job.config, record.result.metrics
    if record.result.status == "failed":
        return f"{config.method}: failed: {record.result.error}"
    return (
        f"{config.method} {config.lr.name}, {record.job.epochs} epochs: "
        f"{metrics['val_accuracy']:.1%} at sparsity {metrics['sparsity']:.1%}"
    )
