"""What a job says its training costs, against numbers worked by hand."""

from __future__ import annotations

import pytest

from autoprune.core.config import RecipeConfig
from autoprune.trial.context import WorkerContext
from autoprune.trial.run import run_job
from tests.methods.support import job

# The mlp has one multiply-add an image and weight: 50,200. An epoch passes 1,077 images, the
# ragged last batch included. Where f of 50,200 are kept, an epoch costs 3 * 1,077 * f.
IMAGES, DENSE = 1_077, 50_200


def epochs(count: float, kept: int) -> float:
    return count * IMAGES * 3 * kept


def cost(context: WorkerContext, method: str, **given: object) -> float:
    found = run_job(job(method, **given), context)  # type: ignore[arg-type] # forwarded
    assert found.error == ""
    return found.metrics["log/train_macs"]


def test_a_dense_run_and_one_masked_retraining(digits_context: WorkerContext) -> None:
    # S = .8 keeps 10,040: 3 dense epochs, 3 sparse ones.
    found = cost(digits_context, "magnitude")
    assert found == pytest.approx(epochs(3, DENSE) + epochs(3, 10_040), rel=1e-6)


def test_rounds_cost_what_each_keeps(digits_context: WorkerContext) -> None:
    # S = .75 in two rounds: 25,100 and 12,550 kept, 1.5 epochs each. An epoch is 16 batches of 64
    # and one of 53, so a round is round(1.5 * 17) = 26 steps (25.5 to even): 17 steps of 1,077
    # images and nine of 64.
    images = IMAGES + 9 * 64
    found = cost(digits_context, "imp", rounds=2, sparsity=0.75)
    sparse = 3 * images * (25_100 + 12_550)
    assert found == pytest.approx(epochs(3, DENSE) + sparse, rel=1e-6)


def test_from_scratch_there_is_no_dense_epoch(digits_context: WorkerContext) -> None:
    # At the top rung a from-scratch trial trains the dense and the retraining epochs: 6.
    found = cost(digits_context, "snip")
    assert found == pytest.approx(epochs(6, 10_040), rel=1e-6)


def test_ap_pro_costs_what_lite_does_but_for_the_first_trainings(
    digits_context: WorkerContext,
) -> None:
    # One batch is the whole split here, so a step is an epoch. S = .75 in two rounds of 20 epochs
    # keeps 25,100 and 12,550; of pro's second round, 10 epochs come before pruning.
    recipe = RecipeConfig(batch_size=1_077)
    base = {"rounds": 2, "sparsity": 0.75, "share": 0.05, "epochs": 40, "recipe": recipe}
    lite = cost(digits_context, "ap", **base)
    pro = cost(digits_context, "ap", variant="pro", **base)
    dense = epochs(3, DENSE)
    assert lite == pytest.approx(dense + epochs(20, 25_100) + epochs(20, 12_550), rel=1e-6)
    assert pro == pytest.approx(dense + epochs(30, 25_100) + epochs(10, 12_550), rel=1e-6)
