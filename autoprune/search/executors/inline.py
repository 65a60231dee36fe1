"""One job after another, in this process."""

from __future__ import annotations

from autoprune.core.records import Job
from autoprune.search.engine import Engine
from autoprune.search.executors.base import RunJob


class InlineExecutor:
    """Runs every job where it stands (implements `Executor`)."""

    def run(self, engine: Engine, run_job: RunJob) -> None:
        """Run a study to its end."""
        while isinstance(job := engine.next(), Job):
            engine.record(run_job(job))
