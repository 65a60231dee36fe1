"""Explore low, lift high.

*Explore* jobs run at the lowest rung that is valid for their method, first at random, then where
the surrogate's lower confidence bound is least; they take about a third of the retraining epochs.
*Lift* jobs run at the top rung, with the configuration predicted best there: in turns on a fresh
pass of the target sequence and in the widest gap of what was lifted so far.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from autoprune.core.records import Job, Purpose
from autoprune.search.sampler import anchors, plainest, uniform
from autoprune.search.strategies.base import View, Wish, share_of_epochs
from autoprune.search.targets import target, widest_gap
from autoprune.space import Targets

EXPLORE_SHARE = 1 / 3
EXPLORE_FACTOR = 1.0
LIFT_FACTOR = 0.3
RANDOM_PER_METHOD = 2
UNITS_SHARE = 1 / 3


@dataclass(frozen=True)
class Contextual:
    """The strategy; the defaults are what `--strategy contextual` runs.

    Parameters
    ----------
    explore_share : float
        Share of the retraining epochs that exploring takes, in (0, 1).
    sequence : Callable
        A position and the space's targets to the sparsity to ask for.
    fill_gaps : bool
        Let every second lift go into the widest gap; else all follow the sequence.
    """

    explore_share: float = EXPLORE_SHARE
    sequence: Callable[[int, Targets], float] = target
    fill_gaps: bool = True

    def __call__(self, view: View) -> Job | None:
        """Return the next job, or nothing while every candidate waits for a stage in flight."""
        lift, explore = partial(self._lift, view), partial(self._explore, view)
        steps = (lift, explore) if self.lift_is_due(view) else (explore, lift)
        return steps[0]() or steps[1]()

    def lift_is_due(self, view: View) -> bool:
        """Whether exploring has had its share of the epochs."""
        explored, lifted = view.issued("explore"), view.issued("lift")
        if len(explored) < num_random(view, each=1) or not view.seen:
            return False
        return share_of_epochs(explored, lifted) > self.explore_share

    def _lift(self, view: View) -> Job | None:
        """Lift the best prediction; the first lift of each named target is a plain configuration.

        A forest that never saw the top rung is easily misled there. Plain configurations are hard
        to beat (one-shot magnitude with a middling peak is), and what is known of them at the top
        rung is what the later lifts start from.
        """
        if not view.seen:
            return None
        lifted = len(view.issued("lift"))
        plain = lifted < len(view.space.targets.always)
        wish = Wish("lift", self._wanted(view, lifted), view.usable, top=True, factor=LIFT_FACTOR)
        return view.job(replace(wish, sampler=anchors) if plain else wish)

    def _wanted(self, view: View, lifted: int) -> float:
        """Return the sparsity of the next lift."""
        since = lifted - len(view.space.targets.always)
        if not self.fill_gaps or since < 0:
            return self.sequence(lifted, view.space.targets)
        if since % 2 == 0 and (found := gap_to_fill(view)) is not None:
            return found
        return self.sequence(lifted - (since + 1) // 2, view.space.targets)

    def _explore(self, view: View) -> Job | None:
        """Explore the stratum that lags most; every second time, its method that had the fewest."""
        explored = view.issued("explore")
        wanted = self.sequence(len(explored), view.space.targets)
        if len(explored) < num_random(view):
            return random_job(view, "explore", wanted, top=False)
        counts = Counter(job.config.method for job in explored)
        for methods in strata_by_need(view, explored):
            rarest = min(methods, key=lambda name: counts[name])
            narrowed = (rarest,) if len(explored) % 2 else methods
            if job := view.job(Wish("explore", wanted, narrowed, factor=EXPLORE_FACTOR)):
                return job
        return None


def gap_to_fill(view: View) -> float | None:
    """Return the sparsity in the widest gap that the finished lifts leave, if there is one."""
    chance = 1.0 - 1.0 / max(2, view.planner.info.num_classes)
    lifted = [
        (o.log_density, min(1.0, math.exp(o.loss) / chance))
        for o in view.seen
        if o.epochs == view.space.top
    ]
    out = [j.config.sparsity for j in view.state.pending if j.purpose == "lift"]
    return widest_gap(lifted, view.space.targets, out)


def num_random(view: View, each: int = RANDOM_PER_METHOD) -> int:
    """Return how many jobs are random at first, at most a third of the budget.

    Parameters
    ----------
    each : int
        Per method.
    """
    wanted = each * len(view.usable)
    if view.budget.unit != "jobs":
        return wanted
    return min(wanted, math.ceil(view.budget.amount / 3))


def random_job(view: View, purpose: Purpose, target: float, *, top: bool) -> Job | None:
    """Return a job of the method that had the fewest, if one of them may start.

    A method's first job is its plainest proposal, the next ones are random.
    """
    counts = Counter(job.config.method for job in view.issued(purpose))
    for method in sorted(view.methods, key=lambda name: counts[name]):
        sampler = uniform if counts[method] else plainest
        if job := view.job(Wish(purpose, target, (method,), top, sampler=sampler)):
            return job
    return None


def strata_by_need(view: View, explored: list[Job]) -> list[tuple[str, ...]]:
    """Return the methods of each stratum, those first that lag farthest behind their share."""
    counts = Counter(job.config.method for job in explored)
    shares = stratum_shares(view)

    def lag(key: tuple[str, str]) -> float:
        done = sum(counts[name] for name in view.strata[key])
        return shares[key] * (len(explored) + 1) - done

    return [view.strata[key] for key in sorted(view.strata, key=lag, reverse=True)]


def stratum_shares(view: View) -> dict[tuple[str, str], float]:
    """Return each stratum's share of exploring: by number of methods, to units at least a third.

    Units are few among many methods that remove single weights; where those are left out, low
    rank would have two thirds to itself if a third were all that units got.
    """
    sizes = {key: len(names) for key, names in view.strata.items()}
    units = sum(size for (kind, _), size in sizes.items() if kind == "units")
    others = sum(sizes.values()) - units
    if not units or not others:
        return {key: size / (units + others) for key, size in sizes.items()}
    share = max(UNITS_SHARE, units / (units + others))
    return {
        (kind, start): share * size / units if kind == "units" else (1 - share) * size / others
        for (kind, start), size in sizes.items()
    }
