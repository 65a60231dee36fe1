from __future__ import annotations

import pytest
import torch

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.ap import ap_select
from autoprune.methods.base import complete
from autoprune.trial.context import WorkerContext
from tests.methods.support import assert_equal, job, kept, labelled, masked, of_kind, plan, state


def test_the_quietest_negative_weights_go() -> None:
    # Movements of alive negative weights: a[0] |-1 - -.5| = .5, a[3] |-2 - -1.9| = .1,
    # b[0] |-.3 - .1| = .4. Positive a[1], masked a[2]. Two go: a[3] and b[0].
    trained = {"a": torch.tensor([-1.0, 0.5, -0.1, -2.0]), "b": torch.tensor([-0.3, 4.0])}
    start = {"a": torch.tensor([-0.5, 0.5, -0.1, -1.9]), "b": torch.tensor([0.1, 4.0])}
    masks = {"a": torch.tensor([1, 1, 0, 1]).bool(), "b": torch.tensor([1, 1]).bool()}
    new = ap_select(trained, start, masks, 2)
    assert new["a"].tolist() == [True, True, False, False]
    assert new["b"].tolist() == [False, True]


def test_no_more_than_the_candidates_go() -> None:
    trained = {"a": torch.tensor([-1.0, 0.5, 2.0])}
    start = {"a": torch.zeros(3)}
    new = ap_select(trained, start, {"a": torch.ones(3).bool()}, 3)
    assert new["a"].tolist() == [False, True, True]


def test_zero_is_the_identity() -> None:
    masks = {"a": torch.tensor([True, False])}
    new = ap_select({"a": torch.tensor([-1.0, -1.0])}, {"a": torch.zeros(2)}, masks, 0)
    assert torch.equal(new["a"], masks["a"])


def test_no_preactivation_falls() -> None:
    # Card ap (f)1: with non-negative inputs, removing negative weights only raises outputs.
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 20, generator=generator)
    inputs = torch.rand(50, 20, generator=generator)
    start = {"a": torch.zeros_like(weight)}
    mask = ap_select({"a": weight}, start, {"a": torch.ones_like(weight).bool()}, 100)["a"]
    assert (~mask).sum() == 100
    before, after = inputs @ weight.T, inputs @ (weight * mask).T
    assert bool((after >= before - 1e-6).all())
    assert (after.relu() == 0).float().mean() < (before.relu() == 0).float().mean()


def test_a_share_that_leaves_the_base_nothing_is_refused() -> None:
    config = TrialConfig(method="ap", sparsity=0.1, params={"share": 0.15, "rounds": 3})
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0345"):
        complete(config)


@pytest.mark.parametrize("base", ["rigl", "dropnet", "ap"])
def test_only_score_prune_retrain_is_wrapped(base: str) -> None:
    with pytest.raises(ConfigError, match=r"trial\.ap\.base must score, prune and retrain"):
        complete(TrialConfig(method="ap", params={"base": base}))


def prunable(weights: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]):
    return {name: weights[name] for name in masks}


def test_ap_takes_its_share_of_what_was_alive(digits_context: WorkerContext) -> None:
    # S = .875 in 3 rounds halves three times: 50,200 -> 25,100 -> 12,550 -> 6,275 alive. AP's
    # share .05 of those alive before: 2,510, 1,255 and 627.5; base and AP round apart, so +-1.
    last = plan(job("ap", sparsity=0.875, rounds=3, share=0.05))[-1]
    own = []
    for stage in of_kind(last, "activate"):
        base = state(stage.parents[0], digits_context)
        done = state(stage, digits_context)
        own.append(kept(base) - kept(done))
    assert [kept(state(s, digits_context)) for s in of_kind(last, "activate")] == [
        25_100,
        12_550,
        6_275,
    ]
    assert own == pytest.approx([2_510, 1_255, 627.5], abs=1)


@pytest.mark.parametrize("variant", ["lite", "pro"])
def test_ap_removes_what_the_metric_says(variant: str, digits_context: WorkerContext) -> None:
    last = plan(job("ap", sparsity=0.8, rounds=2, share=0.1, variant=variant))[-1]
    for stage in of_kind(last, "activate"):
        base, trained, start = (state(p, digits_context) for p in stage.parents)
        done = state(stage, digits_context)
        count = kept(base) - kept(done)
        expected = ap_select(
            prunable(trained.weights, base.masks),
            prunable(start.weights, base.masks),
            base.masks,
            count,
        )
        assert_equal(done.masks, expected)
        for name, mask in done.masks.items():
            gone = base.masks[name] & ~mask
            assert bool((trained.weights[name][gone] < 0).all())


def test_movement_is_counted_from_the_round_s_start(digits_context: WorkerContext) -> None:
    stages = plan(job("ap", rounds=2, share=0.05))
    first, second = of_kind(stages[-1], "activate")
    assert first.parents[2].kind == "init"
    assert second.parents[2] is first  # lite: the masked state that round 2 trained from
    pro = of_kind(plan(job("ap", rounds=2, share=0.05, variant="pro"))[-1], "activate")
    assert pro[1].parents[2].label == "retrain/1"  # type: ignore[attr-defined]


def test_pro_rewinds_to_the_round_s_start_and_trains_it_again(
    digits_context: WorkerContext,
) -> None:
    last = plan(job("ap", rounds=2, share=0.05, variant="pro"))[-1]
    for rewind in of_kind(last, "rewind"):
        done, start = (state(p, digits_context) for p in rewind.parents)
        found = state(rewind, digits_context)
        assert_equal(found.weights, masked(start.weights, done.masks))
    # 3 epochs in 2 rounds: 1.5, then .75 before and .75 after the rewind.
    lengths = [s.length for s in [*labelled(last, "retrain"), *labelled(last, "first")]]
    assert lengths == [1.5, 0.75, 0.75]


def test_without_a_share_ap_is_its_base(digits_context: WorkerContext) -> None:
    ap = plan(job("ap", rounds=3, share=0.0))
    imp = plan(job("imp", rounds=3))
    for one, other in zip(ap, imp, strict=True):
        mine, base = state(one, digits_context), state(other, digits_context)
        assert_equal(mine.weights, base.weights)
        assert_equal(mine.masks, base.masks)


def test_a_share_is_held_against_the_smallest_round() -> None:
    # The cubic schedule's last of 5 rounds goes from .9 (1 - 1/125) = .8928 to .9: density .1072
    # to .1, which is .0672 of what is left.
    assert job("ap", sparsity=0.9, rounds=5, schedule="cubic", share=0.067)
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0672"):
        job("ap", sparsity=0.9, rounds=5, schedule="cubic", share=0.068)
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0000"):
        job("ap", sparsity=0.9, rounds=3, schedule="one_shot", share=0.01)
