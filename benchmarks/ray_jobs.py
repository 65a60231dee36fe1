"""What Ray costs per job, and how busy its workers are, on real jobs of Fashion-MNIST."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from autoprune.core.errors import DataError
from autoprune.core.records import Job, JobResult
from autoprune.data.taskfile import identify
from autoprune.search.engine import DONE, WAIT, Signal
from autoprune.search.executors.ray import RayExecutor
from autoprune.space import Space, load_space
from autoprune.trial.context import open_context
from autoprune.trial.run import run_job
from benchmarks.common import Row

WORKERS = 2
LIMIT_MS, LIMIT_BUSY = 50.0, 0.9


@dataclass
class Queue:
    """Hands out jobs one after another, and notes when results came."""

    jobs: list[Job]
    results: list[tuple[float, JobResult]] = field(default_factory=list)
    issued: int = 0

    def next(self) -> Job | Signal:
        """Return the next job."""
        if self.issued < len(self.jobs):
            self.issued += 1
            return self.jobs[self.issued - 1]
        return WAIT if len(self.results) < len(self.jobs) else DONE

    def record(self, result: JobResult) -> None:
        """Take a result."""
        self.results.append((time.perf_counter(), result))


def measure(quick: bool = False) -> list[Row]:
    """Run jobs of one retraining epoch that share a dense net, on two workers of one thread."""
    space = load_space("digits") if quick else _space()
    with tempfile.TemporaryDirectory() as folder:
        queue = Queue(_jobs(space, 6 if quick else 60))
        run_on_ray(space, queue, Path(folder))
    return overhead(queue, space.task.data)


def run_on_ray(space: Space, queue: Queue, home: Path) -> None:
    """Train the dense net here, then hand the jobs to Ray."""
    task = identify(space.task)
    context = open_context(task, home=home, top_epochs=space.top, threads=1)
    run_job(queue.jobs[0], context)
    RayExecutor(WORKERS, "autoprune.trial.context:job_runner", context.settings.to_json()).run(
        queue
    )


def overhead(queue: Queue, data: str) -> list[Row]:
    """Compare the time between the first job's start and the last one's end with the work done."""
    failed = [r.error for _, r in queue.results if r.status == "failed"]
    if failed:
        raise RuntimeError(failed[0])
    ends = [end for end, _ in queue.results]
    begin = min(end - result.wall_s for end, result in queue.results)
    available = WORKERS * (max(ends) - begin)
    busy = sum(result.wall_s for _, result in queue.results)
    count = len(ends)
    note = f"{count} jobs of {busy / count:.2f} s on {WORKERS} workers"
    beyond_ms = 1e3 * (available - busy) / count
    return [
        Row(f"ray beyond training per job, {data}", beyond_ms, "ms", LIMIT_MS, count, note),
        Row(f"ray workers busy, {data}", busy / available, "share", LIMIT_BUSY, count, note),
    ]


def _space() -> Space:
    space = load_space("fashion_mnist")
    try:
        from autoprune.data.registry import DATA

        source = DATA.get("fashion_mnist")
        if source.where is not None:
            source.where(None)
    except DataError:
        return load_space("digits")
    return space


def _jobs(space: Space, count: int) -> list[Job]:
    """Draw one-shot magnitude trials of one epoch each."""
    stream = np.random.default_rng(0)
    jobs: list[Job] = []
    while len(jobs) < count:
        config = space.config(space.random(stream, ["magnitude"]), float(stream.uniform(0.5, 0.98)))
        config = replace(config, task=identify(config.task))
        jobs.append(Job(len(jobs), config, 1, 0, "run"))
    return jobs
