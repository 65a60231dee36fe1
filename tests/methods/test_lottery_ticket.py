"""The invariants of card lottery_ticket (f), on real plans."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.metrics.accuracy import evaluate
from autoprune.stages.base import Stage
from autoprune.stages.support import load_model
from autoprune.stages.train import HookSpec
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.plan import check_fit, make_plan
from tests.methods.support import (
    assert_equal,
    job,
    kept,
    labelled,
    masked,
    of_kind,
    plan,
    state,
)


def tickets(**params: Any) -> tuple[Stage, ...]:
    return plan(job("lottery_ticket", **params))


def rewinds(last: Stage) -> list[Stage]:
    return of_kind(last, "rewind")


def test_density_falls_by_the_same_factor(digits_context: WorkerContext) -> None:
    # A density of .125 in three rounds is three halvings of 50,200.
    rounds = tickets(sparsity=0.875, rounds=3)
    assert [kept(state(stage, digits_context)) for stage in rounds] == [25_100, 12_550, 6_275]


@pytest.mark.parametrize("allocation", ["global", "layerwise"])
def test_masks_only_shrink(allocation: str, digits_context: WorkerContext) -> None:
    states = [state(s, digits_context) for s in tickets(rounds=4, allocation=allocation)]
    for before, after in pairwise(states):
        for name, mask in after.masks.items():
            assert not bool((mask & ~before.masks[name]).any())
            assert torch.count_nonzero(after.weights[name][~mask]) == 0


def test_a_round_drops_the_smallest_trained_weights(digits_context: WorkerContext) -> None:
    first, last = tickets(rounds=2)
    before, after = state(first, digits_context), state(last, digits_context)
    gone = {n: before.masks[n] & ~m for n, m in after.masks.items()}
    alive = torch.cat([before.weights[n][m].abs() for n, m in after.masks.items()])
    dropped = torch.cat([before.weights[n][m].abs() for n, m in gone.items()])
    assert len(dropped) > 0
    assert alive.min() >= dropped.max()


def test_every_level_restarts_from_one_snapshot(digits_context: WorkerContext) -> None:
    # 51 steps of the dense run; a tenth is the state after step 5, biases included.
    last = tickets(rounds=3, rewind="step:0.1")[-1]
    (dense,) = (s for s in labelled(last, "dense") if s.stop == 1.0)
    spy = replace(dense, hooks=(HookSpec("tests.methods.support:WeightsAt", {"step": 5}),))
    there = {
        name.removeprefix("at/"): value
        for name, value in state(spy, digits_context).tensors.items()
        if name.startswith("at/")
    }
    assert len(there) == 6
    starts = rewinds(last)
    assert len(starts) == 3
    for start in starts:
        found = state(start, digits_context)
        assert_equal(found.weights, masked(there, found.masks))
    for stage, start in zip(labelled(last, "retrain"), starts, strict=True):
        assert stage.parents == (start,)


def test_rewinding_takes_norms_and_statistics_along(tmp_path: Path) -> None:
    task = TaskConfig(data="digits", model="resnet20", width=0.25, train_size=128)
    context = open_context(task, home=tmp_path, top_epochs=TOP, threads=1)
    (last,) = tickets(rounds=1, rewind="step:0.5", task=task, dense_epochs=1, epochs=2)
    (start,) = rewinds(last)
    found, snapshot = state(start, context), state(start.parents[1], context)
    trained = state(of_kind(last, "mask")[0].parents[0], context)
    others = [name for name in snapshot.weights if name not in found.masks]
    assert "bn1.running_mean" in others
    assert "bn1.weight" in others
    for name in others:
        assert torch.equal(found.weights[name], snapshot.weights[name]), name
    assert not torch.equal(
        trained.weights["bn1.running_mean"], snapshot.weights["bn1.running_mean"]
    )


def test_rewinding_to_the_start_restores_the_initial_weights(
    digits_context: WorkerContext,
) -> None:
    last = tickets(rounds=2, rewind="init")[-1]
    (dense,) = labelled(last, "dense")
    fresh = state(dense.parents[0], digits_context).weights
    for start in rewinds(last):
        found = state(start, digits_context)
        assert_equal(found.weights, masked(fresh, found.masks))
    # Card (f)5: without pruning a level starts where the dense run did.
    (whole,) = rewinds(tickets(rounds=1, rewind="init", sparsity=0.0)[-1])
    assert_equal(state(whole, digits_context).weights, fresh)


def test_every_level_starts_its_schedule_anew(digits_context: WorkerContext) -> None:
    # 3 epochs of 17 steps in 3 rounds, linear from .1.
    expected = 0.1 * (1 - torch.arange(17, dtype=torch.float64) / 17)
    for stage in labelled(tickets(rounds=3)[-1], "retrain"):
        assert torch.allclose(state(stage, digits_context).tensors["lr_curve"], expected)


def test_one_round_is_one_shot(digits_context: WorkerContext) -> None:
    (one,) = tickets(rounds=1, sparsity=0.9)
    (shot,) = plan(job("magnitude", sparsity=0.9))
    assert_equal(state(one, digits_context).masks, state(shot, digits_context).masks)
    assert not torch.equal(
        state(one, digits_context).weights["fc1.bias"],
        state(shot, digits_context).weights["fc1.bias"],
    )


def test_layerwise_halves_the_rate_of_the_output(digits_context: WorkerContext) -> None:
    # 50,200 to 25,100 and the output's 1,000 at half the rate: p = 25,100 / 49,700, so the others
    # keep 1 - p = .494970 of 19,200 (9,503.4) and 30,000 (14,849.1), the output .747485 (747.5).
    (last,) = tickets(rounds=1, sparsity=0.5, allocation="layerwise")
    found = {n: int(m.sum()) for n, m in state(last, digits_context).masks.items()}
    assert found == {"fc1.weight": 9_503, "fc2.weight": 14_849, "fc3.weight": 748}


def test_reinit_keeps_the_mask_and_nothing_else(digits_context: WorkerContext) -> None:
    ticket = tickets(rounds=2)[-1]
    (control,) = tickets(rounds=2, control="reinit")
    mine, theirs = (state(rewinds(s)[-1], digits_context) for s in (control, ticket))
    assert_equal(mine.masks, theirs.masks)
    assert_equal(state(control, digits_context).masks, theirs.masks)
    (fresh,) = {s for s in of_kind(control, "init") if s.label == "reinit"}  # type: ignore[attr-defined]
    assert_equal(mine.weights, masked(state(fresh, digits_context).weights, mine.masks))
    mask = mine.masks["fc2.weight"]
    both = torch.stack([s.weights["fc2.weight"][mask] for s in (mine, theirs)])
    # 4,000 or more independent pairs: one sigma is at most .016, five are allowed.
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.08


def test_shuffle_keeps_the_counts_and_the_rewind_point(digits_context: WorkerContext) -> None:
    ticket = tickets(rounds=2)[-1]
    (control,) = tickets(rounds=2, control="shuffle")
    mine, theirs = (state(rewinds(s)[-1], digits_context) for s in (control, ticket))
    for name, mask in mine.masks.items():
        assert mask.sum() == theirs.masks[name].sum()
        assert not torch.equal(mask, theirs.masks[name])
    snapshot = state(rewinds(ticket)[-1].parents[1], digits_context).weights
    assert_equal(mine.weights, masked(snapshot, mine.masks))
    # A permuted mask is independent of the ticket's.
    density = mine.masks["fc2.weight"].float().mean().item()
    both = (mine.masks["fc2.weight"] & theirs.masks["fc2.weight"]).float().mean().item()
    assert both == pytest.approx(density**2, abs=4 * density / 30_000**0.5)
    (again,) = plan(job("lottery_ticket", rounds=2, control="shuffle", seed=1))
    other = state(rewinds(again)[-1], digits_context)
    assert not torch.equal(other.masks["fc2.weight"], mine.masks["fc2.weight"])


@pytest.mark.parametrize("control", ["reinit", "shuffle"])
def test_a_control_differs_in_its_last_level_only(
    control: str, digits_context: WorkerContext
) -> None:
    all_rounds = tickets(rounds=3)
    offered = tickets(rounds=3, control=control)
    assert len(offered) == 1  # what comes before is a ticket, not a control
    mine, theirs = (labelled(s, "retrain") for s in (offered[0], all_rounds[-1]))
    keys = [[s.key(digits_context.keys) for s in stages] for stages in (mine, theirs)]
    assert keys[0][:2] == keys[1][:2]
    assert keys[0][2] != keys[1][2]
    assert replace(mine[2], parents=()) == replace(theirs[2], parents=())


def test_the_ticket_beats_its_controls(digits_context: WorkerContext) -> None:
    # Card (f)8. One seed each on 360 images; the gaps are .6 or more, a sigma is .025.
    def accuracy(control: str) -> float:
        (last,) = tickets(rounds=1, sparsity=0.95, control=control)
        model = load_model(state(last, digits_context), digits_context)
        found = evaluate(model, digits_context.task.data.val, digits_context.task)
        return found.correct / found.total

    ticket = accuracy("none")
    assert ticket > accuracy("reinit") + 0.1
    assert ticket > accuracy("shuffle") + 0.1


@pytest.mark.parametrize("rewind", ["none", "reinit"])
def test_a_policy_that_does_not_go_back_is_refused(rewind: str) -> None:
    with pytest.raises(ConfigError, match=r"trial\.lottery_ticket\.rewind must be init or step"):
        job("lottery_ticket", rewind=rewind)


def test_a_rewind_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.lottery_ticket\.rewind must be none, init"):
        job("lottery_ticket", rewind="step:1.5")
    with pytest.raises(ConfigError, match=r"trial\.lottery_ticket\.control must be"):
        job("lottery_ticket", control="noise")


def test_weights_without_a_beginning_are_refused(digits_context: WorkerContext) -> None:
    message = r"must not be 'lottery_ticket' when the task brings pretrained weights"
    given = replace(digits_context.task.info, pretrained=True)
    with pytest.raises(ConfigError, match=message):
        check_fit(job("lottery_ticket").config, given)
    with pytest.raises(ConfigError, match=message):
        make_plan(job("lottery_ticket"), TOP, pretrained=True)
    check_fit(job("lottery_ticket").config, digits_context.task.info)
