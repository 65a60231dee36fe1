"""What a strategy sees of a study, and how it turns a wish into a job that may be issued."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from autoprune.core.config import TrialConfig
from autoprune.core.errors import BadInput
from autoprune.core.records import Job, Purpose
from autoprune.core.seeds import numpy_stream
from autoprune.methods.base import METHODS
from autoprune.search import targets
from autoprune.search.budget import Budget
from autoprune.search.plans import Planner
from autoprune.search.sampler import Observation, Question, Sampler, log_error
from autoprune.search.state import Record, State
from autoprune.space import Space
from autoprune.space.dimensions import Flat
from autoprune.space.objectives import gains, no_gain

NUM_LOOKED_AT = 400
NUM_PLANNED = 40
FAILED_LOSS = 0.0  # log of error 1


@dataclass(frozen=True)
class Wish:
    """What a strategy would like to run next.

    Parameters
    ----------
    purpose : str
        ``explore`` or ``lift``.
    target : float
        Sparsity; moved into what a method reaches when no proposal reaches it.
    methods : tuple of str
        Candidates.
    top : bool
        At the top rung; else at the lowest that is valid for the method.
    factor : float
        See `Question.factor`.
    sampler : Sampler or None
        Replaces the study's.
    """

    purpose: Purpose
    target: float
    methods: tuple[str, ...]
    top: bool = False
    factor: float = 1.0
    sampler: Sampler | None = None


class View:
    """A study as a strategy sees it: a pure function of the journal, the seed and the space.

    Parameters
    ----------
    space, seed, sampler, budget, planner, state
        The parts of the engine; none is edited here.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        sampler: Sampler,
        budget: Budget,
        planner: Planner,
        state: State,
    ) -> None:
        self.space, self.seed, self.sampler, self.budget = space, seed, sampler, budget
        self.planner, self.state = planner, state
        self._seen: list[Observation] = []
        self._taken = 0

    @property
    def seen(self) -> list[Observation]:
        """Every finished search job as the samplers see it, in the order they finished."""
        records = self.state.records
        for record in records[self._taken :]:
            if record.job.purpose in ("explore", "lift"):
                self._seen.append(self._observe(record))
        self._taken = len(records)
        return self._seen

    def issued(self, purpose: Purpose | None = None) -> list[Job]:
        """Return the search jobs issued so far, for one purpose or both."""
        return [j for j in self.state.search_jobs if purpose is None or j.purpose == purpose]

    def target(self, index: int) -> float:
        """Return a sparsity of the target sequence."""
        return targets.target(index, self.space.targets)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The usable methods, the strata taking turns."""
        queues = [list(names) for names in self.strata.values()]
        longest = max(map(len, queues))
        return tuple(q[i] for i in range(longest) for q in queues if i < len(q))

    @cached_property
    def usable(self) -> tuple[str, ...]:
        """The space's methods that work on this model and reach any of the targets."""
        return tuple(name for name in self.space.methods if name not in self.left_out)

    @cached_property
    def left_out(self) -> dict[str, str]:
        """The space's methods that are not usable, each with the reason."""
        reasons = {name: self.why_not(name) for name in self.space.methods}
        return {name: reason for name, reason in reasons.items() if reason}

    @cached_property
    def strata(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Usable methods by kind and start."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for name in self.usable:
            method = METHODS.get(name)
            key = (self.space.kind(self.space.middle(name)), method.start)
            found[key] = (*found.get(key, ()), name)
        return found

    def job(self, wish: Wish) -> Job | None:
        """Return the best proposal for a wish that may be issued now, if there is one.

        A proposal is passed over when its method refuses the target, needs more steps than the
        top rung has, was issued before, or waits for a stage that another job is computing.
        """
        rng = numpy_stream(self.seed, "proposal", len(self.state.jobs), wish.purpose)
        question = Question(
            self.space,
            self.seen,
            math.log10(1.0 - wish.target),
            wish.methods,
            wish.factor,
            rng,
            self.seed,
            wish.top,
        )
        sampler = wish.sampler or self.sampler
        flats = list(islice(sampler(question), NUM_LOOKED_AT))
        return self._first(flats, wish, self._reaching) or self._first(flats, wish, self._moved)

    def again(self, config: TrialConfig, epochs: int, purpose: Purpose) -> Job | None:
        """Return a trial at another rung, unless it was issued there or has to wait."""
        job = Job(len(self.state.jobs), config, epochs, self.seed, purpose)
        known = (job.trial, job.epochs) in self.state.tried
        return None if known or self.planner.blocked(job) else job

    def _first(
        self, flats: Sequence[Flat], wish: Wish, aim: Callable[[Flat, float], float | None]
    ) -> Job | None:
        planned = 0
        for flat in flats:
            sparsity = aim(flat, wish.target)
            config = None if sparsity is None else self._config(flat, sparsity)
            epochs = None if config is None else self.planner.lowest_rung(config)
            if config is None or epochs is None:
                continue
            rung = self.space.top if wish.top else epochs
            if job := self.again(config, rung, wish.purpose):
                return job
            planned += 1
            if planned == NUM_PLANNED:
                break
        return None

    def _span(self, flat: Flat) -> tuple[float, float] | None:
        """Return the targets a proposal reaches: its method's limits, the model's, the range's.

        There are none where what it removes gains nothing in the objectives.
        """
        if not gains(self.space.kind(flat), self.space.objectives):
            return None
        low, high = self.space.reaches(flat, self.planner.info)
        low, high = max(low, self.space.targets.low), min(high, self.space.targets.high)
        return (low, high) if low <= high else None

    def why_not(self, name: str) -> str:
        """Say why one of the space's methods is not usable; empty when it is.

        It has to gain something in the objectives, and to reach a target on the model.

        One of its schedules, and one value of each parameter, suffices: other schedules may read a
        dense run that the task has not, other values be too large for the model.
        """
        flat, objectives = self.space.middle(name), self.space.objectives
        if not any(gains(self.space.kind(f), objectives) for f in (flat, *self._plain(name))):
            return no_gain(objectives)
        span = next(filter(None, map(self._span, (flat, *self._plain(name)))), None)
        if span is None:
            most = self.space.reaches(flat, self.planner.info)[1]
            return (
                f"it reaches none of the targets on this model, at most {most:.4g}; lower "
                "targets.low, or add another method"
            )
        reasons = []
        for flat in self._plain(name):
            try:
                self._build(flat, span[0])
            except BadInput as error:
                reasons.append(str(error))
            else:
                return ""
        return reasons[0]

    def _plain(self, name: str) -> Iterator[Flat]:
        """Return a method's plainest proposal with each schedule, then with each other value."""
        for schedule in self.space.schedules[name]:
            yield self.space.middle(name, schedule)
        flat = self.space.middle(name)
        for dimension in self.space.dimensions:
            if dimension.when == ("method", name):
                yield from ({**flat, dimension.path: value} for value in dimension.grid())

    def _reaching(self, flat: Flat, target: float) -> float | None:
        span = self._span(flat)
        return target if span and span[0] <= target <= span[1] else None

    def _moved(self, flat: Flat, target: float) -> float | None:
        span = self._span(flat)
        if span is None or span[0] <= target <= span[1]:
            return None
        return targets.within(target, self.space.targets, *span)

    def _config(self, flat: Flat, sparsity: float) -> TrialConfig | None:
        """Build a trial, or nothing where the method refuses this combination."""
        try:
            return self._build(flat, sparsity)
        except BadInput:
            return None  # not a fault: constraints between parameters carve up the space

    def _build(self, flat: Flat, sparsity: float) -> TrialConfig:
        """Build a trial that has a plan on this model."""
        config = self.space.config(flat, sparsity)
        self.planner.stages(Job(0, config, self.space.top, self.seed, "explore"))
        return config

    def _observe(self, record: Record) -> Observation:
        config, metrics = record.job.config, record.result.metrics
        loss = FAILED_LOSS
        if record.result.status != "failed":
            num_val = self.planner.info.num_val
            loss = log_error(metrics["val_accuracy"], metrics["val_loss"], num_val)
        flat = self.space.flatten(config)
        row = tuple(self.space.encode(flat))
        return Observation(flat, row, math.log10(1.0 - config.sparsity), record.job.epochs, loss)


Strategy = Callable[[View], Job | None]


def share_of_epochs(jobs: Sequence[Job], others: Sequence[Job]) -> float:
    """Return the share of retraining epochs that `jobs` took, 0 when none were spent."""
    mine, theirs = (float(np.sum([j.epochs for j in group])) for group in (jobs, others))
    return mine / (mine + theirs) if mine + theirs else 0.0
