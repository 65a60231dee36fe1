"""The invariants of card rigl (f), on a loop small enough to look at every entry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.core.seeds import torch_stream
from autoprune.training.events import Event, LoopState
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.hooks.record import RecordCost
from autoprune.training.hooks.regrow import (
    DECAYS,
    MomentumGrowth,
    RandomGrowth,
    Regrow,
    RegrowOnce,
    drop_smallest,
    grow_highest,
)
from autoprune.training.loop import fit
from tests.training.support import loop, split


def regrow(growth: str, **changes: Any) -> Regrow:
    given = {"drop_fraction": 0.5, "end": 0.75, "interval": 100, "least_updates": 20}
    return Regrow(growth, **(given | changes))


def masks(density: float = 0.4) -> dict[str, Tensor]:
    generator = torch_stream(0, "mask")
    return {
        "0.weight": torch.rand(8, 6, generator=generator) < density,
        "2.weight": torch.rand(2, 8, generator=generator) < density,
    }


def run(state: LoopState, *hooks: Any, steps: int = 60) -> LoopState:
    fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=steps, label="t")
    return state


class Before:
    """Keeps what a step finds, so that a spy after it can compare."""

    def __init__(self) -> None:
        self.masks: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.BEFORE_LOSS:
            self.masks = {n: m.clone() for n, m in loop.masks.items()}
            self.weights = {n: loop.parameters[n].detach().clone() for n in loop.masks}


class Spy(Before):
    """Checks each step's move of masks."""

    def __init__(self, *, layers: bool = True) -> None:
        super().__init__()
        self.layers, self.moved, self.changed_at = layers, 0, []

    def on(self, event: Event, loop: LoopState) -> None:
        super().on(event, loop)
        if event is not Event.AFTER_STEP:
            return
        grown_in_all = dropped_in_all = 0
        for name, mask in loop.masks.items():
            old = self.masks[name]
            grown, dropped = mask & ~old, old & ~mask
            if self.layers:
                assert grown.sum() == dropped.sum()
                assert dropped.sum() <= 0.5 * old.sum()
            for tensor in (loop.parameters[name], *loop.optimizer_state(name)):
                assert torch.count_nonzero(tensor[grown]) == 0
                assert torch.count_nonzero(tensor[~mask]) == 0
            grown_in_all += int(grown.sum())
            dropped_in_all += int(dropped.sum())
        assert grown_in_all == dropped_in_all
        self.moved += grown_in_all
        if grown_in_all:
            self.changed_at.append(loop.step - 1)


# --- how much and when


def test_the_cosine_is_the_paper_s() -> None:
    # f(t) = alpha / 2 (1 + cos(pi t / T_end)), alpha .3, T_end 75,000: f(0) = .3, the middle .15,
    # a quarter .15 (1 + sqrt(.5)) = .256066, three quarters .15 (1 - sqrt(.5)) = .043934.
    hook = regrow("gradient", drop_fraction=0.3, interval=250)
    shares = {t: hook.share(t, 100_000) for t in (18_750, 37_500, 56_250)}
    assert shares == {
        18_750: pytest.approx(0.256066, abs=1e-6),
        37_500: pytest.approx(0.15),
        56_250: pytest.approx(0.043934, abs=1e-6),
    }
    assert 0.3 * DECAYS["cosine"](0.0) == 0.3
    assert DECAYS["cosine"](1.0) == 0.0


def test_the_other_decays() -> None:
    # At t / T_end = .25: constant 1, (1 - .25) = .75, .75^3 = .421875.
    found = {name: DECAYS[name](0.25) for name in ("constant", "linear", "cubic")}
    assert found == {"constant": 1.0, "linear": 0.75, "cubic": 0.421875}
    # 1,000 steps end at 750; 187.5 is no step, 150 is one: 1 - 150 / 750 = .8 of .5.
    hook = regrow("random", decay="linear", interval=50, least_updates=1)
    assert hook.share(150, 1000) == pytest.approx(0.4)


def test_the_topology_is_frozen_after_the_end() -> None:
    hook = regrow("gradient")
    due = [t for t in range(400) if hook.share(t, 400) is not None]
    # Of 400 steps the first 300 may update; 300 // 21 = every 14: 14, 28, ..., 294, which is 21.
    assert due == list(range(14, 300, 14))
    long = [t for t in range(40_000) if hook.share(t, 40_000) is not None]
    assert long == list(range(100, 30_000, 100))


def test_a_very_short_run_still_learns_between_updates() -> None:
    # 40 steps: 30 to update in; 30 // 21 would be every step. At least every other one learns.
    due = [t for t in range(40) if regrow("gradient").share(t, 40) is not None]
    assert due == list(range(2, 30, 2))


# --- what goes and what comes


def test_what_was_just_dropped_may_be_grown_again() -> None:
    # Card rigl (f): alive .5 -.1 .9 .05; half of 4 is 2: drop places 1 and 3. The gradients .9
    # and .8 stand exactly there, so both come back and the mask is what it was.
    weight = torch.tensor([0.5, -0.1, 0.9, 0.05, 0, 0, 0, 0])
    mask = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
    gradient = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.3, -0.7, 0.05, 0])
    kept = drop_smallest(weight, mask, 2)
    assert kept.tolist() == [True, False, True, False, False, False, False, False]
    assert torch.equal(grow_highest(kept, gradient.abs(), 2), mask)


def test_the_largest_gradients_grow() -> None:
    # As above with small gradients at the dropped places: -.7 (5) and .3 (4) win.
    kept = torch.tensor([1, 0, 1, 0, 0, 0, 0, 0]).bool()
    gradient = torch.tensor([0.1, 0.01, 0.2, 0.02, 0.3, -0.7, 0.05, 0])
    new = grow_highest(kept, gradient.abs(), 2)
    assert new.tolist() == [True, False, True, False, True, True, False, False]


def test_dormant_weights_are_never_kept() -> None:
    # A masked entry may hold an optimiser's leftovers; the alive zero is still the one that stays.
    weight = torch.tensor([0.0, 5.0, 0.1])
    mask = torch.tensor([True, False, True])
    assert drop_smallest(weight, mask, 0).tolist() == [True, False, True]
    assert drop_smallest(weight, mask, 1).tolist() == [False, False, True]


def test_a_regrown_weight_keeps_its_value_and_momentum() -> None:
    class Push:
        """Makes the gradient largest at what will be dropped."""

        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_BACKWARD and loop.step == 1:
                for name, mask in loop.masks.items():
                    parameter = loop.parameters[name]
                    gone = mask & ~drop_smallest(parameter, mask, -(-int(mask.sum()) // 2))
                    parameter.grad = gone.float() * 1e3

    state = loop(masks(), num_steps=4)
    before = Before()
    kept: dict[str, list[Tensor]] = {}

    class Momentum:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.BEFORE_LOSS and loop.step == 1:
                kept.update({n: [v.clone() for v in loop.optimizer_state(n)] for n in loop.masks})

    once = RegrowOnce("gradient", 0.5)
    once.share = lambda step, num_steps: 0.5 if step == 1 else None  # type: ignore[method-assign] # a later step, when momentum is there
    run(state, before, Momentum(), Push(), once, HardMasks(), steps=2)
    for name, mask in state.masks.items():
        assert torch.equal(mask, before.masks[name])
        assert torch.equal(state.parameters[name], before.weights[name])
        for now, then in zip(state.optimizer_state(name), kept[name], strict=True):
            assert torch.count_nonzero(then[mask]) > 0
            assert torch.equal(now, then)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("growth", ["gradient", "random"])
def test_layers_keep_their_counts_and_new_weights_start_at_zero(
    growth: str, optimizer: str
) -> None:
    hook, spy = regrow(growth), Spy()
    state = run(loop(masks(), num_steps=60, optimizer=optimizer), hook, HardMasks(), spy)
    assert spy.moved > 0
    assert hook.updates == len(range(2, 45, 2)) == state.log["mask_updates"]
    assert max(spy.changed_at) < 45
    assert all(t % 2 == 0 for t in spy.changed_at)


def test_growth_alone_leaves_the_output_as_it_was() -> None:
    # The weights an update drops are made zero before it, so that it only grows.
    state = loop(masks(), num_steps=6)
    inputs = split().inputs
    outputs: list[Tensor] = []
    before = Before()

    class Watch:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.BEFORE_LOSS and loop.step == 2:
                with torch.no_grad():
                    for name, mask in loop.masks.items():
                        keep = drop_smallest(loop.parameters[name], mask, int(mask.sum()) // 2)
                        loop.parameters[name].mul_(keep)
                outputs.append(loop.model(inputs))
            elif event is Event.AFTER_STEP and loop.step == 3:
                outputs.append(loop.model(inputs))

    hook = regrow("gradient", decay="constant", end=0.5, least_updates=1)
    hook.interval = 2
    run(state, before, Watch(), hook, HardMasks(), steps=3)
    assert hook.updates == 1
    assert any(not torch.equal(m, before.masks[n]) for n, m in state.masks.items())
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("growth", ["gradient", "random", "momentum"])
def test_an_update_moves_its_share_of_each_layer(growth: str) -> None:
    # Twenty and eight alive. The first update of 60 steps is at 2 of 45:
    # .25 (1 + cos(2 pi / 45)) = .49757, of 20 it is 9.95 and of 8 it is 3.98: 9 and 3 whole ones.
    alive = {"0.weight": torch.arange(48) < 20, "2.weight": torch.arange(16) < 8}
    shapes = {"0.weight": (8, 6), "2.weight": (2, 8)}
    state = loop({n: m.reshape(shapes[n]) for n, m in alive.items()}, num_steps=60)
    hook, seen = regrow(growth), []
    counts = hook.growth.counts

    def spy(loop: LoopState, kept: Any, gone: dict[str, int]) -> dict[str, int]:
        seen.append((loop.step, gone, {n: int(m.sum()) for n, m in kept.items()}))
        return counts(loop, kept, gone)

    hook.growth.counts = spy  # type: ignore[method-assign] # looks on, changes nothing
    run(state, hook, HardMasks(), steps=4)
    at = 2 if growth == "gradient" else 3  # in place of step 2, or after it
    gone, kept = {"0.weight": 9, "2.weight": 3}, {"0.weight": 11, "2.weight": 5}
    assert seen == [(at, gone, kept)]


class SkipAt:
    """Cancels the steps that a hook would update at, and does nothing else."""

    def __init__(self, hook: Regrow) -> None:
        self.hook = hook

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_BACKWARD:
            loop.skip_step = self.hook.share(loop.step, loop.num_steps) is not None


def same(one: LoopState, other: LoopState) -> None:
    for name, value in one.parameters.items():
        assert torch.equal(value, other.parameters[name])
    for name, mask in one.masks.items():
        assert torch.equal(mask, other.masks[name])


def test_gradient_growth_of_nothing_is_static_training_less_the_steps_it_replaces() -> None:
    hook = regrow("gradient", drop_fraction=0.0)
    moved = run(loop(masks(), num_steps=60), hook, HardMasks())
    still = run(loop(masks(), num_steps=60), SkipAt(hook), HardMasks())
    assert hook.updates > 20
    same(moved, still)


@pytest.mark.parametrize("growth", ["random", "momentum"])
def test_other_growth_of_nothing_is_static_training(growth: str) -> None:
    hook = regrow(growth, drop_fraction=0.0)
    moved = run(loop(masks(), num_steps=60), hook, HardMasks())
    assert hook.updates > 20
    same(moved, run(loop(masks(), num_steps=60), HardMasks()))


def test_a_dense_layer_stays_dense() -> None:
    given = masks()
    given["2.weight"] = torch.ones(2, 8, dtype=torch.bool)
    for growth in ("gradient", "random", "momentum"):
        state = run(
            loop({n: m.clone() for n, m in given.items()}, num_steps=60),
            regrow(growth),
            HardMasks(),
        )
        assert state.masks["2.weight"].all()
        assert not torch.equal(state.masks["0.weight"], given["0.weight"])


def test_random_growth_favours_no_entry() -> None:
    # One of ten free places, 4,000 draws: 400 each; a sigma is sqrt(4000 * .1 * .9) = 19.
    state = loop({"0.weight": torch.zeros(8, 6, dtype=torch.bool)})
    kept = torch.ones(48, dtype=torch.bool)
    kept[:10] = False
    kept = kept.reshape(8, 6)
    growth, hits = RandomGrowth(), torch.zeros(8, 6)
    for step in range(4000):
        state.step = step
        hits += grow_highest(kept, growth.wishes(state, "0.weight"), 1) & ~kept
    assert hits.sum() == 4000
    assert bool((hits.flatten()[:10] - 400).abs().max() < 5 * 19)


def test_random_growth_draws_the_same_again() -> None:
    runs = [run(loop(masks(), num_steps=60), regrow("random"), HardMasks()) for _ in range(2)]
    same(*runs)


# --- sparse momentum


def test_momentum_is_the_running_mean_of_dense_gradients() -> None:
    # From 0 with .9: after gradients 1 and 2 it is .9 * .1 + .1 * 2 = .29.
    state = loop({"0.weight": torch.zeros(8, 6, dtype=torch.bool)})
    growth = MomentumGrowth(0.9)
    for value in (1.0, -2.0):
        state.parameters["0.weight"].grad = torch.full((8, 6), value)
        growth.observe(state, due=False)
    # .1 * 1 = .1, then .09 - .2 = -.11; what counts is its magnitude.
    assert torch.allclose(growth.wishes(state, "0.weight"), torch.full((8, 6), 0.11))


def test_momentum_moves_weights_between_layers_and_keeps_the_total() -> None:
    hook, spy = regrow("momentum"), Spy(layers=False)
    given = masks()
    state = run(
        loop({n: m.clone() for n, m in given.items()}, num_steps=60), hook, HardMasks(), spy
    )
    assert spy.moved > 0
    counts = {n: int(m.sum()) for n, m in state.masks.items()}
    assert sum(counts.values()) == sum(int(m.sum()) for m in given.values())
    assert counts != {n: int(m.sum()) for n, m in given.items()}
    assert max(spy.changed_at) < 45


# --- what it costs


@pytest.mark.parametrize(
    ("growth", "dense_steps"), [("gradient", 7), ("random", 0), ("momentum", 20)]
)
def test_only_steps_that_need_the_dense_gradient_pay_for_it(growth: str, dense_steps: int) -> None:
    # 20 steps of 8 images, f_D = 100 + 40 = 140 per image; the masks keep a quarter of the first
    # layer and a half of the second throughout: f_S = 25 + 20 = 45. Updates at 2, 4, ..., 14: 7.
    # A step costs 3 * 45 = 135 per image, or 2 * 45 + 140 = 230 with the dense gradient.
    first = torch.zeros(8, 6, dtype=torch.bool)
    first[:2] = True
    second = torch.zeros(2, 8, dtype=torch.bool)
    second[0] = True
    state = loop({"0.weight": first, "2.weight": second}, num_steps=20)
    state.layer_macs = {"0.weight": 100, "2.weight": 40}
    hook, cost = regrow(growth, drop_fraction=0.0), RecordCost()
    run(state, hook, HardMasks(), cost, steps=20)
    assert hook.updates == 7
    assert cost.macs == 8 * ((20 - dense_steps) * 135 + dense_steps * 230)


def test_the_paper_s_training_cost_of_sparse_momentum() -> None:
    # Card rigl (c): f_S / f_D = .42 makes (2 * .42 + 1) / 3 = .6133 of dense training.
    mask = torch.zeros(100, dtype=torch.bool)
    mask[:42] = True
    cost, state = RecordCost(), loop({"0.weight": mask}, num_steps=1)
    state.layer_macs = {"0.weight": 1000}
    state.targets = torch.zeros(1)
    cost.on(Event.BEFORE_LOSS, state)
    MomentumGrowth().observe(state, due=False)
    cost.on(Event.AFTER_STEP, state)
    assert cost.macs / 3000 == pytest.approx(0.6133, abs=1e-4)


# --- once


def test_a_single_move_comes_first_and_rounds_up() -> None:
    # 19 and 7 alive or so; .3 of n rounded up is what goes, at most, in each layer.
    hook, spy = RegrowOnce("gradient", 0.3), Spy()
    given = masks()
    state = run(loop({n: m.clone() for n, m in given.items()}), hook, HardMasks(), spy, steps=20)
    assert spy.changed_at == [0]
    assert "mask_updates" not in state.log
    for name, mask in state.masks.items():
        assert int((given[name] & ~mask).sum()) <= -(-3 * int(given[name].sum()) // 10)


@pytest.mark.parametrize(("alive", "count"), [(10, 3), (11, 4), (20, 6), (1, 1)])
def test_rounding_up_ignores_the_noise_of_a_product(alive: int, count: int) -> None:
    # .3 * 10 = 3 is 3, though .3 has no exact form in binary; .3 * 11 = 3.3 is 4.
    assert RegrowOnce("gradient", 0.3).moved(0.3, alive) == count
