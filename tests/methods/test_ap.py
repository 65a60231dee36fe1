from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.core.seeds import torch_stream
from autoprune.methods.base import complete
from autoprune.stages.activate import ap_select
from autoprune.stages.train import HookSpec, Train
from autoprune.training.events import Event, LoopState
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


@dataclass(frozen=True)
class Case:
    """Two tensors of 600 and 80 weights, 70 % of them alive."""

    trained: dict[str, torch.Tensor]
    start: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor]

    @staticmethod
    def drawn(seed: int) -> Case:
        generator = torch_stream(seed, "ap")
        shapes = {"a": (30, 20), "b": (8, 10)}
        trained = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
        start = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
        masks = {n: torch.rand(s, generator=generator) < 0.7 for n, s in shapes.items()}
        return Case(trained, start, masks)

    @property
    def candidates(self) -> dict[str, torch.Tensor]:
        return {n: m & (self.trained[n] < 0) for n, m in self.masks.items()}

    def select(self, count: int) -> dict[str, torch.Tensor]:
        return ap_select(self.trained, self.start, self.masks, count)

    def scaled(self, **factors: float) -> Case:
        trained, start = (
            {n: w * factors.get(n, 1.0) for n, w in group.items()}
            for group in (self.trained, self.start)
        )
        return Case(trained, start, self.masks)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [0, 1, 50, 150, 680])
def test_only_quiet_alive_negative_weights_go(seed: int, count: int) -> None:
    # Card ap (f)2 and 3.
    case = Case.drawn(seed)
    new = case.select(count)
    gone = {n: case.masks[n] & ~new[n] for n in new}
    num_candidates = sum(int(c.sum()) for c in case.candidates.values())
    assert 150 < num_candidates < 680
    assert sum(int(g.sum()) for g in gone.values()) == min(count, num_candidates)
    for name in new:
        assert not bool((new[name] & ~case.masks[name]).any())
        assert bool(case.candidates[name][gone[name]].all())
    moved = {n: (case.trained[n] - case.start[n]).abs() for n in new}
    left = {n: case.candidates[n] & new[n] for n in new}
    if 0 < count < num_candidates:
        loudest = max(float(moved[n][gone[n]].max()) for n in new if gone[n].any())
        assert loudest <= min(float(moved[n][left[n]].min()) for n in new)


def test_no_more_than_the_candidates_go() -> None:
    trained = {"a": torch.tensor([-1.0, 0.5, 2.0])}
    start = {"a": torch.zeros(3)}
    new = ap_select(trained, start, {"a": torch.ones(3).bool()}, 3)
    assert new["a"].tolist() == [False, True, True]


def test_zero_is_the_identity() -> None:
    case = Case.drawn(0)
    assert_equal(case.select(0), case.masks)


def test_without_negative_weights_it_is_the_identity() -> None:
    case = Case.drawn(0)
    positive = Case({n: w.abs() for n, w in case.trained.items()}, case.start, case.masks)
    assert_equal(positive.select(100), case.masks)


def test_ties_go_by_tensor_order_and_then_by_flat_index() -> None:
    weights = {"b": torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]), "a": torch.tensor([-1.0])}
    start = {n: torch.zeros_like(w) for n, w in weights.items()}
    masks = {n: torch.ones_like(w).bool() for n, w in weights.items()}
    new = ap_select(weights, start, masks, 3)
    assert new["b"].tolist() == [[False, False], [False, True]]
    assert new["a"].tolist() == [True]


def test_the_score_is_global_and_not_normalised() -> None:
    # Card ap (f)9: the order of tensors and a common factor play no part, one tensor's does.
    case = Case.drawn(0)
    new = case.select(60)
    turned = Case(*(dict(reversed(g.items())) for g in (case.trained, case.start, case.masks)))
    assert_equal(dict(reversed(turned.select(60).items())), new)
    assert_equal(case.scaled(a=4.0, b=4.0).select(60), new)
    # Made a thousand times quieter, all candidates of b go first: 60 are more than there are.
    quiet = case.scaled(b=1e-3).select(60)
    assert not bool((quiet["b"] & case.candidates["b"]).any())
    assert bool((new["b"] & case.candidates["b"]).any())


@pytest.mark.parametrize("seed", range(3))
def test_no_preactivation_falls(seed: int) -> None:
    # Card ap (f)1: with non-negative inputs, removing negative weights only raises outputs, so
    # no zero of the layer is new; mirrored, removing positive ones only lowers them.
    generator = torch_stream(seed, "preactivations")
    weight = torch.randn(30, 20, generator=generator, dtype=torch.float64)
    inputs = torch.rand(50, 20, generator=generator, dtype=torch.float64)
    full = {"a": torch.ones_like(weight).bool()}
    start = {"a": torch.zeros_like(weight)}
    up = ap_select({"a": weight}, start, full, 100)["a"]
    down = ap_select({"a": -weight}, start, full, 100)["a"]
    assert (~up).sum() == (~down).sum() == 100
    before, above, below = (inputs @ (weight * mask).T for mask in (full["a"], up, down))
    assert bool((above >= before - 1e-12).all())  # rounding of sums of 20 terms below 3
    assert bool((below <= before + 1e-12).all())
    assert bool(((above > 0) | (before <= 1e-12)).all())
    zeros = [int((z.relu() == 0).sum()) for z in (above, before, below)]
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[1] < zeros[2]


def test_a_share_that_leaves_the_base_nothing_is_refused() -> None:
    config = TrialConfig(method="ap", sparsity=0.1, params={"share": 0.15, "rounds": 3})
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0345"):
        complete(config)


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
    logged = [state(s, digits_context).log for s in of_kind(last, "activate")]
    assert [log["ap_removed"] for log in logged] == own
    assert [log["ap_left_to_base"] for log in logged] == [0, 0, 0]


def test_a_fifth_goes_as_eighteen_and_two_hundredths(digits_context: WorkerContext) -> None:
    # Card ap (f)5, with N = 50,200: 9,036 to the base, 1,004 to AP, 40,160 left.
    (last,) = plan(job("ap", sparsity=0.2, rounds=1, share=0.02))
    (own,) = of_kind(last, "activate")
    assert kept(state(own.parents[0], digits_context)) == 50_200 - 9_036
    assert kept(state(own, digits_context)) == 40_160


def test_the_base_takes_what_negative_weights_do_not_suffice_for(
    digits_context: WorkerContext,
) -> None:
    # A state with 10 negative weights, of which AP should remove 2 % of 50,200, 1,004: the base,
    # magnitude, takes the other 994, the smallest of what is left.
    (last,) = plan(job("ap", sparsity=0.2, rounds=1, share=0.02))
    (own,) = of_kind(last, "activate")
    trained = state(own.parents[1], digits_context)
    weights = {n: w.abs() if n.endswith("weight") else w for n, w in trained.weights.items()}
    first = weights["fc1.weight"]
    (top,) = (torch.topk(first.flatten(), 10).indices,)
    first.view(-1)[top] *= -1.0  # large ones, which magnitude would keep
    positive = replace(trained, weights=weights)
    base = own.parents[0]
    pruned = base.run([positive, base.parents[1].run([positive], digits_context)], digits_context)
    found = own.run([pruned, positive, state(own.parents[2], digits_context)], digits_context)
    assert (found.log["ap_removed"], found.log["ap_left_to_base"]) == (10, 994)
    assert kept(found) == 40_160
    assert not bool(found.masks["fc1.weight"].view(-1)[top].any())
    sizes = torch.cat([weights[n][m].abs() for n, m in found.masks.items()])
    gone = torch.cat([weights[n][~m & (weights[n] > 0)].abs() for n, m in found.masks.items()])
    assert gone.max() <= sizes.min()
    # What the schedules are told was lost is what both removed: by hand over all tensors.
    lost = sum(float((w - found.weights[n]).double().square().sum()) for n, w in weights.items())
    total = sum(float(w.double().square().sum()) for w in weights.values())
    assert found.log["norm_lost"] == pytest.approx((lost / total) ** 0.5)


def test_removed_weights_stay_at_zero_while_training(digits_context: WorkerContext) -> None:
    # Card ap (f)7 and (g)1: momentum must not bring back what this round removed.
    (last,) = plan(job("ap", sparsity=0.5, rounds=1, share=0.1, variant="pro"))
    assert isinstance(last, Train)
    watched = replace(last, hooks=(HookSpec("tests.methods.test_ap:Awake"),), label="watched")
    found = state(watched, digits_context)
    assert found.tensors["steps"].item() == 3 * 17
    assert found.tensors["awake"].item() == 0


class Awake:
    """Counts masked weights that are not zero after a step."""

    def __init__(self) -> None:
        self.steps = self.awake = 0

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.BEFORE_LOSS or event is Event.FIT_END:
            # Before the next forward pass: after every hook has run.
            for name, mask in loop.masks.items():
                self.awake += int(torch.count_nonzero(loop.parameters[name].detach()[~mask]))
        if event is Event.AFTER_STEP:
            self.steps += 1
        if event is Event.FIT_END:
            loop.extra |= {"steps": torch.tensor(self.steps), "awake": torch.tensor(self.awake)}


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
    # Card ap (f)6; a stage hands on no optimiser state, so the second training has none.
    last = plan(job("ap", rounds=2, share=0.05, variant="pro"))[-1]
    for rewind in of_kind(last, "rewind"):
        done, start = (state(p, digits_context) for p in rewind.parents)
        found = state(rewind, digits_context)
        assert_equal(found.weights, masked(start.weights, done.masks))
        assert torch.equal(found.weights["fc1.bias"], start.weights["fc1.bias"])
        assert not torch.equal(found.weights["fc1.bias"], done.weights["fc1.bias"])
        assert not any(name.startswith("optim") for name in found.tensors)
    # 3 epochs in 2 rounds: 1.5, then .75 before and .75 after the rewind.
    lengths = [s.length for s in [*labelled(last, "retrain"), *labelled(last, "first")]]
    assert lengths == [1.5, 0.75, 0.75]


def test_a_share_is_held_against_the_smallest_round() -> None:
    # The cubic schedule's last of 5 rounds goes from .9 (1 - 1/125) = .8928 to .9: density .1072
    # to .1, which is .0672 of what is left.
    assert job("ap", sparsity=0.9, rounds=5, schedule="cubic", share=0.067)
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0672"):
        job("ap", sparsity=0.9, rounds=5, schedule="cubic", share=0.068)
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0000"):
        job("ap", sparsity=0.9, rounds=3, schedule="one_shot", share=0.01)
