"""What runs jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autoprune.core.records import Job, JobResult
from autoprune.search.engine import Engine

RunJob = Callable[[Job], JobResult]


class Executor(Protocol):
    """Asks the engine for jobs until it is done, and gives every result back exactly once."""

    def run(self, engine: Engine, run_job: RunJob) -> None:
        """Run a study to its end.

        Parameters
        ----------
        engine : Engine
            Decides; asked from one thread only.
        run_job : Callable
            Runs one job and never raises; an exception becomes a ``failed`` result.
        """
        ...
