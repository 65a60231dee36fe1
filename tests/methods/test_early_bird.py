"""Early-Bird tickets on real plans; the stop rule itself stands in tests/stages/test_early.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from autoprune.core.config import TrainConfig, TrialConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.methods.base import METHODS, complete
from autoprune.methods.slimming import ScalePenalty
from autoprune.stages.base import Stage, closure
from autoprune.stages.early import EarlyTicket
from autoprune.stages.train import HookSpec, Train
from autoprune.testing.methods import TOP, MethodContract
from autoprune.training.events import Event, LoopState
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit, make_plan
from autoprune.trial.run import run_job
from tests.methods.normed import NORMED, OnNorms
from tests.methods.support import assert_equal, job, labelled, masked, of_kind, plan, state


class TestWithAPenalty(OnNorms, MethodContract):
    method = "early_bird"
    params: ClassVar[dict[str, Any]] = {
        "penalty": 1e-3,
        "every": 0.1,
        "until": 0.2,
        "window": 2,
        "rule": "consecutive",
    }
    sparsity = 0.6


def bird(**params: Any) -> Stage:
    (last,) = plan(job("early_bird", sparsity=params.pop("sparsity", 0.6), task=NORMED, **params))
    return last


def ticket(last: Stage) -> EarlyTicket:
    (found,) = of_kind(last, "early_ticket")
    assert isinstance(found, EarlyTicket)
    return found


def keys(stages: Any, context: WorkerContext) -> list[str]:
    return [stage.key(context.keys) for stage in stages]


def test_the_grid_by_hand() -> None:
    shares = METHODS.get("early_bird").params
    assert shares().shares == (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    assert shares(every=0.1, until=0.3, window=3).shares == (0.1, 0.2, 0.3)
    assert shares(every=0.15, until=0.5, window=2).shares == (0.15, 0.3, 0.45)


def test_it_costs_the_searched_share_of_a_dense_run() -> None:
    # Of 3 epochs the first .4, 1.2; the dense run's own 3, 3 of retraining.
    last = bird()
    assert sum(stage.epochs for stage in closure(last)) == pytest.approx(1.2 + 3 + 3)
    # With a penalty one run of its own is searched and is the end.
    assert sum(stage.epochs for stage in closure(bird(penalty=1e-3))) == pytest.approx(3 + 3)
    assert [stage.epochs for stage in labelled(last, "retrain")] == [3.0]


def test_snapshots_are_shared(normed_context: WorkerContext) -> None:
    one = ticket(bird())
    others = [{"sparsity": 0.3}, {"threshold": 0.01}, {"window": 3}, {"rule": "consecutive"}]
    for other in others:
        assert keys(ticket(bird(**other)).parents, normed_context) == keys(
            one.parents, normed_context
        )
    # The end is everybody's dense run, and a snapshot what a rewinding method's would be.
    (imp,) = plan(job("imp", rounds=1, rewind="step:0.1", task=NORMED))
    stopped, whole = sorted(labelled(imp, "dense"), key=lambda stage: stage.stop)
    assert whole.key(normed_context.keys) == one.parents[-1].key(normed_context.keys)
    assert_equal(
        state(one.parents[1], normed_context).weights, state(stopped, normed_context).weights
    )
    # A penalty has a run of its own, in the same order of images.
    own = ticket(bird(penalty=1e-4)).parents
    assert not set(keys(own, normed_context)) & set(keys(one.parents, normed_context))
    assert isinstance(own[-1], Train)
    assert replace(own[-1], hooks=()).key(normed_context.keys) == whole.key(normed_context.keys)
    assert all(snapshot.parents == (own[-1],) for snapshot in own[:-1])


@pytest.mark.parametrize(("window", "share"), [(5, 0.25), (3, 0.15)])
def test_the_first_chance_is_the_window_s_last_mask(
    window: int, share: float, normed_context: WorkerContext
) -> None:
    # With a threshold of 1 all masks agree.
    last = bird(threshold=1.0, window=window)
    result = run_job(
        job("early_bird", sparsity=0.6, task=NORMED, threshold=1.0, window=window), normed_context
    )
    assert result.error == ""
    assert result.metrics["log/ticket_share"] == share
    assert result.metrics["log/ticket_settled"] == 1.0
    assert result.metrics["dense_val_accuracy"] > 0.5
    found = ticket(last)
    drawn, snapshot = state(found, normed_context), state(found.parents[window - 1], normed_context)
    assert_equal(drawn.weights, masked(snapshot.weights, drawn.masks))
    # 57 steps: the shares are 14 and 9 steps (of 14.25 and 8.55) of 64 images, counted as such.
    steps = {0.25: 14, 0.15: 9}[share]
    macs = normed_context.task.info.macs
    assert drawn.log["train_macs"] == snapshot.log["train_macs"] == 3.0 * 64 * steps * macs


def test_masks_that_do_not_settle_are_the_dense_run_s(normed_context: WorkerContext) -> None:
    # No eight masks of a net that is being trained are equal.
    last = bird(threshold=0.0, window=8)
    drawn = state(ticket(last), normed_context)
    assert drawn.log["ticket_settled"] is False
    dense = state(ticket(last).parents[-1], normed_context)
    assert_equal(drawn.weights, masked(dense.weights, drawn.masks))
    slim = plan(job("slimming", sparsity=0.6, task=NORMED, allocation="global"))[-1]
    assert ticket(last).parents[-1].key(normed_context.keys) in {
        stage.key(normed_context.keys) for stage in labelled(slim, "dense")
    }


def test_the_smallest_scales_go(normed_context: WorkerContext) -> None:
    drawn = state(ticket(bird(threshold=1.0)), normed_context)
    source = state(ticket(bird(threshold=1.0)).parents[4], normed_context)
    flags = {name: torch.tensor(f) > 0 for name, f in drawn.structure.units.items()}
    sizes = {
        "0.weight": source.weights["1.weight"].abs(),
        "4.weight": source.weights["5.weight"].abs(),
    }
    assert set(flags) == set(sizes)
    kept = torch.cat([sizes[name][keep] for name, keep in flags.items()])
    gone = torch.cat([sizes[name][~keep] for name, keep in flags.items()])
    assert kept.min() >= gone.max()
    for name, keep in flags.items():  # a unit is gone with its shift, or it would still speak
        norm = {"0.weight": "1", "4.weight": "5"}[name]
        assert not drawn.weights[f"{norm}.weight"][~keep].any()
        assert not drawn.weights[f"{norm}.bias"][~keep].any()


@pytest.mark.parametrize("rewind", ["reinit", "init", "step:0.1"])
def test_weights_may_be_others(rewind: str, normed_context: WorkerContext) -> None:
    last = bird(threshold=1.0, rewind=rewind)
    (start,) = of_kind(last, "rewind")
    found, drawn = state(start, normed_context), state(ticket(last), normed_context)
    assert_equal(found.masks, drawn.masks)
    weights = state(start.parents[1], normed_context).weights
    assert_equal(found.weights, masked(weights, found.masks))
    assert any(not torch.equal(w, drawn.weights[n]) for n, w in found.weights.items())
    assert labelled(last, "retrain")[0].parents == (start,)


def test_the_penalty_stays_on() -> None:
    hook = HookSpec("autoprune.methods.slimming:ScalePenalty", {"penalty": 1e-3})
    last = bird(penalty=1e-3)
    trained = [stage for stage in closure(last) if isinstance(stage, Train)]
    assert len(trained) == 2  # the dense run, which keeps the snapshots, and retraining
    assert all(stage.hooks[0] == hook for stage in trained)
    hooks = [spec for s in closure(bird()) if isinstance(s, Train) for spec in s.hooks]
    assert [spec.target.rpartition(":")[2] for spec in hooks] == ["KeepSnapshots"]


def test_a_ticket_by_the_partition(normed_context: WorkerContext) -> None:
    # Card spline (c3): three distances below .16. With a threshold above 1 the fourth is first.
    settings: dict[str, Any] = {"rule": "partition", "window": 4, "canvas": 6, "score": "spline"}
    result = run_job(
        job("early_bird", sparsity=0.6, task=NORMED, threshold=1.0, **settings), normed_context
    )
    assert (result.error, result.metrics["log/ticket_share"]) == ("", 0.2)
    drawn = ticket(bird(threshold=0.0, **settings))
    assert drawn.score == "spline"
    found = state(drawn, normed_context)
    assert found.log["ticket_settled"] is False  # nothing lies less than 0 apart


def test_a_step_of_the_penalty_by_hand() -> None:
    # Gradients of 1 become 1 + .25 * sign: scales 2, -3 and 0; frozen and missing ones stay.
    norms = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, affine=False))
    with torch.no_grad():
        norms[0].weight.copy_(torch.tensor([2.0, -3.0, 0.0]))
    norms[1].weight.requires_grad_(False)
    for value in (norms[0].weight, norms[0].bias, norms[1].bias):
        value.grad = torch.ones(3)
    loop = LoopState(
        model=norms,
        optimizer=torch.optim.SGD(norms.parameters(), lr=0.1),
        parameters=dict(norms.named_parameters()),
        masks={},
        loss_fn=nn.functional.mse_loss,
        seed=0,
        num_steps=1,
        steps_per_epoch=1,
    )
    hook = ScalePenalty(0.25)
    hook.on(Event.FIT_START, loop)
    hook.on(Event.AFTER_BACKWARD, loop)
    assert norms[0].weight.grad is not None
    assert norms[0].weight.grad.tolist() == [1.25, 0.75, 1.0]
    for value in (norms[0].bias, norms[1].bias):
        assert value.grad is not None
        assert value.grad.tolist() == [1.0, 1.0, 1.0]
    assert norms[1].weight.grad is None


def test_too_few_masks_are_refused() -> None:
    message = r"trial\.early_bird\.until must be at least window \* every \(0\.25\)"
    with pytest.raises(ConfigError, match=message):
        complete(TrialConfig(method="early_bird", params={"until": 0.2}))
    assert complete(TrialConfig(method="early_bird", params={"until": 0.25}))
    with pytest.raises(ConfigError, match=r"trial\.early_bird\.rewind must be none, init"):
        complete(TrialConfig(method="early_bird", params={"rewind": "dense"}))


def test_two_masks_of_one_step_are_refused(digits_context: WorkerContext) -> None:
    # 17 steps an epoch: a twentieth of one epoch is less than a step, a seventeenth is one.
    info = digits_context.task.info
    short = replace(job("early_bird").config, train=TrainConfig(epochs=1))
    with pytest.raises(ConfigError, match=r"early_bird\.every must be at least 0\.059"):
        check_fit(short, info)
    check_fit(complete(replace(short, params={"every": 0.06})), info)


def test_models_and_tasks_that_do_not_fit_are_refused_by_name(
    digits_context: WorkerContext,
) -> None:
    info = digits_context.task.info
    with pytest.raises(TaskError, match=r"must have batch norms for method 'early_bird' with a"):
        check_fit(job("early_bird", penalty=1e-4).config, info)
    check_fit(job("early_bird").config, info)
    message = r"must not be 'early_bird' when the task brings pretrained weights"
    with pytest.raises(ConfigError, match=message):
        check_fit(job("early_bird").config, replace(info, pretrained=True))
    with pytest.raises(ConfigError, match=message):
        make_plan(job("early_bird"), TOP, pretrained=True)
