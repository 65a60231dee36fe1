"""What the engine takes per decision, with jobs that cost nothing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from autoprune.core.config import TrialConfig
from autoprune.core.records import Job, JobResult, LayerInfo, TaskInfo
from autoprune.search.engine import DONE, Engine, SearchOptions, Signal
from autoprune.search.executors.simulated import SimulatedExecutor, Simulation
from autoprune.search.journal import Journal
from autoprune.search.plans import Planner
from autoprune.space import load_space
from autoprune.stages.base import KeyContext, Numerics
from benchmarks.common import Row

SHAPES = {"a": (300, 784), "b": (100, 300), "c": (10, 100)}
LIMITS_MS = {100: 50.0, 1000: 100.0}
WINDOW = 50
"""Decisions averaged, up to the given number of records: the forest is refitted now and then."""


@dataclass
class _Timed:
    """An engine that notes how long each decision took, and stops at a number of them."""

    engine: Engine
    stop: int
    times_s: list[float] = field(default_factory=list)
    pending_s: float = 0.0

    def next(self) -> Job | Signal:
        if len(self.times_s) >= self.stop:
            return DONE
        start = time.perf_counter()
        answer = self.engine.next()
        self.pending_s += time.perf_counter() - start
        if isinstance(answer, Job):
            self.times_s.append(self.pending_s)
            self.pending_s = 0.0
        return answer

    def record(self, result: JobResult) -> None:
        start = time.perf_counter()
        self.engine.record(result)
        self.pending_s += time.perf_counter() - start


def measure(quick: bool = False) -> list[Row]:
    """Search on Fashion-MNIST's space until there are enough records."""
    rows = []
    sizes = [12] if quick else list(LIMITS_MS)
    times = _decide(max(sizes) + 1)
    for size in sizes:
        window = times[max(0, size - WINDOW) : size]
        mean_ms = 1e3 * sum(window) / len(window)
        note = f"worst {1e3 * max(window):.0f} ms"
        name = f"engine per decision at {size} records"
        rows.append(Row(name, mean_ms, "ms", LIMITS_MS.get(size), len(window), note))
    return rows


def _decide(count: int) -> list[float]:
    space = load_space("fashion_mnist")
    info, keys = _task(), KeyContext("data", Numerics(), "sources")
    options = SearchOptions(budget=str(count + 1))
    engine = Engine(space, info, Journal(), context=keys, options=options)
    timed = _Timed(engine, count)
    simulation = Simulation(_response, Planner(keys, info, space.rungs))
    SimulatedExecutor(simulation, workers=2).run(timed)  # type: ignore[arg-type] # as an engine
    return timed.times_s


def _response(config: TrialConfig, epochs: int, seed: int) -> dict[str, float]:
    """Answer as a task would: the sparser the worse, the longer the better."""
    error = 0.1 + 0.1 * -math.log10(1.0 - config.sparsity) + 0.05 / epochs
    return {"val_accuracy": 1.0 - min(0.9, error), "val_loss": error}


def _task() -> TaskInfo:
    layers = tuple(
        LayerInfo(f"{name}.weight", shape, "linear", shape[0] * shape[1])
        for name, shape in SHAPES.items()
    )
    prunable = sum(layer.macs for layer in layers)
    return TaskInfo(54_000, 6_000, 10_000, 10, (1, 28, 28), layers, prunable + 410, prunable, "f")
