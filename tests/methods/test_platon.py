from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autoprune.core.errors import ConfigError
from autoprune.methods.platon import PlatonHook, UpperConfidence, _zeros_last
from autoprune.pruning.schedules.plateau_cubic import sparsity_at
from autoprune.pruning.selection import select_weights
from autoprune.stages.train import HookSpec
from autoprune.training.events import Event, LoopState
from autoprune.training.loop import fit
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, plan, state
from tests.training.support import loop, split

ONE = torch.ones(1)


def trace(samples: list[float], beta1: float = 0.85, beta2: float = 0.95) -> list[list[float]]:
    """Feed one weight a window of one step at a time; return mean, uncertainty and score."""
    statistics = UpperConfidence([ONE], beta1, beta2)
    rows = []
    for sample in samples:
        statistics.add([ONE], [torch.tensor([-sample])])
        statistics.close()
        rows.append(
            [
                statistics.mean[0].item(),
                statistics.uncertainty[0].item(),
                statistics.scores()[0].item(),
            ]
        )
    return rows


def test_the_cards_trace() -> None:
    # I = .85 I + .15 J; U = .95 U + .05 |J - I| with the new I; s = I U. For J = 1, 0, 2:
    # I = .15, .85 * .15 = .1275, .85 * .1275 + .3 = .408375;
    # U = .05 * .85 = .0425, .040375 + .05 * .1275 = .04675, .0444125 + .05 * 1.591625 = .12399375.
    rows = trace([1.0, 0.0, 2.0])
    assert [row[0] for row in rows] == pytest.approx([0.15, 0.1275, 0.408375])
    assert [row[1] for row in rows] == pytest.approx([0.0425, 0.04675, 0.12399375])
    assert [row[2] for row in rows] == pytest.approx([0.006375, 0.005960625, 0.05063595], rel=1e-6)


def test_a_constant_sensitivity_fills_the_mean_without_correction() -> None:
    # I after n windows of c is c (1 - .85^n).
    rows = trace([3.0] * 6)
    assert [row[0] for row in rows] == pytest.approx([3 * (1 - 0.85**n) for n in range(1, 7)])
    assert all(value >= 0 for row in rows for value in row)


def test_the_ablations() -> None:
    # beta2 1: the score is I; beta2 0: U is the last window's distance, .85, .1275 and 1.591625.
    assert [row[2] for row in trace([1.0, 0.0, 2.0], beta2=1.0)] == pytest.approx(
        [0.15, 0.1275, 0.408375]
    )
    assert [row[1] for row in trace([1.0, 0.0, 2.0], beta2=0.0)] == pytest.approx(
        [0.85, 0.1275, 1.591625]
    )
    # beta1 0 and beta2 1: the last window's sensitivity.
    assert [row[2] for row in trace([1.0, 0.0, 2.0], 0.0, 1.0)] == pytest.approx([1, 0, 2])


def test_a_window_is_the_mean_of_its_own_samples() -> None:
    # |2 * -1|, |2 * 3| and |2 * 2|: mean 4, so I = .6; a phantom zero would make it 3.
    statistics = UpperConfidence([ONE], 0.85, 0.95)
    for gradient in (-1.0, 3.0, 2.0):
        statistics.add([2 * ONE], [gradient * ONE])
    statistics.close()
    assert statistics.mean[0].item() == pytest.approx(0.6)
    statistics.add([ONE], [ONE])  # the next window starts empty: I = .85 * .6 + .15
    statistics.close()
    assert statistics.mean[0].item() == pytest.approx(0.66)


def test_the_loss_scale_multiplies_scores_by_its_square() -> None:
    gradients = [torch.tensor([0.3, -2.0, 0.01]), torch.tensor([1.0, 0.5, 0.02])]
    found = []
    for scale in (1.0, 8.0):
        statistics = UpperConfidence([torch.ones(3)], 0.85, 0.95)
        for gradient in gradients:
            statistics.add([torch.ones(3)], [scale * gradient])
            statistics.close()
        found.append(statistics.scores()[0])
    assert torch.allclose(found[1], 64 * found[0])


def test_tiny_scores_do_not_vanish() -> None:
    # .15e-25 * .0425e-25 is below float32's smallest number.
    assert trace([1e-25])[0][2] == pytest.approx(0.006375e-50, rel=1e-5)


def test_scores_of_zero_go_first_and_the_weights_at_zero_before_them() -> None:
    # Order: the scored 1e-9; then by |w| .5, .2; then the weight that is 0.
    score = torch.tensor([0.0, 1e-9, 0.0, 0.0], dtype=torch.float64)
    weight = torch.tensor([0.2, 0.1, 0.0, -0.5])
    ranked = _zeros_last(score, weight)
    assert ranked.argsort(descending=True).tolist() == [1, 3, 0, 2]
    assert ranked[1] == score[1]
    assert select_weights({"w": ranked}, {"w": weight}, "global", 0.25)["w"].tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_the_remaining_ratio_has_two_plateaus() -> None:
    # r = .1 + .9 (1 - x)^3 between .055 and .725: half-way, at .39, it is .1 + .9 / 8 = .2125.
    ratios = [1 - sparsity_at(progress, 0.9) for progress in (0.0, 0.055, 0.39, 0.725, 1.0)]
    assert ratios == pytest.approx([1, 1, 0.2125, 0.1, 0.1])


def dense() -> dict[str, Tensor]:
    return {
        "0.weight": torch.ones(8, 6, dtype=torch.bool),
        "2.weight": torch.ones(2, 8, dtype=torch.bool),
    }


def hook(sparsity: float = 0.75, schedule: str = "plateau_cubic", windows: int = 10) -> PlatonHook:
    return PlatonHook(sparsity, "global", 0.85, 0.95, windows, schedule)


class Spy:
    """Counts zeros and kept weights after every step, and looks at the window after a backward."""

    def __init__(self, watched: PlatonHook) -> None:
        self.watched = watched
        self.zeros: list[int] = []
        self.kept: list[int] = []
        self.masks: list[Tensor] = []
        self.momenta: list[int] = []

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_BACKWARD and self.watched.statistics.samples == 1:
            for name, found in zip(loop.masks, self.watched.statistics.window, strict=True):
                parameter = loop.parameters[name]
                assert parameter.grad is not None
                assert torch.equal(found, (parameter.detach() * parameter.grad).abs())
        if event is Event.AFTER_STEP:
            weights = [loop.parameters[name] for name in loop.masks]
            self.zeros.append(sum(int((w == 0).sum()) for w in weights))
            self.kept.append(sum(int(m.sum()) for m in loop.masks.values()))
            self.masks.append(torch.cat([m.flatten() for m in loop.masks.values()]).clone())
            momenta = [t for name in loop.masks for t in loop.optimizer_state(name)]
            self.momenta.append(sum(int((t == 0).sum()) for t in momenta))


def test_weights_come_back_between_updates_until_the_ramp_ends() -> None:
    # 100 steps in 10 windows: updates after 10, 20, ... 80, the first one with the target at 80,
    # as the ramp ends at 72.5. 64 weights: 64 - round(64 S) stay, S = .75 (1 - (1 - x)^3).
    watched = hook()
    spy, state = Spy(watched), loop(dense(), num_steps=100)
    fit(state, split(), lambda p: 0.05, [watched, spy], batch_size=8, stop=100, label="t")
    for step in range(10, 80, 10):
        gone = round(64 * sparsity_at(step / 100, 0.75))
        assert spy.kept[step - 1] == 64 - gone
        assert spy.zeros[step - 1] == gone
        assert spy.zeros[step] == 0  # one step later all of them have moved
        assert spy.kept[step] == 64  # and the masks say so
    assert spy.zeros[79:] == [48] * 21
    assert all(torch.equal(mask, spy.masks[79]) for mask in spy.masks[79:])
    assert all(count >= 48 for count in spy.momenta[79:])
    assert watched.updates == 8
    assert state.log["mask_updates"] == 8


def test_a_schedule_without_a_plateau_ends_on_the_target() -> None:
    # 37 steps in 10 windows of three: the last step ends one that is not full.
    watched, state = hook(schedule="cubic"), loop(dense(), num_steps=37)
    fit(state, split(), lambda p: 0.05, [watched], batch_size=8, stop=37, label="t")
    assert sum(int(m.sum()) for m in state.masks.values()) == 16
    assert all(int((state.parameters[n] != 0)[~m].sum()) == 0 for n, m in state.masks.items())


def test_windows_are_events() -> None:
    long, short = hook(windows=200), hook(windows=200)
    assert [t for t in range(1, 1001) if long.due(t, 1000)] == list(range(5, 1001, 5))
    assert all(short.due(t, 51) for t in range(1, 52))  # at most one a step


def test_scores_that_are_not_finite_rank_nothing() -> None:
    watched, state = hook(), loop(dense(), num_steps=10)
    watched.on(Event.FIT_START, state)
    watched.statistics.mean[0].fill_(torch.nan)
    state.step = 10
    watched.update(state)
    assert all(bool(m.all()) for m in state.masks.values())


def test_a_real_run_follows_the_schedule(digits_context: WorkerContext) -> None:
    # 51 steps, a window each; kept = N - round(S(t / 51) N) after step t.
    (last,) = plan(job("platon", sparsity=0.9))
    spy = HookSpec("tests.methods.support:CountKept")
    found = state(replace(last, hooks=(*last.hooks, spy)), digits_context)  # type: ignore[attr-defined,call-arg]
    counts = found.tensors["kept"].tolist()
    expected = [TOTAL - round(sparsity_at(t / 51, 0.9) * TOTAL) for t in range(1, 52)]
    assert counts == expected
    assert kept(found) == TOTAL - round(0.9 * TOTAL)


def test_a_mean_without_memory_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"trial\.platon\.beta1 must be above 0 unless beta2 is 1"
    ):
        job("platon", beta1=0.0)
    assert job("platon", beta1=0.0, beta2=1.0).config.params["beta1"] == 0.0
