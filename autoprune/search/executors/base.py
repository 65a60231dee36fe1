"""What runs jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autoprune.core.records import Job, JobResult
from autoprune.search.engine import Engine

RunJob = Callable[[Job], JobResult]


class Executor(Protocol):
    """Asks the engine for jobs until it is done, and gives every result back exactly once.

    The engine is asked from one thread only. Jobs never raise: an exception inside one comes back
    as a ``failed`` result.
    """

    def run(self, engine: Engine) -> None:
        """Run a study to its end.

        Parameters
        ----------
        engine : Engine
            Decides.
        """
        ...
