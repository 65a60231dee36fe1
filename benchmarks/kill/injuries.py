"""What is done to a search that runs."""

from __future__ import annotations

import contextlib
import hashlib
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.kill.checks import Event, Moment, is_prefix
from benchmarks.kill.process import Search

MAX_HITS = 2
"""Ray starts a job again twice; a third death of its worker is the job's failure, by design."""


@dataclass
class Patient:
    """A search, what was done to it, and what that showed at once.

    Parameters
    ----------
    search : Search
        The study.
    rng : Generator
        Draws places and sizes; moments are drawn by the scenario.
    """

    search: Search
    rng: np.random.Generator
    moments: list[Moment] = field(default_factory=list)
    damage: dict[str, str] = field(default_factory=dict)
    times_damaged: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rewritten: int = 0
    hits: Counter[int] = field(default_factory=Counter)
    kept: list[Event] = field(default_factory=list)

    def kill(self) -> None:
        """Kill the driver; workers must end by themselves."""
        self.wrong += [f"{name} outlived its driver" for name in self.search.kill()]

    def note(self, *, stopped: int, quiet: bool, damaged: frozenset[str] = frozenset()) -> None:
        """Remember where the study stands, and see that nothing on record has changed."""
        events = self.search.events
        self.rewritten += not is_prefix(self.kept, events)
        self.kept = list(events)
        stored = frozenset(self.search.stored)
        self.moments.append(Moment(len(events), stopped, stored, damaged, quiet))


Injury = Callable[[Patient], bool]
"""Returns False when the moment did not serve: nothing was there to injure."""


def kill_driver(patient: Patient) -> bool:
    """Kill the driver; workers must end by themselves."""
    patient.kill()
    patient.note(stopped=patient.search.workers, quiet=True)
    return True


def kill_worker(patient: Patient) -> bool:
    """Kill one of Ray's workers, unless that might be a job's third time."""
    workers, out = patient.search.job_processes(), _out(patient.search.events)
    if not workers or not out or any(patient.hits[job] >= MAX_HITS for job in out):
        return False
    victim = workers[int(patient.rng.integers(len(workers)))]
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return False
    patient.hits.update(out)
    patient.note(stopped=1, quiet=False)
    return True


def kill_node(patient: Patient) -> bool:
    """Kill Ray's node, workers and all, as a machine that goes: the search must say so and end."""
    search = patient.search
    nodes, workers = search.node_processes(), search.job_processes()
    if not nodes or not workers:
        return False
    for process in (*nodes, *workers):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return _must_end(patient, "Ray's own process killed")


def tear(patient: Patient) -> bool:
    """Kill the driver as if in the middle of a line."""
    if not patient.search.lines:
        return False
    kill_driver(patient)
    lines = patient.search.journal.read_bytes().splitlines()
    line = lines[int(patient.rng.integers(len(lines)))]
    part = line[: int(patient.rng.integers(1, len(line)))]
    with patient.search.journal.open("ab") as file:
        file.write(part)
    return True


def fill_disk(patient: Patient) -> bool:
    """Let no file grow beyond the journal's size and a bit, and wait for the search to say so.

    A limit on the size of files stands in for the disk: whichever comes next fails, a state (each
    is larger than the journal) or a line of the journal, in its middle.
    """
    search = patient.search
    if not search.lines:
        return False
    bound = search.journal.stat().st_size + int(patient.rng.integers(1, 200))
    for process in (psutil.Process(search.process.pid), *search.job_processes()):
        process.rlimit(resource.RLIMIT_FSIZE, (bound, bound))
    return _must_end(patient, "a full disk")


def _must_end(patient: Patient, why: str) -> bool:
    """Wait until the search gives up, which it must do with one message, or was through already."""
    code, told = patient.search.end(), patient.search.told
    if code == 0:
        return False
    said = [line for line in told.splitlines() if line.startswith("autoprune: ")]
    if code not in (1, 2) or "Traceback" in told or len(said) != 1:
        patient.wrong.append(f"{why}: exit code {code}, {len(said)} messages: {told[-300:]}")
    patient.note(stopped=patient.search.workers, quiet=True)
    return True


def corrupt(patient: Patient) -> bool:
    """Flip a few bytes of a stored stage, or cut it short."""

    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        if patient.rng.random() < 0.25:
            del data[int(patient.rng.integers(len(data))) :]
        for place in patient.rng.integers(max(1, len(data)), size=8) if data else ():
            data[int(place)] ^= int(patient.rng.integers(1, 256))
        with path.open("r+b") as file:  # in place: no new file, so no new inode
            file.write(data)
            file.truncate()

    return _damage(patient, spoil)


def remove(patient: Patient) -> bool:
    """Delete a stored stage."""
    return _damage(patient, Path.unlink)


def _damage(patient: Patient, spoil: Callable[[Path], None]) -> bool:
    """Spoil a file of the store: every other time after a kill, otherwise while it is in use."""
    if not patient.search.stored:
        return False
    between = len(patient.moments) % 2 == 0
    if between:
        patient.kill()
    key = _target(patient)
    path = patient.search.stored[key]
    spoil(path)
    patient.damage[key] = sha256(path) if path.exists() else ""
    patient.times_damaged[key] += 1
    stopped = patient.search.workers if between else 0
    patient.note(stopped=stopped, quiet=between, damaged=frozenset({key}))
    return True


def _target(patient: Patient) -> str:
    """Return the most used stage half of the time (it is sure to be read), else any."""
    stored = sorted(patient.search.stored)
    uses = Counter(
        stage["key"]
        for event in patient.search.events
        if event["event"] == "result"
        for stage in event["result"]["stages"]
    )
    if patient.rng.random() < 0.5:
        return max(stored, key=lambda key: (uses[key], key))
    return stored[int(patient.rng.integers(len(stored)))]


def _out(events: Sequence[Event]) -> set[int]:
    issued = {event["job"]["number"] for event in events if event["event"] == "job"}
    return issued - {event["result"]["job"] for event in events if event["event"] == "result"}


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
