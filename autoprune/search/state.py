"""The state of a study: what a replay of its journal gives, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoprune.core.records import Job, JobResult
from autoprune.search.journal import Event

SEARCH = ("explore", "lift")


@dataclass(frozen=True)
class Record:
    """A finished job."""

    job: Job
    result: JobResult


class State:
    """Jobs issued, results in the order they came, and how far the study is.

    Attributes
    ----------
    jobs : dict
        Every job by number.
    records, searched : list of Record
        Finished jobs, and those of the search, in the order of the journal.
    search_jobs : list of Job
        Search jobs issued.
    tried : set
        Trial and rung of every search job issued.
    confirming : set
        Trial, seed and tag of every job issued after the search.
    epochs_trained : float
        Epochs that were trained, for whatever purpose.
    confirm : dict or None
        The event that chose the finalists.
    status : str
        ``running``, or what the last ``end`` event says.
    time_s : float
        Time of the last event.
    """

    def __init__(self, events: list[Event]) -> None:
        self.header: Event = {}
        self.jobs: dict[int, Job] = {}
        self.search_jobs: list[Job] = []
        self.searched: list[Record] = []
        self.tried: set[tuple[str, int]] = set()
        self.confirming: set[tuple[str, int, str]] = set()
        self.epochs_trained = 0.0
        self.records: list[Record] = []
        self.finished: set[int] = set()
        self.confirm: dict[str, Any] | None = None
        self.test_read = False
        self.status = "running"
        self.time_s = 0.0
        self.num_events = 0
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        self.num_events += 1
        self.time_s = event["time"]
        kind = event["event"]
        if kind != "end":
            self.status = "running"
        if kind == "study":
            self.header = event
        elif kind == "job":
            job = Job.from_json(event["job"])
            self.jobs[job.number] = job
            if job.purpose in SEARCH:
                self.search_jobs.append(job)
                self.tried.add((event["job"]["trial"], job.epochs))
            else:
                self.confirming.add((event["job"]["trial"], job.seed, job.tag))
        elif kind == "result":
            result = JobResult.from_json(event["result"])
            record = Record(self.jobs[result.job], result)
            self.finished.add(result.job)
            self.records.append(record)
            self.epochs_trained += result.epochs_trained
            if record.job.purpose in SEARCH:
                self.searched.append(record)
        elif kind == "confirm":
            self.confirm = event
        elif kind == "test":
            self.test_read = True
        elif kind == "end":
            self.status = event["status"]

    @property
    def pending(self) -> list[Job]:
        """Jobs that are out, in the order they were issued."""
        return [job for number, job in self.jobs.items() if number not in self.finished]
