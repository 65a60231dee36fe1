from __future__ import annotations

import pytest
import torch

from autoprune.core.seeds import torch_stream
from autoprune.training.events import Event, LoopState
from autoprune.training.hooks.masks import HardMasks, LatentMasks
from autoprune.training.loop import fit
from tests.training.support import loop, split

NAMES = ("0.weight", "2.weight")


def masks() -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (8, 6), "2.weight": (2, 8)}
    generator = torch_stream(0, "mask")
    return {n: torch.rand(shapes[n], generator=generator) < 0.3 for n in NAMES}


class After:
    """Runs a check after every step, once the hooks before it have run."""

    def __init__(self, check: object) -> None:
        self.check, self.calls = check, 0

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_STEP:
            self.check(loop)  # type: ignore[operator]
            self.calls += 1


def zeros_hold(state: LoopState) -> None:
    for name, mask in state.masks.items():
        assert torch.count_nonzero(state.parameters[name][~mask]) == 0
        for tensor in state.optimizer_state(name):
            assert torch.count_nonzero(tensor[~mask]) == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_hard_masks_hold_after_every_step(optimizer: str) -> None:
    state = loop(masks(), optimizer=optimizer)
    check = After(zeros_hold)
    fit(state, split(), lambda p: 0.1, [HardMasks(), check], batch_size=8, stop=20, label="t")
    assert check.calls == 20
    assert any(state.optimizer_state(n) for n in NAMES)
    assert all(torch.count_nonzero(state.parameters[n]) > 0 for n in NAMES)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_buffers_that_come_late_are_masked_too(optimizer: str) -> None:
    state = loop(masks(), optimizer=optimizer)

    class Late:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_BACKWARD:
                loop.skip_step = loop.step < 3

    check = After(zeros_hold)
    hooks = [Late(), HardMasks(), check]
    fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=12, label="t")
    assert check.calls == 12
    assert all(state.optimizer_state(n) for n in NAMES)


def test_a_moved_mask_takes_effect_at_once() -> None:
    state = loop(masks())

    class Flip:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_BACKWARD and loop.step == 7:
                for mask in loop.masks.values():
                    mask.copy_(~mask)
                loop.masks_changed()

    check = After(zeros_hold)
    hooks = [Flip(), HardMasks(), check]
    fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=12, label="t")
    assert check.calls == 12


def test_latent_weights_live_on_and_end_hard() -> None:
    state = loop(masks())
    start = {n: state.parameters[n].detach().clone() for n in NAMES}
    latent = LatentMasks(mask_gradients=True)
    check = After(lambda s: [zero_weights(s)])
    hooks = [latent, check]
    fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=15, label="t")
    for name in NAMES:
        mask = state.masks[name]
        decayed = start[name][~mask]
        assert torch.count_nonzero(latent.values[name][~mask]) == decayed.numel()
        # No gradient reaches a dormant weight, so only decay has shrunk it.
        assert bool((latent.values[name][~mask].abs() <= decayed.abs()).all())
    zero_weights(state)


def zero_weights(state: LoopState) -> None:
    for name, mask in state.masks.items():
        assert torch.count_nonzero(state.parameters[name][~mask]) == 0


def test_straight_through_moves_dormant_weights() -> None:
    state = loop(masks())
    start = {n: state.parameters[n].detach().clone() for n in NAMES}
    latent = LatentMasks(mask_gradients=False)
    fit(state, split(), lambda p: 0.1, [latent], batch_size=8, stop=15, label="t")
    moved = [(latent.values[n] - start[n])[~state.masks[n]].abs().max().item() for n in NAMES]
    assert max(moved) > 0.01
