from __future__ import annotations

import math

import pytest
import torch

from autoprune.training.events import Event, LoopState
from autoprune.training.loop import fit
from tests.training.support import loop, net, split


def constant(progress: float) -> float:
    return 0.1


def run(state: LoopState, stop: int, hooks: list[object] | None = None, **more: object) -> bool:
    lr = more.pop("lr", constant)
    return fit(state, split(), lr, hooks or [], batch_size=8, stop=stop, label="t", **more)  # type: ignore[arg-type]


class Watch:
    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on(self, event: Event, loop: LoopState) -> None:
        self.events.append((event.name, loop.step))


def test_events_come_in_the_documented_order() -> None:
    watch = Watch()
    run(loop(num_steps=6), 6, [watch])
    names = [name for name, _ in watch.events]
    step = ["BEFORE_LOSS", "AFTER_BACKWARD", "AFTER_STEP"]
    assert names == ["FIT_START", "EPOCH_START", *step * 5, "EPOCH_START", *step, "FIT_END"]
    assert [s for n, s in watch.events if n == "AFTER_STEP"] == [1, 2, 3, 4, 5, 6]


def test_the_schedule_sees_step_over_steps() -> None:
    seen: list[float] = []

    def schedule(progress: float) -> float:
        seen.append(progress)
        return 0.1

    run(loop(num_steps=8), 8, lr=schedule)
    assert seen == [j / 8 for j in range(8)]


def test_parts_equal_the_whole() -> None:
    whole, parts = loop(num_steps=20), loop(num_steps=20)
    run(whole, 20)
    for stop in (3, 5, 11, 20):  # inside an epoch, at its end, and over several
        run(parts, stop)
        assert parts.step == stop
    for name, value in whole.parameters.items():
        assert torch.equal(value, parts.parameters[name])


def test_twenty_steps_reach_the_recorded_losses() -> None:
    # Golden: the loss of plain SGD worked out by a loop of its own, without ours.
    model, data = net(), split()
    params = list(model.parameters())
    buffers = [torch.zeros_like(p) for p in params]
    from autoprune.core.seeds import torch_stream

    expected = []
    for epoch in range(4):
        order = torch.randperm(40, generator=torch_stream(0, "t", epoch))
        for part in order.split(8):
            loss = torch.nn.functional.cross_entropy(model(data.inputs[part]), data.targets[part])
            grads = torch.autograd.grad(loss, params)
            expected.append(loss.item())
            with torch.no_grad():
                for p, g, b in zip(params, grads, buffers, strict=True):
                    decayed = g + 0.01 * p if p.dim() > 1 else g
                    b.mul_(0.9).add_(decayed)
                    p.sub_(0.1 * (decayed + 0.9 * b))

    class Losses:
        def __init__(self) -> None:
            self.values: list[float] = []

        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_STEP:
                self.values.append(loop.loss.item())

    losses = Losses()
    run(loop(num_steps=20), 20, [losses])
    assert losses.values == pytest.approx(expected, abs=1e-5)


def test_a_hook_may_cancel_the_step() -> None:
    class Cancel:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_BACKWARD:
                loop.skip_step = True

    state = loop()
    before = {n: p.detach().clone() for n, p in state.parameters.items()}
    run(state, 5, [Cancel()])
    assert all(torch.equal(before[n], p) for n, p in state.parameters.items())
    assert state.step == 5


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    state = loop(num_steps=50)
    assert not run(state, 50, lr=lambda progress: math.inf)
    assert state.step == 5  # at the end of its epoch, not after all ten


@pytest.mark.parametrize("ending", ["all steps", "divergence", "exception"])
def test_what_a_hook_wants_undone_is_undone_however_the_fit_ends(ending: str) -> None:
    undone: list[str] = []

    class Change:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.FIT_START:
                loop.undo.callback(undone.append, ending)
            elif event is Event.AFTER_STEP:
                assert undone == []
                if ending == "exception":
                    raise ZeroDivisionError

    state = loop(num_steps=10)
    if ending == "exception":
        with pytest.raises(ZeroDivisionError):
            run(state, 10, [Change()])
    else:
        run(state, 10, [Change()], lr=lambda _: math.inf if ending == "divergence" else 0.1)
    assert undone == [ending]
