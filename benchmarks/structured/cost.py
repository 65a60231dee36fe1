"""What a run costs, before it: epochs of every stage that is not shared, and what is done."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from autoprune.core.records import Job
from autoprune.stages.base import KeyContext, Numerics, StageKey, closure
from autoprune.trial.plan import make_plan
from benchmarks.methods.pool import Results
from benchmarks.structured.catalogue import Planned

_KEYS = KeyContext("", Numerics(), "")


def stages_of(job: Job, top: float) -> dict[StageKey, float]:
    """Return the epochs of a job's training stages, by key: equal ones are trained once."""
    found = {}
    for end in make_plan(job, top):
        found |= {s.key(_KEYS): s.epochs for s in closure(end) if s.epochs}
    return found


class Bill:
    """Adds up epochs, each stage once, in the order in which jobs are run.

    Parameters
    ----------
    results : Results
        Finished jobs cost nothing more; what they share with others is taken as trained.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.seen: set[StageKey] = set()

    def epochs(self, planned: Iterable[Planned], top: float, measured: float = 0.0) -> float:
        """Return the epochs still to be trained for some jobs, each measured once."""
        total = 0.0
        for one in planned:
            stages = stages_of(one.job, top)
            if self.results.of(one.label, one.job) is None:
                total += measured + sum(n for key, n in stages.items() if key not in self.seen)
            self.seen |= stages.keys()
        return total


def seconds_per_epoch(results: Results, planned: Iterable[Planned], guess: float) -> float:
    """Return what an epoch took in the runs that are done, or a guess."""
    rows = (results.of(one.label, one.job) for one in planned)
    found = [row["wall_s"] / row["trained"] for row in rows if row and row.get("trained")]
    return median(found) if found else guess
