from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from autoprune.core.config import TaskConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, complete
from autoprune.stages.base import KeyContext, Numerics, Stage, closure
from autoprune.stages.superpose import blend, strongest
from autoprune.stages.train import HookSpec, Train
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from tests.methods.support import assert_equal, job, kept, labelled, plan, state

COUNT = HookSpec("tests.methods.support:CountKept")


def tickets(last: Stage) -> list[Train]:
    return [*labelled(last, "scratch"), *labelled(last, "ticket")]


def run(**params: Any) -> Stage:
    (last,) = plan(job("sup_tickets", sparsity=0.9, **params))
    return last


@pytest.mark.parametrize("base", ["rigl", "set"])
def test_without_cycles_it_is_its_base(base: str) -> None:
    keys = KeyContext("f", Numerics(), "s")
    (theirs,) = plan(job(base, sparsity=0.9))
    assert run(base=base, cycles=0).key(keys) == theirs.key(keys)


def test_it_takes_the_epochs_of_its_base() -> None:
    # 3 + 3 epochs; cycles share a fifth of the 6: .4 each, after 4.8.
    last = run()
    assert [s.epochs for s in tickets(last)] == pytest.approx([4.8, 0.4, 0.4, 0.4])
    assert sum(s.epochs for s in closure(last)) == pytest.approx(6.0)
    (theirs,) = plan(job("rigl", sparsity=0.9))
    assert theirs.epochs == 6.0


def test_training_goes_on_from_tickets_and_never_from_the_average() -> None:
    found = tickets(run())
    for before, after in pairwise(found):
        assert after.parents == (before,)


def test_the_rate_is_a_triangle_from_low_to_low(digits_context: WorkerContext) -> None:
    # 17 steps an epoch, 1.2 epochs in one cycle: 20 steps; peak at the 10th.
    last = run(cycles=1, low=0.001, high=0.005)
    (cycle,) = labelled(last, "ticket")
    curve = state(cycle, digits_context).tensors["lr_curve"]
    expected = [0.001 + 0.004 * (1 - abs(2 * j / 20 - 1)) for j in range(20)]
    assert curve.tolist() == pytest.approx(expected)
    assert curve[0] == pytest.approx(0.001)
    assert curve.argmax() == 10


def test_a_cycle_s_topology_is_frozen_after_one_move(digits_context: WorkerContext) -> None:
    last = run(explore=0.4)
    for cycle in labelled(last, "ticket"):
        start = state(cycle.parents[0], digits_context)
        watched = state(replace(cycle, hooks=(*cycle.hooks, COUNT)), digits_context)
        assert set(watched.tensors["kept"].tolist()) == {5_020}
        # Nothing comes back after the first step, which the counter starts from.
        assert watched.tensors["revived"] == 0
        for name, mask in watched.masks.items():
            before = start.masks[name]
            count = int(before.sum())
            assert int(mask.sum()) == count
            assert 0 < int((before & ~mask).sum()) <= -(-2 * count // 5)


def test_without_exploration_tickets_share_their_connections(
    digits_context: WorkerContext,
) -> None:
    last = run(explore=0.0)
    first, *others = (state(s, digits_context) for s in tickets(last))
    for other in others:
        assert_equal(other.masks, first.masks)
    found = state(last, digits_context)
    assert found.log["union_density"] == pytest.approx(0.1)
    assert_equal(found.masks, first.masks)


@pytest.mark.parametrize("average", ["caa", "cima"])
def test_the_average_is_pruned_after_every_cycle(
    average: str, digits_context: WorkerContext
) -> None:
    last = run(average=average, beta=0.4)
    found = [state(s, digits_context) for s in tickets(last)]
    shares = (1 / 2, 1 / 3, 1 / 4) if average == "caa" else (0.4, 0.4, 0.4)
    weights, masks = found[0].weights, found[0].masks
    for one, share in zip(found[1:], shares, strict=True):
        weights = blend(weights, one.weights, share)
        union = {n: m | one.masks[n] for n, m in masks.items()}
        masks = strongest(weights, union, 5_020).masks
        weights = {n: w * masks[n] if n in masks else w for n, w in weights.items()}
    final = state(last, digits_context)
    assert_equal(final.masks, masks)
    assert_equal(final.weights, weights)
    assert kept(final) == 5_020


def test_the_average_may_be_pruned_once(digits_context: WorkerContext) -> None:
    last = run(prune_each_cycle=False)
    found = [state(s, digits_context) for s in tickets(last)]
    # The plain mean of the four.
    mean = {n: sum(s.weights[n] for s in found) / 4 for n in found[0].masks}
    union = {n: torch.stack([s.masks[n] for s in found]).any(dim=0) for n in mean}
    final = state(last, digits_context)
    assert kept(final) == 5_020
    for name, value in mean.items():
        mask = final.masks[name]
        assert not bool((mask & ~union[name]).any())
        assert torch.allclose(final.weights[name], torch.where(mask, value, 0.0), atol=1e-6)
    total = sum(m.numel() for m in union.values())
    density = sum(int(m.sum()) for m in union.values()) / total
    assert 0.1 < final.log["union_density"] == pytest.approx(density)
    # The vote is another one than with pruning in between.
    other = state(run(), digits_context)
    assert any(not torch.equal(m, other.masks[n]) for n, m in final.masks.items())
    assert other.log["union_density"] == pytest.approx(density)


def test_the_result_costs_what_its_training_did(digits_context: WorkerContext) -> None:
    # 102 steps: 82 before the cycles and 3 times 7; of these one each needs the dense gradient.
    last = run(base="set")
    *_, theta = (state(s, digits_context) for s in tickets(last))
    final = state(last, digits_context)
    assert final.log["train_macs"] == theta.log["train_macs"]
    assert final.log["mask_updates"] == state(tickets(last)[0], digits_context).log["mask_updates"]
    curves = [len(state(s, digits_context).tensors["lr_curve"]) for s in tickets(last)]
    assert curves == [82, 7, 7, 7]
    # Whole epochs mix batches of 64 and a shorter last one, so the images are known within that.
    images = 64 * 103
    dense = 3 * 64
    assert final.log["train_macs"] == pytest.approx(images * 15_060 + dense * 45_180, rel=0.03)


BN_TASK = TaskConfig(data="digits", model="resnet20", width=0.25, train_size=256)


def test_batch_norm_is_estimated_anew_and_weights_stay(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    context = open_context(BN_TASK, home=tmp_path_factory.mktemp("bn"), top_epochs=TOP, threads=1)
    (last,) = plan(job("sup_tickets", sparsity=0.5, task=BN_TASK, cycles=2, share=0.5))
    assert last.kind == "recalibrate"
    averaged, final = state(last.parents[0], context), state(last, context)
    running = [n for n in final.weights if n.endswith(("running_mean", "running_var"))]
    assert running
    for name, value in final.weights.items():
        if name in running:
            assert not torch.equal(value, averaged.weights[name])
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, averaged.weights[name]), name
    assert_equal(final.masks, averaged.masks)


def test_low_and_high_are_not_to_be_swapped() -> None:
    with pytest.raises(ConfigError, match=r"trial\.sup_tickets\.low must be below high \(0\.01\)"):
        complete(TrialConfig(method="sup_tickets", params={"low": 0.05, "high": 0.01}))


def test_other_bases_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sup_tickets\.base"):
        complete(TrialConfig(method="sup_tickets", params={"base": "magnitude"}))


def test_every_cycle_needs_a_few_steps() -> None:
    method = METHODS.get("sup_tickets")
    # The base needs 40 steps in four fifths: 50. 3 steps in each of 8 cycles are a tenth of 240.
    assert method.min_steps(method.params()) == 50
    assert method.min_steps(method.params(cycles=8, share=0.1)) == 240
    assert method.min_steps(method.params(cycles=0)) == 40


def test_the_trial_s_schedule_is_the_base_s() -> None:
    last = run()
    first, *cycles = tickets(last)
    assert first.lr.name == "linear"
    assert [c.lr.name for c in cycles] == ["cyclical"] * 3
    assert [c.lr.params for c in cycles] == [{"peak": 0.05, "low": 0.01, "periods": 1}] * 3
