"""What must hold of a journal whose search was disturbed: pure functions of its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]
TIMED = ("wall_s", "stages", "epochs_trained", "epochs_reused", "train_macs")
"""Parts of a result that say who did the work and how long it took, not what came out."""


@dataclass(frozen=True)
class Moment:
    """An injury, as it left the study.

    Parameters
    ----------
    position : int
        Whole events in the journal.
    stopped : int
        Processes it killed that may have been running a job.
    stored : frozenset of str
        Keys in the store.
    damaged : frozenset of str
        Keys whose files it changed or removed.
    quiet : bool
        Whether nothing was running any more.
    """

    position: int
    stopped: int = 0
    stored: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()
    quiet: bool = True


def results(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the recorded results in their order."""
    return [event["result"] for event in events if event["event"] == "result"]


def decisions(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return what was decided, in order and without times: jobs, finalists, the end."""
    return [
        {key: value for key, value in event.items() if key != "time"}
        for event in events
        if event["event"] not in ("study", "result")
    ]


def lost(events: Iterable[Event]) -> list[int]:
    """Return the jobs that were decided and never got a result."""
    events = list(events)
    done = {result["job"] for result in results(events)}
    return sorted(n for n in _issued(events) if n not in done)


def duplicated(events: Iterable[Event]) -> list[int]:
    """Return the jobs that were decided or recorded more than once, or recorded undecided."""
    events = list(events)
    issued = Counter(_issued(events))
    recorded = Counter(result["job"] for result in results(events))
    return sorted(_twice(issued) | _twice(recorded) | set(recorded) - set(issued))


def failed(events: Iterable[Event]) -> list[int]:
    """Return the jobs that ended in an error."""
    return [result["job"] for result in results(events) if result["status"] == "failed"]


def trained_twice(events: Iterable[Event]) -> set[str]:
    """Return the stages that two results say were trained for them."""
    trained = Counter(
        stage["key"]
        for result in results(events)
        for stage in result["stages"]
        if not stage["reused"] and stage["epochs"] > 0
    )
    return _twice(trained)


def trained_though_stored(events: Sequence[Event], moments: Sequence[Moment]) -> set[str]:
    """Return the stages that were stored when a driver died, and trained again afterwards.

    Only for moments at which nothing else was running: a job that goes on beside a killed worker
    has stored stages that it has yet to report.
    """
    found = set()
    for moment in (moment for moment in moments if moment.quiet):
        for result in results(events[moment.position :]):
            trained = {s["key"] for s in result["stages"] if not s["reused"]}
            found |= trained & moment.stored
    return found


def unfinished(
    events: Sequence[Event],
    moments: Sequence[Moment],
    stages: Callable[[Mapping[str, Any]], Collection[str]],
) -> int:
    """Count the stages that may have been cut off: one per killed process that had one to train.

    Parameters
    ----------
    stages : Callable
        From a job (as in the journal) to the keys of the stages that train.
    """
    count = 0
    for moment in moments:
        past = events[: moment.position]
        done = {result["job"] for result in results(past)}
        out = [e["job"] for e in past if e["event"] == "job" and e["job"]["number"] not in done]
        cut = sum(any(key not in moment.stored for key in stages(job)) for job in out)
        count += min(cut, moment.stopped)
    return count


def differing(found: Sequence[Any], expected: Sequence[Any]) -> int:
    """Count the places at which two sequences differ, a missing one counting too."""
    pairs = zip(found, expected, strict=False)
    return sum(bool(a != b) for a, b in pairs) + abs(len(found) - len(expected))


def outcomes(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the results without who did the work and how long it took."""
    return [{k: v for k, v in result.items() if k not in TIMED} for result in results(events)]


def is_prefix(kept: Sequence[Event], events: Sequence[Event]) -> bool:
    """Whether what was on disk at an injury is still there, unchanged."""
    return list(events[: len(kept)]) == list(kept)


def _issued(events: Iterable[Event]) -> list[int]:
    return [event["job"]["number"] for event in events if event["event"] == "job"]


def _twice(counts: Counter[Any]) -> set[Any]:
    return {key for key, times in counts.items() if times > 1}
