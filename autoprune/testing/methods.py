"""What every pruning method must hold, as a suite a plug-in can inherit.

Subclass `MethodContract` in a test module and set `method` to a registered name; give `params`
where the defaults do not suit digits and the small mlp. Every test runs the real loop on
scikit-learn's digits.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from autoprune.core.config import LRConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job, JobResult
from autoprune.methods.base import METHODS, Method, complete
from autoprune.stages.base import closure
from autoprune.stages.state import TrialState
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.plan import check_steps, make_plan
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job

TASK = TaskConfig(data="digits", model="mlp")
TOP = 3


@pytest.fixture(scope="session")
def digits_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home that all contract tests share, so that the dense run is trained once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def digits_context(digits_home: Path) -> Iterator[WorkerContext]:
    """Open a worker on digits and the small mlp."""
    threads = torch.get_num_threads()
    yield open_context(TASK, home=digits_home, top_epochs=TOP, threads=1)
    torch.set_num_threads(threads)


class MethodContract:
    """The contract; `method` is the registry name under test.

    A method that refuses the mlp sets `task`, with the hashes of `autoprune.data.taskfile.identify`
    where that is a file, and overrides the fixture `digits_context` with a worker on it.
    """

    method: ClassVar[str]
    task: ClassVar[TaskConfig] = TASK
    params: ClassVar[dict[str, Any]] = {}
    sparsity: ClassVar[float] = 0.8

    @property
    def value(self) -> Method:
        """The method itself."""
        return METHODS.get(self.method)

    def job(self, **changes: Any) -> Job:
        """Return a short job of the method."""
        config = TrialConfig(
            task=self.task,
            train=TrainConfig(epochs=3),
            method=self.method,
            params=self.params,
            sparsity=self.sparsity,
            lr=LRConfig(params={"peak": 0.1}),
        )
        return replace(Job(0, complete(config), TOP, 0, "run"), **changes)

    @pytest.fixture
    def result(self, digits_context: WorkerContext) -> JobResult:
        """Run the job in the shared home (a second call is served from the store)."""
        return run_job(self.job(), digits_context)

    @pytest.fixture
    def state(self, digits_context: WorkerContext) -> TrialState:
        """Return the job's final state."""
        return Resolver(digits_context).state(make_plan(self.job(), TOP)[-1])

    def test_runs_to_a_result(self, result: JobResult) -> None:
        assert result.error == ""
        assert result.status == "ok"
        assert 0.3 < result.metrics["val_accuracy"] <= 1.0
        assert result.metrics["dense_val_accuracy"] > 0.8 or self.value.start == "scratch"

    def test_reaches_its_sparsity(self, result: JobResult, digits_context: WorkerContext) -> None:
        total = digits_context.task.info.num_prunable
        kept = round((1 - result.metrics["sparsity"]) * total)
        if self.value.kind == "weights":
            assert kept == total - round(self.sparsity * total)
        else:  # the nearest whole unit or rank
            assert abs(kept / total - (1 - self.sparsity)) < 0.02

    def test_masks_fit_the_weights(self, state: TrialState, digits_context: WorkerContext) -> None:
        if self.value.kind == "low_rank":
            assert state.structure.ranks
            return
        names = {layer.name for layer in digits_context.task.info.layers}
        assert names <= set(state.masks)
        for name, mask in state.masks.items():
            assert mask.dtype is torch.bool
            assert mask.shape == state.weights[name].shape

    def test_pruned_weights_are_exactly_zero(self, state: TrialState) -> None:
        for name, mask in state.masks.items():
            assert torch.count_nonzero(state.weights[name][~mask]) == 0

    def test_masks_only_shrink(self, digits_context: WorkerContext) -> None:
        if self.value.regrows:
            return
        resolver = Resolver(digits_context)
        states = [resolver.state(stage) for stage in make_plan(self.job(), TOP)]
        for before, after in pairwise(states):
            for name, mask in after.masks.items():
                assert not bool((mask & ~before.masks[name]).any())

    def test_same_seed_same_bits(self, state: TrialState, tmp_path: Path) -> None:
        other = open_context(self.task, home=tmp_path, top_epochs=TOP, threads=1)
        again = Resolver(other).state(make_plan(self.job(), TOP)[-1])
        _assert_same(state, again)

    def test_another_seed_other_weights(
        self, state: TrialState, digits_context: WorkerContext
    ) -> None:
        plan = make_plan(self.job(seed=1), TOP)
        other = Resolver(digits_context).state(plan[-1])
        assert any(not torch.equal(w, other.weights[n]) for n, w in state.weights.items())

    def test_half_done_and_resumed_equals_whole(self, state: TrialState, tmp_path: Path) -> None:
        plan = make_plan(self.job(), TOP)
        stages = closure(plan[-1])
        for stage in stages[: len(stages) // 2]:
            Resolver(open_context(self.task, home=tmp_path, top_epochs=TOP, threads=1)).state(stage)
        fresh = open_context(self.task, home=tmp_path, top_epochs=TOP, threads=1)
        _assert_same(state, Resolver(fresh).state(plan[-1]))

    def test_a_second_run_costs_nothing(
        self, result: JobResult, digits_context: WorkerContext
    ) -> None:
        again = run_job(self.job(), digits_context)
        assert again.epochs_trained == 0
        assert again.epochs_reused >= TOP
        assert again.metrics == result.metrics
        assert again.mask_sha256 == result.mask_sha256

    def test_stop_round_is_that_round(
        self, result: JobResult, digits_context: WorkerContext
    ) -> None:
        for record in result.rounds:
            config = replace(self.job().config, stop_round=record.stop_round)
            found = run_job(self.job(config=config), digits_context)
            assert found.epochs_trained == 0
            assert found.metrics == record.metrics

    def test_sparsity_zero_keeps_everything(self, digits_context: WorkerContext) -> None:
        if self.value.reaches(self.params_object())[0] > 0.0:
            return
        config = replace(self.job().config, sparsity=0.0)
        try:
            config = complete(config)
        except ConfigError:
            return  # a combination the method refuses by name
        found = run_job(self.job(config=config), digits_context)
        assert found.metrics["sparsity"] == 0.0

    def test_global_random_state_is_untouched(self, digits_context: WorkerContext) -> None:
        before = torch.random.get_rng_state()
        run_job(self.job(seed=2), digits_context)
        assert torch.equal(before, torch.random.get_rng_state())

    def test_travels(self) -> None:
        job = self.job()
        assert Job.from_json(job.to_json()) == job
        assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301 - our own bytes
        assert complete(job.config) == job.config

    def test_too_few_steps_are_refused(self, digits_context: WorkerContext) -> None:
        least = self.value.min_steps(self.params_object())
        info = replace(digits_context.task.info, num_train=1)
        if least > TOP:
            with pytest.raises(ConfigError, match=self.method):
                check_steps(self.job(), info)

    def params_object(self) -> Any:
        """Return the method's parameters, parsed."""
        return self.value.params(**self.job().config.params)


def _assert_same(one: TrialState, other: TrialState) -> None:
    assert one.structure == other.structure
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name
    for name, mask in one.masks.items():
        assert torch.equal(mask, other.masks[name]), name
