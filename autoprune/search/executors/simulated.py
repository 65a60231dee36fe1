"""A double for tests and forecasts: answers instead of training, and a clock that only jumps."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from autoprune.core.config import TrialConfig
from autoprune.core.records import Job, JobResult, StageRecord
from autoprune.search.engine import Engine
from autoprune.search.executors.base import RunJob
from autoprune.search.plans import Planner

Response = Callable[[TrialConfig, int, int], Mapping[str, float]]


class VirtualClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class Simulation:
    """Answers jobs from a function, and keeps account of stages as the store would.

    Parameters
    ----------
    response : Callable
        ``(config, epochs, seed)`` to metrics; what it leaves out is filled with plausible values.
    planner : Planner
        Names and prices the stages; not shared with an engine.
    seconds_per_epoch : float
        What a trained epoch takes.
    """

    def __init__(
        self, response: Response, planner: Planner, seconds_per_epoch: float = 1.0
    ) -> None:
        self.response, self.planner = response, planner
        self.seconds_per_epoch = seconds_per_epoch

    def __call__(self, job: Job) -> JobResult:
        """Return the job's result."""
        costs, computed = self.planner.stages(job), self.planner.computed
        stages = tuple(
            StageRecord(key, "train", cost, key in computed, self.seconds_per_epoch * cost)
            for key, cost in costs.items()
        )
        trained = sum(stage.epochs for stage in stages if not stage.reused)
        computed.update(costs)
        metrics = self._metrics(job)
        return JobResult(
            job=job.number,
            trial=job.trial,
            status="ok",
            metrics=metrics,
            stages=stages,
            epochs_trained=trained,
            epochs_reused=sum(costs.values()) - trained,
            wall_s=trained * self.seconds_per_epoch,
        )

    def _metrics(self, job: Job) -> dict[str, float]:
        info, sparsity = self.planner.info, job.config.sparsity
        plausible = {
            "val_accuracy": 0.5,
            "val_loss": 1.0,
            "sparsity": sparsity,
            "sparsity_total": sparsity,
            "params": info.params,
            "params_nonzero": info.params * (1.0 - sparsity),
            "macs": info.macs,
            "macs_effective": info.macs * (1.0 - sparsity),
            "latency_ms": 1.0,
            "dense_latency_ms": 1.0,
            "size_bytes": 4.0 * info.params * (1.0 - sparsity),
            "dense_size_bytes": 4.0 * info.params,
            "dense_val_accuracy": 0.9,
        }
        metrics = {**plausible, **self.response(job.config, job.epochs, job.seed)}
        if job.test:
            metrics.setdefault("test_accuracy", metrics["val_accuracy"])
            metrics.setdefault("test_loss", metrics["val_loss"])
        return metrics


class SimulatedExecutor:
    """Several workers on a virtual clock: jobs end in the order their durations say.

    Parameters
    ----------
    run_job : Callable
        From a `Job` to its `JobResult`, asked when the job starts; its `wall_s` is the duration.
    workers : int
        Jobs at a time.
    clock : VirtualClock
        The clock to move; give the same one to the journal.
    """

    def __init__(
        self, run_job: RunJob, workers: int = 1, clock: VirtualClock | None = None
    ) -> None:
        self.run_job, self.workers, self.clock = run_job, workers, clock or VirtualClock()
        self.running: list[tuple[float, int, JobResult]] = []

    def run(self, engine: Engine) -> None:
        """Run a study to its end."""
        self._fill(engine)
        while self.running:
            end_s, _, result = heapq.heappop(self.running)
            self.clock.now_s = max(self.clock.now_s, end_s)
            engine.record(result)
            self._fill(engine)

    def _fill(self, engine: Engine) -> None:
        """Start jobs on idle workers."""
        while len(self.running) < self.workers and isinstance(job := engine.next(), Job):
            result = self.run_job(job)
            heapq.heappush(self.running, (self.clock.now_s + result.wall_s, job.number, result))
