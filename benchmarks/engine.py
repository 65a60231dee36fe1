"""What the engine takes per decision, with jobs that cost nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autoprune.core.records import Job, JobResult
from autoprune.search.engine import DONE, Engine, SearchOptions, Signal
from autoprune.search.executors.simulated import SimulatedExecutor
from autoprune.space import load_space
from benchmarks.common import Row
from benchmarks.simulated import VirtualStudy, describe

LIMITS_MS = {100: 50.0, 1000: 100.0}
WINDOW = 50
"""Decisions averaged, up to the given number of records: the forest is refitted now and then."""


@dataclass
class Timed:
    """An engine that notes what each decision took: the recording before it, and the asking.

    Parameters
    ----------
    engine : Engine
        Decides.
    stop : float
        Decisions after which it is done.
    at : dict
        What to do when so many decisions were made, outside the times.
    """

    engine: Engine
    stop: float = math.inf
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    _pending_ms: float = 0.0

    def next(self) -> Job | Signal:
        """Ask, and note the time."""
        if len(self.times_ms) >= self.stop:
            return DONE
        action = self.at.pop(len(self.times_ms), None)
        if action is not None:
            action()
        start = time.perf_counter()
        answer = self.engine.next()
        self._pending_ms += 1e3 * (time.perf_counter() - start)
        if isinstance(answer, Job):
            self.times_ms.append(self._pending_ms)
            self._pending_ms = 0.0
        return answer

    def record(self, result: JobResult) -> None:
        """Record, and note the time."""
        start = time.perf_counter()
        self.engine.record(result)
        self._pending_ms += 1e3 * (time.perf_counter() - start)


def measure(quick: bool = False) -> list[Row]:
    """Search on Fashion-MNIST's space until there are enough records."""
    rows = []
    sizes = [12] if quick else list(LIMITS_MS)
    times = _decide(max(sizes) + 1)
    for size in sizes:
        window = times[max(0, size - WINDOW) : size]
        mean_ms = sum(window) / len(window)
        note = f"worst {max(window):.0f} ms"
        name = f"engine per decision at {size} records"
        rows.append(Row(name, mean_ms, "ms", LIMITS_MS.get(size), len(window), note))
    return rows


def _decide(count: int) -> list[float]:
    options = SearchOptions(budget=str(count + 1))
    study = VirtualStudy(load_space("fashion_mnist"), describe("fashion_mnist")[0], options)
    timed = Timed(study.engine(), count)
    executor = SimulatedExecutor(study.simulation(), 2, study.clock)
    executor.run(timed)  # type: ignore[arg-type] # as an engine
    return timed.times_ms
