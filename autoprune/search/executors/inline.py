"""One job after another, in this process."""

from __future__ import annotations

from autoprune.core.records import Job
from autoprune.search.executors.base import Asked, RunJob


class InlineExecutor:
    """Runs every job where it stands (implements `Executor`).

    Parameters
    ----------
    run_job : Callable
        From a `Job` to its `JobResult`; never raises.
    """

    def __init__(self, run_job: RunJob) -> None:
        self.run_job = run_job

    def run(self, engine: Asked) -> None:
        """Run a study to its end."""
        while isinstance(job := engine.next(), Job):
            engine.record(self.run_job(job))
