"""Studies on a virtual clock, on the shipped tasks, with or without their data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

from torch import nn

from autoprune.core.config import TrialConfig
from autoprune.core.errors import DataError
from autoprune.core.records import TaskInfo
from autoprune.core.seeds import global_stream
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.base import RunJob
from autoprune.search.executors.simulated import SimulatedExecutor, Simulation, VirtualClock
from autoprune.search.journal import Journal
from autoprune.search.plans import Planner
from autoprune.search.study import header
from autoprune.space import Space, load_space
from autoprune.stages.base import KeyContext, Numerics
from autoprune.trial.describe import describe_task

SPACES = ("digits", "fashion_mnist", "cifar10")
KEYS = KeyContext("data", Numerics(), "sources")
SIZES = {
    "fashion_mnist": (54_000, 6_000, 10_000, (1, 28, 28)),
    "cifar10": (9_000, 1_000, 10_000, (3, 32, 32)),
}
"""Training, validation and test images of the shipped spaces, and an image's shape."""


@cache
def describe(name: str) -> tuple[TaskInfo, str]:
    """Return a shipped space's task, and whether its data or its model alone was looked at."""
    try:
        return describe_task(load_space(name).task), "data"
    except DataError:
        return _without_data(name), "model"


def _without_data(name: str) -> TaskInfo:
    from autoprune.models.build import build_model
    from autoprune.training.inspection import describe_model
    from autoprune.training.probe import full_info

    task, (train, val, test, shape) = load_space(name).task, SIZES[name]

    def build(seed: int) -> nn.Module:
        with global_stream(seed, "init"):
            return build_model(task.model, 10, shape, task.width)

    sizes = {"train": train, "val": val, "test": test}
    splits = {part: SimpleNamespace(size=size) for part, size in sizes.items()}
    data: Any = SimpleNamespace(
        num_classes=10, input_shape=shape, fingerprint="data", warnings=(), **splits
    )
    whole: Any = SimpleNamespace(build_model=build, info=describe_model(build(0), data, name))
    return full_info(whole)


def response(config: TrialConfig, epochs: int, seed: int) -> dict[str, float]:
    """Answer as a task would: the sparser the worse, the longer the better."""
    error = 0.1 + 0.1 * -math.log10(1.0 - config.sparsity) + 0.05 / epochs
    return {"val_accuracy": 1.0 - min(0.9, error), "val_loss": error}


@dataclass
class VirtualStudy:
    """A study whose journal stays in memory and whose jobs train nothing."""

    space: Space
    info: TaskInfo
    options: SearchOptions
    seed: int = 0
    clock: VirtualClock = field(default_factory=VirtualClock)

    def engine(self) -> Engine:
        """Return an engine on a new journal."""
        journal = Journal(clock=self.clock)
        journal.append(header(self.space.name, self.space, self.info, self.seed, self.options))
        return Engine(
            self.space, self.info, journal, context=KEYS, seed=self.seed, options=self.options
        )

    def simulation(self) -> Simulation:
        """Return what answers the jobs."""
        return Simulation(response, Planner(KEYS, self.info, self.space.rungs))

    def run(self, workers: int, run_job: RunJob | None = None) -> Engine:
        """Run the study to its end."""
        engine = self.engine()
        SimulatedExecutor(run_job or self.simulation(), workers, self.clock).run(engine)
        return engine
