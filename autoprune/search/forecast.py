"""What a search will cost, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from autoprune.core.canonical import plain
from autoprune.core.records import TaskInfo
from autoprune.core.seeds import numpy_stream
from autoprune.search.budget import parse_budget
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.simulated import SimulatedExecutor, Simulation, VirtualClock
from autoprune.search.journal import VERSION, Journal
from autoprune.search.plans import Planner
from autoprune.search.targets import target, within
from autoprune.space import Space
from autoprune.space.objectives import KINDS
from autoprune.stages.base import KeyContext, Numerics

NUM_SAMPLES = 5
_CONTEXT = KeyContext("forecast", Numerics(), "forecast")
_PHASES = {"explore": "explore", "lift": "lift", "confirm": "confirm", "baseline": "baselines"}


@dataclass(frozen=True)
class Phase:
    """One phase of a search.

    Parameters
    ----------
    name : str
        ``explore``, ``lift``, ``confirm`` or ``baselines``.
    jobs : int
        Expected number of jobs.
    epochs : float
        Expected epochs to train, what the phases before it leave in the store taken off.
    wall_s : float or None
        Expected seconds on all workers; None while the speed is unknown.
    """

    name: str
    jobs: int
    epochs: float
    wall_s: float | None


def forecast(
    space: Space,
    info: TaskInfo,
    options: SearchOptions,
    *,
    workers: int = 1,
    seconds_per_epoch: float | None = None,
    seed: int = 0,
) -> list[Phase]:
    """Estimate jobs and epochs of each phase: the engine runs against a simulation.

    Proposals are drawn at random there, since what the surrogate would learn is not known yet;
    what comes out is the mix of rungs, methods and shared stages, not a promise.

    Parameters
    ----------
    space, info, options, seed
        As for `Engine`.
    workers : int
        Jobs at a time.
    seconds_per_epoch : float, optional
        Of one worker, when it is known; a time budget without it is forecast at one second.
    """
    clock = VirtualClock()
    journal = Journal(clock=clock)
    journal.append(
        {
            "event": "study",
            "version": VERSION,
            "name": space.name,
            "space": plain(dict(space.raw)),
            "space_sha256": space.sha256,
            "options": plain(options),
            "task": info.to_json(),
            "seed": seed,
        }
    )
    drawn = replace(options, sampler="random")
    engine = Engine(space, info, journal, context=_CONTEXT, seed=seed, options=drawn)
    simulation = Simulation(
        lambda config, epochs, seed: {"val_accuracy": 1.0 - 0.5 * config.sparsity / (1 + epochs)},
        Planner(_CONTEXT, info, space.rungs),
        seconds_per_epoch or 1.0,
    )
    SimulatedExecutor(simulation, workers, clock).run(engine)
    return [_phase(name, engine, workers, seconds_per_epoch) for name in _PHASES]


def _phase(purpose: str, engine: Engine, workers: int, seconds_per_epoch: float | None) -> Phase:
    mine = [r.result for r in engine.state.records if r.job.purpose == purpose]
    epochs = sum(result.epochs_trained for result in mine)
    wall_s = None if seconds_per_epoch is None else epochs * seconds_per_epoch / workers
    return Phase(_PHASES[purpose], len(mine), epochs, wall_s)


def axes(space: Space, info: TaskInfo) -> dict[str, Any]:
    """Say which kinds of pruning a search tries, what each buys, and what is left out and why.

    Returns
    -------
    dict
        ``kinds``: a row per kind with its ``kind``, number of ``methods``, what it ``buys`` in a
        dense runtime, and ``most``, the greatest share of the weights (of the multiply-adds, where
        the targets are shares of them) that goes on this model; ``left_out``: method to reason.
    """
    engine = Engine(space, info, Journal(), context=_CONTEXT)
    rows = []
    for kind, buys in KINDS.items():
        names = [n for n in engine.view.usable if space.kind(space.middle(n)) == kind]
        if names:
            most = max(space.reaches(space.middle(name), info)[1] for name in names)
            rows.append({"kind": kind, "methods": len(names), "most": most, "buys": buys})
    return {"kinds": rows, "left_out": {**space.left_out, **engine.view.left_out}}


def least_macs(space: Space, info: TaskInfo) -> float:
    """Return a share of the dense multiply-adds that no trial of a search gets below.

    Single weights save none in a dense runtime; of the other kinds, what is left when all goes
    that can, or, where the targets are shares of the multiply-adds, that may.
    """
    engine = Engine(space, info, Journal(), context=_CONTEXT)
    gone = [0.0]
    for kind in {space.kind(space.middle(name)) for name in engine.view.usable} - {"weights"}:
        most = info.reach.get(f"{kind}_macs", 1.0)
        gone.append(min(most, space.targets.high) if space.targets.of == "macs" else most)
    return 1.0 - max(gone)


def samples(
    space: Space, seed: int = 0, count: int = NUM_SAMPLES, info: TaskInfo | None = None
) -> list[dict[str, Any]]:
    """Return a few of the trials a search might run, as configurations: what a dry run shows.

    Parameters
    ----------
    info : TaskInfo, optional
        The task; only methods that work on it are shown then, within what they reach on it.
    """
    rng = numpy_stream(seed, "samples")
    methods = space.methods
    if info is not None:
        methods = Engine(space, info, Journal(), context=_CONTEXT).view.usable
    found = []
    for index in range(count):
        flat = space.random(rng, (methods[index % len(methods)],))
        sparsity = within(target(index, space.targets), space.targets, *space.reaches(flat, info))
        found.append(plain(space.config(flat, sparsity)))
    return found


def describe(budget: str) -> str:
    """Word a budget for people.

    Examples
    --------
    >>> describe("30m")
    '30 minutes, confirmation included'
    """
    parsed = parse_budget(budget)
    if parsed.unit == "jobs":
        return f"{parsed.amount:.0f} search jobs, confirmation and baselines on top"
    if parsed.unit == "epochs":
        return f"{parsed.amount:g} epochs, confirmation included"
    return f"{parsed.amount / 60:g} minutes, confirmation included"
