from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoprune.core.config import RecipeConfig, TrialConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import TaskInfo
from autoprune.methods.base import METHODS
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit, check_steps, make_plan
from autoprune.trial.run import run_job
from tests.methods.support import job


def test_a_trial_can_stop_after_a_round() -> None:
    whole = make_plan(job("imp", rounds=3), 3)
    base = job("imp", rounds=3)
    stopped = make_plan(replace(base, config=replace(base.config, stop_round=2)), 3)
    assert [s.parents[0] for s in stopped] == [s.parents[0] for s in whole[:2]]


def test_more_rounds_than_there_are_cannot_be_asked_for() -> None:
    base = job("imp", rounds=2)
    config = replace(base.config, stop_round=3)
    with pytest.raises(
        ConfigError, match=r"trial\.stop_round must be at most 2, its rounds; got 3"
    ):
        make_plan(replace(base, config=config), 3)


def test_more_knobs_than_the_model_has_layers_are_refused(digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    check_fit(job("imp", allocation="searched:0.5,0,-1.2").config, info)
    with pytest.raises(
        ConfigError, match=r"trial\.imp\.allocation must have at most as many knobs.*\(3\); got 4"
    ):
        check_fit(job("imp", allocation="searched:0,0,0,0").config, info)


def test_a_method_for_relus_is_refused_without_any(digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    assert info.has_relu
    without = replace(info, has_relu=False)
    check_fit(job("ap").config, info)
    check_fit(job("imp").config, without)
    with pytest.raises(TaskError, match=r"the model must have ReLU units for method 'ap'; use an"):
        check_fit(job("ap").config, without)


def test_a_method_s_own_refusal_sees_its_parameters(
    monkeypatch: pytest.MonkeyPatch, digits_context: WorkerContext
) -> None:
    seen: list[Any] = []

    def fits(info: TaskInfo, config: TrialConfig, params: Any) -> None:
        seen.append((info, config, params))
        if params.rounds > 2:
            raise TaskError("the model", "must be larger for method 'imp'", params.rounds)

    method = METHODS.get("imp")
    monkeypatch.setitem(METHODS._loaded, "imp", replace(method, fits=fits))
    info = digits_context.task.info
    config = job("imp", rounds=2).config
    check_fit(config, info)
    assert seen == [(info, config, method.params(rounds=2))]
    refused = run_job(job("imp", rounds=3, seed=77), digits_context)
    assert (refused.status, refused.stages) == ("failed", ())
    assert refused.error == "the model must be larger for method 'imp'; got 3"


def test_nothing_is_trained_before_a_refusal(digits_context: WorkerContext) -> None:
    found = run_job(job("imp", rounds=5, epochs=2, seed=77), digits_context)
    assert (found.status, found.stages, found.epochs_trained) == ("failed", (), 0)
    assert found.error.startswith("epochs must be at least 3 for method 'imp'")


def test_a_sparsity_that_a_method_does_not_reach_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError) as refusal:
        job("dropnet", sparsity=0.999)
    assert refusal.value.place == "trial.sparsity"
    assert refusal.value.rule == "must lie in [0, 0.995] for method 'dropnet'"
    assert refusal.value.value == 0.999
    assert "another method" in refusal.value.remedy
    assert job("dropnet", sparsity=0.995)


def test_the_least_number_of_steps(digits_context: WorkerContext) -> None:
    # 1,077 images in batches of 64 are 17 steps; 5 rounds ask for 50, which is 3 epochs.
    info = digits_context.task.info
    with pytest.raises(ConfigError, match=r"--epochs must be at least 3 for method 'imp', .* 50"):
        check_steps(job("imp", rounds=5, epochs=2), info, "--epochs")
    with pytest.raises(ConfigError, match=r"got 2; train for longer, or in smaller batches"):
        check_steps(job("imp", rounds=5, epochs=2), info)
    check_steps(job("imp", rounds=5, epochs=3), info)
    # The retraining recipe's batch size counts: batches of 8 are 135 steps.
    check_steps(job("imp", rounds=5, epochs=1, recipe=RecipeConfig(batch_size=8)), info)
