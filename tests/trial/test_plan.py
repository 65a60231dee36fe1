from __future__ import annotations

from dataclasses import replace

import pytest

from autoprune.core.config import RecipeConfig
from autoprune.core.errors import ConfigError
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_steps, make_plan
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


def test_the_least_number_of_steps(digits_context: WorkerContext) -> None:
    # 1,077 images in batches of 64 are 17 steps; 5 rounds ask for 50, which is 3 epochs.
    info = digits_context.task.info
    with pytest.raises(ConfigError, match=r"--epochs must be at least 3 for method 'imp', .* 50"):
        check_steps(job("imp", rounds=5, epochs=2), info, "--epochs")
    check_steps(job("imp", rounds=5, epochs=3), info)
    # The retraining recipe's batch size counts: batches of 8 are 135 steps.
    check_steps(job("imp", rounds=5, epochs=1, recipe=RecipeConfig(batch_size=8)), info)
