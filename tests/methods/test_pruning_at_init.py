"""snip, grasp and synflow: what is scored, in how many rounds, and what becomes of it."""

from __future__ import annotations

import pytest
import torch

from autoprune.core.errors import ConfigError, UnknownNameError
from autoprune.stages.prune import MaskRounds
from autoprune.trial.context import WorkerContext
from autoprune.trial.run import run_job
from tests.methods.support import assert_equal, job, kept, masked, of_kind, plan, state


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_one_round_is_the_default_and_trains_what_it_scored(
    method: str, digits_context: WorkerContext
) -> None:
    (last,) = plan(job(method))
    (init,), (score,), (mask,) = (of_kind(last, kind) for kind in ("init", "score", "mask"))
    assert score.score == method  # type: ignore[attr-defined]
    assert (score.parents, mask.parents, last.parents) == ((init,), (init, score), (mask,))
    start = state(mask, digits_context)
    assert_equal(start.weights, masked(state(init, digits_context).weights, start.masks))


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_more_rounds_are_a_stage_of_their_own(method: str) -> None:
    (last,) = plan(job(method, rounds=7, schedule="linear", allocation="erk", sparsity=0.9))
    (rounds,) = last.parents
    assert isinstance(rounds, MaskRounds)
    assert rounds.parents == tuple(of_kind(last, "init"))
    found = (rounds.score, rounds.rounds, rounds.schedule, rounds.allocation, rounds.sparsity)
    assert found == (method, 7, "linear", "erk", 0.9)


def test_synflow_takes_a_hundred_exponential_rounds() -> None:
    (rounds,) = of_kind(plan(job("synflow"))[0], "mask_rounds")
    assert isinstance(rounds, MaskRounds)
    assert (rounds.rounds, rounds.schedule) == (100, "geometric")


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_a_hundred_rounds_are_the_most(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"{method}\.rounds"):
        job(method, rounds=101)
    with pytest.raises(UnknownNameError, match=rf"{method}\.schedule"):
        job(method, schedule="geometrical")


def test_synflow_s_mask_is_the_same_for_every_scoring_seed(digits_context: WorkerContext) -> None:
    # The seed decides the initialisation; beyond that nothing is drawn. SNIP's batch is drawn.
    masks = {}
    for method in ("synflow", "snip"):
        (rounds,) = plan(job(method, rounds=3))[0].parents
        assert isinstance(rounds, MaskRounds)
        inputs = [state(rounds.parents[0], digits_context)]
        for seed in (0, 1):
            other = MaskRounds(score=method, allocation="global", sparsity=0.8, rounds=3, seed=seed)
            masks[method, seed] = other.run(inputs, digits_context).masks
    assert_equal(masks["synflow", 0], masks["synflow", 1])
    assert any(not torch.equal(m, masks["snip", 1][n]) for n, m in masks["snip", 0].items())


def test_a_net_with_an_empty_layer_is_a_result(digits_context: WorkerContext) -> None:
    # 50 of 50,200 weights by SynFlow in one round all lie in the last layer, which is the smallest
    # and so has the largest scores: logits do not depend on the image.
    found = run_job(job("synflow", sparsity=0.999, rounds=1, epochs=2), digits_context)
    assert found.status == "collapsed"
    assert found.error == ""
    assert found.metrics["log/empty_layers"] == 2
    assert found.metrics["log/score_passes"] == 1


def test_a_hundred_rounds_of_synflow_keep_a_net_alive(digits_context: WorkerContext) -> None:
    # 251 weights through at most 6 and 20 hidden units: little, but something, and it learns.
    found = run_job(job("synflow", sparsity=0.995), digits_context)
    assert found.status == "ok"
    assert found.metrics["log/empty_layers"] == 0
    assert found.metrics["log/score_passes"] == 100
    assert found.metrics["val_accuracy"] > 0.15


def test_biases_are_not_masked(digits_context: WorkerContext) -> None:
    for method in ("snip", "grasp", "synflow"):
        (last,) = plan(job(method, rounds=2))
        found = state(last.parents[0], digits_context)
        assert all(name.endswith("weight") for name in found.masks)
        assert kept(found) == 10_040
