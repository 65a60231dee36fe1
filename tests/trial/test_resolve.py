from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from autoprune.stages.base import Stage
from autoprune.stages.state import TrialState
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.resolve import Resolver
from tests.methods.support import job, of_kind, plan

RUNS: list[str] = []


@dataclass(frozen=True)
class Step(Stage):
    """Adds one to its parents' sum, and notes that it ran."""

    kind: ClassVar[str] = "step"

    name: str
    is_cheap: bool = False
    breaks: bool = False

    @property
    def cheap(self) -> bool:
        return self.is_cheap

    @property
    def epochs(self) -> float:
        return 1.0

    def run(self, inputs: Any, context: Any) -> TrialState:
        RUNS.append(self.name)
        value = 1.0 + sum(float(state.weights["w"]) for state in inputs)
        log = {"status": "diverged" if self.breaks else "ok"}
        return TrialState({"w": torch.tensor(value)}, log=log)


@pytest.fixture
def context(tmp_path: Path) -> WorkerContext:
    RUNS.clear()
    return open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)


def diamond(**options: Any) -> Stage:
    first = Step("first", **options)
    return Step("last", parents=(Step("left", parents=(first,)), Step("right", parents=(first,))))


def test_parents_run_first_and_each_once(context: WorkerContext) -> None:
    resolver = Resolver(context)
    assert float(resolver.state(diamond()).weights["w"]) == 5.0  # 1; 2 and 2; 1 + 4
    assert RUNS == ["first", "left", "right", "last"]
    assert [record.reused for record in resolver.records.values()] == [False] * 4


def test_a_stored_stage_needs_none_of_its_parents(context: WorkerContext) -> None:
    Resolver(context).state(diamond())
    RUNS.clear()
    fresh = Resolver(WorkerContext(context.settings, context.task))
    assert float(fresh.state(diamond()).weights["w"]) == 5.0
    assert RUNS == []
    assert [(r.kind, r.reused, r.epochs) for r in fresh.records.values()] == [("step", True, 1.0)]


def test_a_lost_stage_is_computed_from_what_is_left(context: WorkerContext) -> None:
    last = diamond()
    Resolver(context).state(last)
    for stage in (last, last.parents[1]):
        context.store.path(stage.key(context.keys)).unlink()
    RUNS.clear()
    fresh = Resolver(WorkerContext(context.settings, context.task))
    fresh.state(last)
    assert RUNS == ["right", "last"]
    assert sum(r.epochs for r in fresh.records.values() if not r.reused) == 2.0


def test_cheap_stages_are_computed_again_and_the_rest_is_read(context: WorkerContext) -> None:
    last = Step("last", is_cheap=True, parents=(Step("first"),))
    Resolver(context).state(last)
    Resolver(context).state(last)
    assert RUNS == ["first", "last"]
    Resolver(WorkerContext(context.settings, context.task)).state(last)
    assert RUNS == ["first", "last", "last"]


def test_nothing_is_computed_behind_a_divergence(context: WorkerContext) -> None:
    last = diamond(breaks=True)
    resolver = Resolver(context)
    assert resolver.state(last).diverged
    assert RUNS == ["first"]
    assert [r.epochs for r in resolver.records.values()] == [1.0, 0.0, 0.0, 0.0]
    fresh = Resolver(WorkerContext(context.settings, context.task))
    assert fresh.state(last).diverged
    assert RUNS == ["first"]


def test_a_long_trial_behind_a_divergence_is_passed_through_quickly(
    context: WorkerContext,
) -> None:
    # Each round asks for its start twice; fifty rounds would be 2^50 look-ups without a memory.
    stage: Stage = Step("first", breaks=True)
    for number in range(50):
        stage = Step(str(number), parents=(stage, Step(f"score {number}", parents=(stage,))))
    assert Resolver(context).state(stage).diverged
    assert RUNS == ["first"]


def test_what_is_passed_over_is_on_record_until_it_is_asked_for(context: WorkerContext) -> None:
    last = diamond()
    left = last.parents[0]
    resolver = Resolver(context)
    resolver.pass_over(left)
    assert RUNS == []
    assert [(r.reused, r.epochs, r.wall_s) for r in resolver.records.values()] == [(True, 1.0, 0.0)]
    resolver.state(last)
    assert RUNS == ["first", "left", "right", "last"]
    assert [record.reused for record in resolver.records.values()] == [False] * 4
    resolver.pass_over(left)  # what was computed here stays so
    resolver.state(left)
    assert [record.reused for record in resolver.records.values()] == [False] * 4


def test_a_look_is_on_record_for_what_it_made_train(context: WorkerContext) -> None:
    last = diamond()
    first, left = last.parents[0].parents[0], last.parents[0]
    resolver = Resolver(context)
    resolver.state(first)
    resolver.pass_over(left)
    assert float(resolver.look_at(left).weights["w"]) == 2.0
    resolver.state(left)
    names = {stage.key(context.keys): name for stage, name in ((first, "first"), (left, "left"))}
    found = {names[key]: record.reused for key, record in resolver.records.items()}
    assert found == {"first": False, "left": False}
    fresh = Resolver(context)
    fresh.look_at(left)
    assert fresh.records == {}


def test_a_look_behind_a_divergence_costs_nothing(context: WorkerContext) -> None:
    last = diamond(breaks=True)
    resolver = Resolver(context)
    resolver.state(last.parents[0])
    kept = dict(resolver.records)
    assert resolver.look_at(last).diverged
    assert (RUNS, resolver.records) == (["first"], kept)


def test_trials_share_the_dense_run(context: WorkerContext) -> None:
    Resolver(context).state(plan(job("magnitude"))[-1])
    for method in ("random", "imp", "ap", "movement", "dropnet"):
        resolver = Resolver(context)
        resolver.state(of_kind(plan(job(method))[-1], "train")[0])
        (record,) = (r for r in resolver.records.values() if r.kind == "train")
        assert record.reused, method
