"""A study without training: an analytic response surface behind real plans and stage keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from autoprune.core.canonical import plain
from autoprune.core.config import TrialConfig
from autoprune.core.records import Job, JobResult, LayerInfo, TaskInfo
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.simulated import Simulation, VirtualClock
from autoprune.search.journal import VERSION, Event, Journal
from autoprune.search.plans import Planner
from autoprune.search.strategies import Strategy
from autoprune.space import Space, parse_space
from autoprune.stages.base import KeyContext, Numerics

INFO = TaskInfo(
    num_train=6400,
    num_val=1000,
    num_test=1000,
    num_classes=10,
    input_shape=(64,),
    layers=(LayerInfo("a", (100, 64), "linear", 6400), LayerInfo("b", (10, 100), "linear", 1000)),
    params=7510,
    macs=7400,
    fingerprint="data",
)
CONTEXT = KeyContext("data", Numerics(), "sources")

SMALL: dict[str, Any] = {
    "name": "small",
    "task": {"data": "digits", "model": "mlp"},
    "train": {"epochs": 4},
    "method": {
        "magnitude": {"allocation": ["global", "erk", "uniform"]},
        "imp": {"rounds": [2, 3]},
        "snip": None,
        "dropnet": {"rounds": 1},
    },
    "lr": {"linear": {"peak": {"low": 0.01, "high": 0.5, "log": True}}},
}


def small_space(**changes: Any) -> Space:
    return parse_space({**SMALL, **changes})


def best_peak(log_density: float) -> float:
    """The sparser, the larger the best learning rate."""
    return float(10 ** (-1.4 - 0.5 * log_density))


def surface(config: TrialConfig, epochs: int, seed: int) -> dict[str, float]:
    """Error grows with sparsity, with the distance from the best peak, and with haste."""
    log_density = math.log10(1.0 - config.sparsity)
    peak = float(config.lr.params.get("peak", 0.1))
    method = {"imp": 0.0, "magnitude": 0.1, "snip": 0.3, "dropnet": 0.5}.get(config.method, 0.2)
    costs = {"erk": 0.0, "global": 0.1, "uniform": 0.2}
    allocation = costs.get(str(config.params.get("allocation")), 0.0)
    distance = math.log10(peak / best_peak(log_density))
    log_error = -3.0 + 0.5 * log_density**2 + 0.6 * distance**2 + method + allocation
    log_error += 0.3 * math.log(9 / epochs) + 0.01 * math.sin(seed)
    return {"val_accuracy": 1.0 - min(0.9, math.exp(log_error)), "val_loss": 1.0}


def header(space: Space, options: SearchOptions, seed: int = 0) -> Event:
    return {
        "event": "study",
        "version": VERSION,
        "name": space.name,
        "space": plain(dict(space.raw)),
        "space_sha256": space.sha256,
        "options": plain(options),
        "task": INFO.to_json(),
        "seed": seed,
    }


def start(
    space: Space,
    options: SearchOptions,
    *,
    seed: int = 0,
    clock: VirtualClock | None = None,
    info: TaskInfo = INFO,
    strategy: Strategy | None = None,
) -> Engine:
    journal = Journal(clock=clock or VirtualClock())
    journal.append(header(space, options, seed))
    return Engine(
        space, info, journal, context=CONTEXT, seed=seed, options=options, strategy=strategy
    )


def resume(space: Space, options: SearchOptions, events: list[Event], seed: int = 0) -> Engine:
    journal = Journal(clock=VirtualClock())
    journal.events.extend(events)
    return Engine(space, INFO, journal, context=CONTEXT, seed=seed, options=options)


def simulation(
    space: Space, response: Callable[[TrialConfig, int, int], dict[str, float]] = surface
) -> Simulation:
    return Simulation(response, Planner(CONTEXT, INFO, space.rungs))


def failing(job: Job) -> JobResult:
    return JobResult(job.number, job.trial, "failed", error=f"boom in job {job.number}")


def rows(seed: int, count: int) -> list[tuple[float, float]]:
    return [tuple(row) for row in np.random.default_rng(seed).random((count, 2)) * (1, -1)]
