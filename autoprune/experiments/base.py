"""What a ready-made study is: a list of jobs that grows with what is known.

A design is a pure function of results: asked with the same ones it wants the same jobs, in the
same order, and more results only lengthen the list. So a study that was killed goes on from its
journal, and workers may finish in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from autoprune.core.config import TaskConfig, TrialConfig
from autoprune.core.records import Job, JobResult, TaskInfo
from autoprune.search.engine import DONE, WAIT, Signal
from autoprune.search.journal import Event, Journal
from autoprune.search.plans import Planner, StageCosts
from autoprune.search.state import State

Key = tuple[str, int, int, bool]
Results = Mapping[Key, JobResult]


@dataclass(frozen=True)
class Wanted:
    """A job that a design asks for, not numbered yet.

    Parameters
    ----------
    config : TrialConfig
        Completed.
    epochs : int
        Retraining epochs over all rounds.
    seed : int
        The replicate.
    test : bool
        Read the test split.
    tag : str
        What it is for, for the reader of the journal.
    """

    config: TrialConfig
    epochs: int
    seed: int
    test: bool = False
    tag: str = ""

    @cached_property
    def key(self) -> Key:
        """What tells it from other jobs."""
        return (self.config.trial_id, self.epochs, self.seed, self.test)

    def job(self, number: int) -> Job:
        """Return it as a job."""
        return Job(number, self.config, self.epochs, self.seed, "run", self.test, self.tag)


class Design(Protocol):
    """A ready-made study's question."""

    @property
    def kind(self) -> str:
        """``oracle``, ``sweep`` or ``scratch``."""
        ...

    @property
    def task(self) -> TaskConfig:
        """The task, with file hashes filled in."""
        ...

    @property
    def top_epochs(self) -> int:
        """Epochs against which from-scratch plans scale their share of the dense run's."""
        ...

    @property
    def measure(self) -> tuple[str, ...]:
        """Further figures that each job measures."""
        ...

    @property
    def goes_on(self) -> bool:
        """Whether an answer with holes is worth having, so that a failed job does not end it."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the study's jobs, as plain JSON."""
        ...

    def begin(self, info: TaskInfo) -> None:
        """Look at the task before anything is written.

        Raises
        ------
        BadInput
            If the question cannot be asked of it.
        """
        ...

    def wanted(self, results: Results, costs: Costs) -> Sequence[Wanted]:
        """Return the jobs that are needed as far as it can be told from `results`."""
        ...

    def summary(self, results: Results, costs: Costs) -> dict[str, Any]:
        """Return what is known, as plain JSON."""
        ...


class Costs(Protocol):
    """What a job trains, without running it."""

    def __call__(self, wanted: Wanted) -> StageCosts:
        """Return the stages that train, each key with its epochs."""
        ...


class ExperimentEngine:
    """Hands out a design's jobs and takes in their results.

    Parameters
    ----------
    design : Design
        The question.
    journal : Journal
        Starts with the study's header; everything after it is replayed. A job that failed in an
        earlier session is asked for again.
    planner : Planner
        Knows which jobs share a stage, so that none is computed twice at the same time.

    Attributes
    ----------
    failure : str
        What the first failed job of this session said; no further job is handed out then, unless
        the design goes on.
    """

    def __init__(self, design: Design, journal: Journal, planner: Planner) -> None:
        self.design, self.journal, self.planner = design, journal, planner
        self.results: dict[Key, JobResult] = {}
        self.state = State([])
        self.failure = ""
        self._issued: set[Key] = set()
        self._numbers: dict[int, Key] = {}
        self._memo: dict[Key, StageCosts] = {}
        self._known: tuple[int, Sequence[Wanted]] = (-1, ())
        for event in journal.events:
            self._apply(event)
        self._again = self.state.pending
        self._issued = set(self.results) | {self._numbers[job.number] for job in self._again}
        for job in self._again:
            planner.issued(job)

    def next(self) -> Job | Signal:
        """Return the next job, `WAIT` while only a result can tell more, or `DONE`."""
        if self.failure and not self.design.goes_on:
            return WAIT if self.state.pending else self._end("failed")
        if self._again:
            return self._again.pop(0)
        wanted = self.wanted()
        for one in wanted:
            if one.key not in self._issued and not self.planner.is_out(self.costs(one)):
                job = one.job(len(self.state.jobs))
                self._write({"event": "job", "job": job.to_json()})
                self._issued.add(one.key)
                self.planner.issued(job)
                return job
        if self.state.pending or any(one.key not in self._issued for one in wanted):
            return WAIT
        return self._end("failed" if self.failure else "complete")

    def wanted(self) -> Sequence[Wanted]:
        """Return the jobs that the design wants by now."""
        if self._known[0] != len(self.results):
            found = self.design.wanted(self.results, self.costs)
            self._known = (len(self.results), found)
        return self._known[1]

    def record(self, result: JobResult) -> None:
        """Take in a result."""
        self._write({"event": "result", "result": result.to_json()})
        if result.status == "failed" and not self.failure:
            self.failure = result.error

    def costs(self, wanted: Wanted) -> StageCosts:
        """Return the stages that a job trains, each key with its epochs."""
        if wanted.key not in self._memo:
            self._memo[wanted.key] = self.planner.stages(wanted.job(0))
        return self._memo[wanted.key]

    def stop(self) -> None:
        """Note that the study was interrupted."""
        if self.state.status == "running":
            self._write({"event": "end", "status": "stopped"})

    def _end(self, status: str) -> Signal:
        if self.state.status != status:
            self._write({"event": "end", "status": status})
        return DONE

    def _write(self, event: Event) -> None:
        self._apply(self.journal.append(event))

    def _apply(self, event: Event) -> None:
        self.state.apply(event)
        if event["event"] == "job":
            job = self.state.jobs[event["job"]["number"]]
            self._numbers[job.number] = (job.trial, job.epochs, job.seed, job.test)
        elif event["event"] == "result":
            record = self.state.records[-1]
            self.planner.finished(record)
            if record.result.status != "failed":
                self.results[self._numbers[record.job.number]] = record.result
