"""Real plans on digits, and hooks that look at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.records import Job
from autoprune.methods.base import complete
from autoprune.stages.base import Stage, closure
from autoprune.stages.state import TrialState
from autoprune.testing.methods import TASK, TOP
from autoprune.training.events import Event, LoopState
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import make_plan
from autoprune.trial.resolve import Resolver

TOTAL = 64 * 300 + 300 * 100 + 100 * 10  # prunable weights of the mlp on digits: 50,200


def job(
    method: str,
    *,
    sparsity: float = 0.8,
    epochs: int = TOP,
    dense_epochs: int = 3,
    seed: int = 0,
    lr: str = "linear",
    lr_params: dict[str, Any] | None = None,
    recipe: RecipeConfig | None = None,
    task: TaskConfig = TASK,
    **params: Any,
) -> Job:
    config = TrialConfig(
        task=task,
        train=TrainConfig(epochs=dense_epochs),
        method=method,
        params=params,
        sparsity=sparsity,
        lr=LRConfig(name=lr, params=lr_params or {}),
        recipe=recipe or RecipeConfig(),
    )
    return Job(0, complete(config), epochs, seed, "run")


def plan(job: Job) -> tuple[Stage, ...]:
    return make_plan(job, TOP)


def of_kind(stage: Stage, kind: str) -> list[Stage]:
    return [found for found in closure(stage) if found.kind == kind]


def labelled(stage: Stage, label: str) -> list[Any]:
    return [s for s in of_kind(stage, "train") if getattr(s, "label", "").startswith(label)]


def state(stage: Stage, context: WorkerContext) -> TrialState:
    return Resolver(context).state(stage)


def kept(state: TrialState) -> int:
    return sum(int(mask.sum()) for mask in state.masks.values())


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def masked(weights: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: w * masks[n] if n in masks else w for n, w in weights.items()}


class WeightsAt:
    """Keeps the weights as they are after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_STEP and loop.step == self.step:
            loop.extra |= {f"at/{n}": p.detach().clone() for n, p in loop.parameters.items()}


class CountKept:
    """Counts alive weights, and those that came back, after every step."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.revived = 0
        self.before: dict[str, Tensor] = {}

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_STEP:
            self.kept.append(sum(int(m.sum()) for m in loop.masks.values()))
            for name, mask in loop.masks.items():
                if name in self.before:
                    self.revived += int((mask & ~self.before[name]).sum())
                self.before[name] = mask.clone()
        elif event is Event.FIT_END:
            loop.extra["kept"] = torch.tensor(self.kept)
            loop.extra["revived"] = torch.tensor(self.revived)


class KeepInputs:
    """Keeps the first batch as the model sees it."""

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_BACKWARD and loop.step == 0:
            loop.extra["inputs"] = loop.inputs.clone()
