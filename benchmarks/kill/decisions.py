"""The journal's decisions, made again from what was on record before each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.core.records import Job, TaskInfo
from autoprune.data.taskfile import identify
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.journal import Event, Journal
from autoprune.search.plans import Planner
from autoprune.search.replay import settings_of
from autoprune.space import Space, load_space
from autoprune.stages.base import KeyContext


@dataclass(frozen=True)
class Parts:
    """What an engine on a study is made of."""

    space: Space
    info: TaskInfo
    keys: KeyContext
    header: Event

    def engine(self, events: list[Event]) -> Engine:
        """Return an engine that has replayed these events, on a journal in memory."""
        journal = Journal()
        journal.events = list(events)
        return Engine(
            self.space,
            self.info,
            journal,
            context=self.keys,
            seed=self.header["seed"],
            options=SearchOptions(**self.header["options"]),
        )

    def trained_by(self) -> Callable[[Mapping[str, Any]], Collection[str]]:
        """Return the function from a job of the journal to the keys of its stages that train."""
        planner = Planner(self.keys, self.info, self.space.rungs)
        return lambda job: planner.stages(Job.from_json(job))


def parts_of(events: list[Event], space_file: Path, home: Path) -> Parts:
    """Read a study's parts from its journal and its space."""
    space = load_space(space_file)
    return Parts(
        space.with_task(identify(space.task)),
        TaskInfo.from_json(events[0]["task"]),
        settings_of(events, home).key_context(),
        events[0],
    )


def replayed_otherwise(events: list[Event], parts: Parts) -> int:
    """Count the decisions that a fresh engine does not make from what preceded them.

    Each prefix of the journal that ends before a decision is replayed by an engine of its own, so
    neither a restart nor the order of results may leave a trace that is not in the journal.
    """
    count, position = 0, 1
    while position < len(events):
        if events[position]["event"] == "result":
            position += 1
            continue
        engine = parts.engine(events[:position])
        for _ in engine.state.pending:
            engine.next()
        engine.next()
        made = [_timeless(event) for event in engine.journal.events[position:]]
        recorded = [_timeless(event) for event in events[position : position + len(made)]]
        count += not made or made != recorded
        position += max(1, len(made))
    return count


def _timeless(event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "time"}
