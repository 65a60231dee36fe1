"""What runs jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autoprune.core.records import Job, JobResult

RunJob = Callable[[Job], JobResult]


class Asked(Protocol):
    """What an executor needs of an engine."""

    def next(self) -> object:
        """Return a `Job`, or a sentinel: wait (only while a job is out) or done."""

    def record(self, result: JobResult) -> None:
        """Take a job's result."""


class Executor(Protocol):
    """Asks the engine for jobs until it is done, and gives every result back exactly once.

    The engine is asked from one thread only. Jobs never raise: an exception inside one comes back
    as a ``failed`` result.
    """

    def run(self, engine: Asked) -> None:
        """Run a study to its end.

        Parameters
        ----------
        engine : Asked
            Decides.
        """
        ...
