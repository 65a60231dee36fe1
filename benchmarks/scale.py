"""How busy many workers are: a simulated cluster of 64, and (with --nodes) two real Ray nodes.

``python -m benchmarks.scale`` simulates searches of Fashion-MNIST's space. A stage takes a
lognormal time per epoch, or (``--durations JOURNAL``) the times of a real study's jobs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from autoprune.core.records import Job, JobResult
from autoprune.search.engine import SearchOptions
from autoprune.search.executors.simulated import Simulation, VirtualClock
from autoprune.search.journal import load_events
from autoprune.search.state import SEARCH, State
from autoprune.space import load_space
from benchmarks.common import DATA, Row, conclude, environment, show
from benchmarks.simulated import VirtualStudy, describe

WORKERS = 64
BUDGETS = (200, 500, 1000)
LEAST = 0.95
SIGMA, OVERHEAD_S = 0.3, 0.3
"""Spread of the logarithm of a job's times, and what it takes beside its epochs of a second."""


@dataclass
class Durations:
    """Seconds of jobs, drawn from a seeded stream.

    Parameters
    ----------
    factors : sequence of float
        Seconds per epoch to draw from; empty for a lognormal around 1.
    overhead_s : float
        What a job takes beside training, as a median; it varies by `SIGMA`, too.
    """

    factors: Sequence[float] = ()
    overhead_s: float = OVERHEAD_S
    stream: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __call__(self, epochs: float) -> float:
        """Return the time of a job that trains so many epochs."""
        spread = self.stream.lognormal(0.0, SIGMA, 2)
        per_epoch = self.stream.choice(self.factors) if self.factors else spread[0]
        return float(per_epoch * epochs + spread[1] * self.overhead_s)


def recorded(journal: Path) -> Durations:
    """Return the times per epoch of a study's jobs, and the median of what trained nothing."""
    results = [r.result for r in State(load_events(journal)).records]
    idle = [r.wall_s for r in results if r.status != "failed" and not r.epochs_trained]
    overhead_s = float(np.median(idle)) if idle else 0.0
    factors = [
        max(r.wall_s - overhead_s, 0.0) / r.epochs_trained
        for r in results
        if r.status != "failed" and r.epochs_trained
    ]
    return Durations(factors, overhead_s)


@dataclass
class Watched:
    """A simulation that notes when each job ran, and for what."""

    simulation: Simulation
    durations: Durations
    clock: VirtualClock
    spans: list[tuple[float, float, str]] = field(default_factory=list)

    def __call__(self, job: Job) -> JobResult:
        """Run a job."""
        result = self.simulation(job)
        took_s = self.durations(result.epochs_trained)
        self.spans.append((self.clock.now_s, self.clock.now_s + took_s, job.purpose))
        return replace(result, wall_s=took_s)


@dataclass(frozen=True)
class Busy:
    """Shares of the workers' time that went into jobs.

    Parameters
    ----------
    search : float
        From the first job until the last search job was handed out: nothing but the engine can
        keep a worker waiting then.
    drain : float
        From there until the last search job ended; baselines may fill it.
    confirmation : float
        From there until the end.
    whole : float
        From the first job to the end of the last one.
    most : float
        The greatest `whole` that this work and its longest chain (search, then finalists) allow.
    """

    search: float
    drain: float
    confirmation: float
    whole: float
    most: float
    jobs: int
    end_s: float


def busy(spans: Sequence[tuple[float, float, str]], workers: int) -> Busy:
    """Work out how busy the workers were in each part."""
    mine = [span for span in spans if span[2] in SEARCH]
    issued, searched = max(s[0] for s in mine), max(s[1] for s in mine)
    end_s = max(s[1] for s in spans)

    def share(start: float, stop: float) -> float:
        worked = sum(max(0.0, min(b, stop) - max(a, start)) for a, b, _ in spans)
        return worked / (workers * (stop - start)) if stop > start else 1.0

    work = sum(b - a for a, b, _ in spans)
    finalists = [b - a for a, b, purpose in spans if purpose == "confirm"]
    chain = max(b - a for a, b, _ in mine) + max(finalists, default=0.0)
    return Busy(
        share(0.0, issued),
        share(issued, searched),
        share(searched, end_s),
        work / (workers * end_s),
        work / max(work, workers * chain),
        len(spans),
        end_s,
    )


def simulate(budget: int, workers: int = WORKERS, durations: Durations | None = None) -> Busy:
    """Search Fashion-MNIST's space on a simulated cluster."""
    info, _ = describe("fashion_mnist")
    study = VirtualStudy(load_space("fashion_mnist"), info, SearchOptions(budget=str(budget)))
    watched = Watched(study.simulation(), durations or Durations(), study.clock)
    study.run(workers, watched)
    return busy(watched.spans, workers)


def rows_of(budget: int, found: Busy, workers: int) -> list[Row]:
    """Word a simulated study as rows; the whole of it is to be busy, not a part that is."""
    parts = {
        "search": (found.search, LEAST, "until its last job is handed out"),
        "its last jobs": (found.drain, None, "baselines fill in"),
        "confirmation": (found.confirmation, None, "at most 12 finalists on 3 seeds"),
        "all": (found.whole, LEAST, f"at most {found.most:.3f}; ends at {found.end_s:.0f} s"),
    }
    return [
        Row(
            f"{workers} workers busy, {budget} jobs, {part}",
            value,
            "share",
            limit,
            found.jobs,
            note,
        )
        for part, (value, limit, note) in parts.items()
    ]


def measure(
    quick: bool = False, budgets: Sequence[int] = BUDGETS, durations: Durations | None = None
) -> list[Row]:
    """Simulate a study of each size."""
    workers = 8 if quick else WORKERS
    rows = []
    for budget in (24,) if quick else budgets:
        rows += rows_of(budget, simulate(budget, workers, durations), workers)
    return rows


def main(arguments: list[str]) -> int:
    """Return 1 when a limit is not kept or the cluster's search is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--nodes", action="store_true", help="two Ray nodes, of which one dies")
    parser.add_argument("--durations", type=Path, help="the journal of a study to take times from")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests: says nothing")
    parser.add_argument("--out", type=Path, default=DATA / "results.csv")
    given = parser.parse_args(arguments)
    if given.nodes:
        from benchmarks.nodes import measure as measure_nodes

        rows = measure_nodes()
    else:
        durations = None if given.durations is None else recorded(given.durations)
        rows = measure(given.quick, [int(b) for b in given.budgets.split(",")], durations)
    for row in rows:
        print(show(row), flush=True)
    return conclude(rows, given.out, environment(), quick=given.quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
