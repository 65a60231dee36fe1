"""The engine: what to run next. It decides and remembers, and never runs anything.

Its state is a replay of the journal, and a decision depends on the journal, the study's seed and
the number of jobs issued only; so a resumed study goes on as if it had never stopped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from autoprune.core.config import TrialConfig
from autoprune.core.errors import AutoPruneError, ConfigError
from autoprune.core.records import Job, JobResult, TaskInfo
from autoprune.search import confirm
from autoprune.search.budget import parse_budget
from autoprune.search.front import front, points
from autoprune.search.journal import Event, Journal
from autoprune.search.plans import Planner
from autoprune.search.sampler import make_sampler
from autoprune.search.state import SEARCH, State
from autoprune.search.strategies import Strategy, View, get_strategy
from autoprune.space import Space
from autoprune.space.objectives import no_gain
from autoprune.stages.base import KeyContext

NUM_FAILURES = 5
REMEDY = (
    "add a method of kind units or low_rank (autoprune list methods), or sparsity or size_bytes to "
    "the objectives"
)

_LOG = logging.getLogger(__name__)


class Signal(Enum):
    """The answers of `Engine.next` that are no job."""

    WAIT = "wait"
    DONE = "done"


WAIT, DONE = Signal.WAIT, Signal.DONE


@dataclass(frozen=True)
class SearchOptions:
    """How to search; part of a study's identity.

    Parameters
    ----------
    budget : str
        See `parse_budget`.
    strategy : str
        ``contextual``, ``moasha`` or ``full``.
    sampler : str
        ``forest``, ``tpe``, ``random`` or ``grid``.
    confirm_seeds : int
        Fresh seeds per finalist, >= 1.
    device : str
        ``cpu`` or ``cuda``, resolved: bits differ between them.
    """

    budget: str = "100"
    strategy: str = "contextual"
    sampler: str = "forest"
    confirm_seeds: int = 3
    device: str = "cpu"

    def __post_init__(self) -> None:
        parse_budget(self.budget)
        get_strategy(self.strategy)
        make_sampler(self.sampler)
        if self.confirm_seeds < 1:
            raise ConfigError("--confirm-seeds", "must be at least 1", self.confirm_seeds)


class Engine:
    """Hands out jobs and takes in results.

    Parameters
    ----------
    space : Space
        What may be tried.
    info : TaskInfo
        The task.
    journal : Journal
        Starts with the study's header; everything after it is replayed.
    context : KeyContext
        What every stage key of the study shares.
    seed : int
        The study's seed, which is the search's replicate too.
    options : SearchOptions
        How to search.
    strategy : Strategy, optional
        Replaces the one that `options` names; it is not journaled, so whoever resumes gives it
        again.

    Raises
    ------
    ConfigError
        If a method needs more steps than the top rung has, or none reaches a target.
    """

    def __init__(
        self,
        space: Space,
        info: TaskInfo,
        journal: Journal,
        *,
        context: KeyContext,
        seed: int = 0,
        options: SearchOptions | None = None,
        strategy: Strategy | None = None,
    ) -> None:
        self.space, self.info, self.journal, self.seed = space, info, journal, seed
        self.options = options or SearchOptions()
        self.budget = parse_budget(self.options.budget)
        self.planner = Planner(context, info, space.rungs)
        self._propose = strategy or get_strategy(self.options.strategy)
        self.state = State([])
        self.view = View(
            space, seed, make_sampler(self.options.sampler), self.budget, self.planner, self.state
        )
        check_fits(space, self.view)
        for event in journal.events:
            self._apply(event)
        self._again = self.state.pending
        self._waited_at = -1

    def next(self) -> Job | Signal:
        """Return the next job, `WAIT` while only a result can tell more, or `DONE`.

        Jobs that were out when an earlier session ended come first, unchanged.
        """
        if self._again:
            return self._again.pop(0)
        if self.state.status in ("complete", "failed"):
            return DONE
        if self._waited_at == self.state.num_events:
            return WAIT
        answer = self._decide()
        self._waited_at = self.state.num_events if answer is WAIT else -1
        return answer

    def record(self, result: JobResult) -> None:
        """Take in a result.

        Raises
        ------
        AutoPruneError
            If the job is not out: every job is recorded once.
        StudyError
            If the journal cannot be written.
        """
        if result.job not in self.state.jobs or result.job in self.state.finished:
            raise AutoPruneError(f"job {result.job} is not out, so it cannot have a result")
        self._write({"event": "result", "result": result.to_json()})

    def stop(self) -> None:
        """Note that the study was interrupted; a resumed one goes on from here."""
        if self.state.status == "running":
            self._write({"event": "end", "status": "stopped"})

    def _write(self, event: Event) -> None:
        self._apply(self.journal.append(event))

    def _apply(self, event: Event) -> None:
        self.state.apply(event)
        if event["event"] == "job":
            self.planner.issued(self.state.jobs[event["job"]["number"]])
        elif event["event"] == "result":
            self.planner.finished(self.state.records[-1])

    def _decide(self) -> Job | Signal:
        if self._hopeless:
            return self._end("failed")
        if not self._search_is_over:
            job = self._propose(self.view)
            if job is not None:
                return self._issue(job)
            if not self.state.pending:
                _LOG.warning("the space holds nothing further to try; confirming what there is")
        if self.state.confirm is None:
            if any(job.purpose in SEARCH for job in self.state.pending):
                return self._ahead()
            if all(record.result.status == "failed" for record in self.state.searched):
                return self._end("failed")
            self._choose_finalists()
        return self._confirm()

    def _ahead(self) -> Job | Signal:
        """Issue a baseline while the search's last jobs run on other workers, or wait for them.

        Baselines do not depend on the front, and with every search job issued nothing that they
        say can steer it. How many an epoch or time budget pays for is known after the search
        only. With one job out a second worker waits, so two workers decide as they always did.
        """
        over = self.budget.unit == "jobs" and self._search_is_over
        several = len(self.state.pending) > 1
        return (self._first_of(self._controls) if over and several else None) or WAIT

    def _end(self, status: str) -> Signal:
        if self.state.pending:
            return WAIT
        self._write({"event": "end", "status": status})
        return DONE

    def _issue(self, job: Job) -> Job:
        self._write({"event": "job", "job": job.to_json()})
        return job

    @property
    def _hopeless(self) -> bool:
        """Whether the first five jobs all failed: a broken task, not a bad configuration."""
        first = self.state.records[:NUM_FAILURES]
        return len(first) == NUM_FAILURES and all(r.result.status == "failed" for r in first)

    @property
    def _search_is_over(self) -> bool:
        """Whether the search's part of the budget is spent or promised to jobs that are out."""
        if self.state.confirm is not None:
            return True
        if self.budget.unit == "jobs":
            spent = float(len(self.state.search_jobs))
        elif self.budget.unit == "epochs":
            spent = self.state.epochs_trained + self.planner.epochs_out
        else:
            spent = self.state.time_s
        return spent >= self.budget.for_search

    def _choose_finalists(self) -> None:
        """Write down who is confirmed, and against which baselines."""
        found = front(points(self.state.searched, self.space.objectives, self.info))
        wanted = confirm.groups(confirm.finalists(found), self._references, self._seeds)
        if self.budget.unit != "jobs":
            wanted = confirm.affordable(wanted, self._cost_once(), self._epochs_left)
        self._write(confirm.event(wanted, self.space.top))

    def _cost_once(self) -> confirm.Cost:
        """Return what a planned job adds in epochs, stages of jobs asked for before being free."""
        known = set(self.planner.computed)

        def cost(planned: confirm.Planned) -> float:
            stages = self.planner.stages(planned.job(0, self.space.top))
            fresh = {key: epochs for key, epochs in stages.items() if key not in known}
            known.update(fresh)
            return sum(fresh.values())

        return cost

    @property
    def _epochs_left(self) -> float:
        """Epochs that the rest of an epoch or time budget pays for, at the speed so far."""
        spent = self.state.epochs_trained
        if self.budget.unit == "epochs":
            return self.budget.amount - spent
        if not spent:  # all came from the store: there is no speed to go by, and nothing to save
            return math.inf
        return (self.budget.amount - self.state.time_s) * spent / max(self.state.time_s, 1e-9)

    @property
    def _seeds(self) -> tuple[int, ...]:
        return confirm.confirm_seeds(self.seed, self.options.confirm_seeds)

    @cached_property
    def _references(self) -> list[tuple[str, TrialConfig]]:
        """The baselines that are long enough for their methods."""
        return [
            (name, config)
            for name, config in confirm.baselines(self.space)
            if self.planner.lowest_rung(config) is not None
        ]

    @cached_property
    def _controls(self) -> list[confirm.Planned]:
        """The baselines' jobs, in order."""
        groups = confirm.groups([], self._references, self._seeds)
        return [planned for group in groups for planned in group]

    @cached_property
    def _queue(self) -> list[confirm.Planned]:
        """The jobs after the search, in order (read once `confirm` is journaled)."""
        return confirm.queue(self.state.confirm or {})

    def _confirm(self) -> Job | Signal:
        """Issue the next job of the confirmation that need not wait, until all are done."""
        return self._first_of(self._queue) or self._end("complete")

    def _first_of(self, wanted: list[confirm.Planned]) -> Job | None:
        """Issue the first of these jobs that was not issued yet and waits for no stage."""
        for planned in wanted:
            if (planned.config.trial_id, planned.seed, planned.tag) in self.state.confirming:
                continue
            job = planned.job(len(self.state.jobs), self.space.top)
            if not self.planner.blocked(job):
                if not self.state.test_read:
                    self._write({"event": "test"})
                return self._issue(job)
        return None


def check_fits(space: Space, view: View) -> None:
    """Refuse a space in which a method needs more steps than the top rung has.

    Raises
    ------
    ConfigError
        With the method; if an allocation has more knobs than the model has layers; or if no
        method reaches any target on this model and gains anything in the objectives.
    """
    _check_knobs(space, len(view.planner.info.layers))
    for name in view.usable:
        if view.planner.lowest_rung(space.plainest(name)) is None:
            raise ConfigError(
                f"{space.name}: method.{name}",
                "needs more training steps than the top rung has",
                f"{space.top} epochs",
                "raise fidelity.epochs, or lower train.batch_size",
            )
    if not view.usable:
        idle = [n for n, why in view.left_out.items() if why == no_gain(space.objectives)]
        if idle:
            rule = f"must name a method that gains something in {', '.join(space.objectives[1:])}"
        else:
            rule = "must name a method that reaches the targets on this model"
        reasons = [f"{', '.join(n)}: {why}" for why, n in by_reason(view.left_out).items()]
        raise ConfigError(
            f"{space.name}: method",
            rule,
            list(space.methods),
            ". ".join([*reasons, *([REMEDY] if idle else [])]),
        )


def by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each reason with the names it holds for."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        found.setdefault(reason, []).append(name)
    return found


def _check_knobs(space: Space, num_layers: int) -> None:
    """Refuse an allocation that is searched with more knobs than there are prunable layers."""
    for dimension in space.dimensions:
        *owner, number = dimension.path.split(".")
        if number.isdigit() and int(number) > num_layers:
            raise ConfigError(
                f"{space.name}: {'.'.join(owner)}.groups",
                f"must be at most {num_layers}, the model's prunable layers",
                sum(d.path.startswith(".".join(owner) + ".") for d in space.dimensions),
                "lower groups, or take the choice out of the space",
            )
