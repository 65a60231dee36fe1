from __future__ import annotations

import pytest
import torch

from autoprune.core.seeds import torch_stream
from autoprune.methods.rigl import RigLHook, drop_and_grow, drop_share
from autoprune.training.events import Event, LoopState
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.loop import fit
from tests.training.support import loop, split


def test_drop_share_follows_the_cosine() -> None:
    # alpha / 2 (1 + cos(pi t / T_end)); the middle value is the card's, at t = T_end / 4.
    assert drop_share(0, 75000, 0.3) == pytest.approx(0.3)
    assert drop_share(37500, 75000, 0.3) == pytest.approx(0.15)
    assert drop_share(75000, 75000, 0.3) == pytest.approx(0.0)
    assert drop_share(18750, 75000, 0.3) == pytest.approx(0.256066, abs=1e-6)


def test_what_was_just_dropped_may_be_grown_again() -> None:
    # Alive: .5 -.1 .9 .05; half of 4 is 2: drop -.1 and .05 (places 1 and 3). Gradients .9 and .8
    # stand exactly there, so both come back and the mask is what it was.
    weight = torch.tensor([0.5, -0.1, 0.9, 0.05, 0, 0, 0, 0])
    mask = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
    gradient = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.3, -0.7, 0.05, 0])
    assert torch.equal(drop_and_grow(weight, mask, gradient, 2), mask)


def test_the_largest_gradients_grow() -> None:
    # As above with small gradients at the dropped places: -.7 (5) and .3 (4) win.
    weight = torch.tensor([0.5, -0.1, 0.9, 0.05, 0, 0, 0, 0])
    mask = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
    gradient = torch.tensor([0.1, 0.01, 0.2, 0.02, 0.3, -0.7, 0.05, 0])
    new = drop_and_grow(weight, mask, gradient, 2)
    assert new.tolist() == [True, False, True, False, True, True, False, False]


def masks() -> dict[str, torch.Tensor]:
    generator = torch_stream(0, "mask")
    return {
        "0.weight": torch.rand(8, 6, generator=generator) < 0.4,
        "2.weight": torch.rand(2, 8, generator=generator) < 0.4,
    }


class Spy:
    """Checks each update: counts constant, grown weights and their momentum zero."""

    def __init__(self) -> None:
        self.before: dict[str, torch.Tensor] = {}
        self.moved = 0

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.BEFORE_LOSS:
            self.before = {n: m.clone() for n, m in loop.masks.items()}
        elif event is Event.AFTER_STEP:
            for name, mask in loop.masks.items():
                old = self.before[name]
                assert mask.sum() == old.sum()
                grown = mask & ~old
                assert grown.sum() == (old & ~mask).sum()
                for tensor in (loop.parameters[name], *loop.optimizer_state(name)):
                    assert torch.count_nonzero(tensor[grown]) == 0
                    assert torch.count_nonzero(tensor[~mask]) == 0
                self.moved += int(grown.sum())


def test_updates_keep_the_count_and_start_grown_weights_at_zero() -> None:
    state, spy = loop(masks(), num_steps=60), Spy()
    hook = RigLHook(drop_fraction=0.5, end=0.75, interval=100)
    hooks = [hook, HardMasks(), spy]
    fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=60, label="t")
    assert spy.moved > 0
    assert hook.updates >= 20


def test_the_topology_is_frozen_after_the_end() -> None:
    hook = RigLHook(drop_fraction=0.5, end=0.75, interval=100)
    due = [t for t in range(400) if hook.due(t, 400)]
    assert max(due) < 300
    assert len(due) >= 19  # at 300 / 20 = every 15 steps, the first at 15
    long = [t for t in range(40000) if hook.due(t, 40000)]
    assert long[:3] == [100, 200, 300]
