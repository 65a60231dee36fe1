from __future__ import annotations

from dataclasses import replace

import pytest

from autoprune.core.config import LRConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.records import Job
from autoprune.methods.base import complete
from autoprune.testing.methods import digits_context, digits_home  # noqa: F401
from autoprune.trial.context import WorkerContext
from autoprune.trial.run import run_job


@pytest.mark.parametrize("method", ["magnitude", "imp", "ap", "dropnet", "movement", "scratch_e"])
def test_a_dense_run_that_diverges_is_a_result(
    method: str,
    digits_context: WorkerContext,  # noqa: F811 - the fixture imported above
) -> None:
    config = TrialConfig(
        task=TaskConfig(),
        train=TrainConfig(epochs=3, lr=1e30),
        method=method,
        sparsity=0.8,
        lr=LRConfig(params={"peak": 0.1}),
    )
    result = run_job(Job(0, complete(config), 3, 0, "run"), digits_context)
    assert result.error == ""
    assert result.status == "diverged"
    assert result.epochs_trained in {0.0, 3.0}  # the (shared) dense run, and nothing on top of it
    again = run_job(replace(Job(1, complete(config), 3, 0, "run")), digits_context)
    assert again.epochs_trained == 0
