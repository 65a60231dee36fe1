from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.errors import ConfigError
from autoprune.core.seeds import torch_stream
from autoprune.methods.movement import MovementHook, MovementParams, _ranked
from autoprune.stages.train import HookSpec
from autoprune.training.events import Event
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, plan, state
from tests.training.support import loop, split


def test_the_ramp_is_cubic_and_dormant_weights_come_back(digits_context: WorkerContext) -> None:
    # 51 steps, the ramp from .1 to .7 in 20 updates; after step t, u = int(20 (t/51 - .1) / .6)
    # updates are due and S (1 - (1 - u/20)^3) of the weights are gone.
    (last,) = plan(job("movement", sparsity=0.8, score_lr=0.05))
    spy = HookSpec("tests.methods.support:CountKept")
    found = state(replace(last, hooks=(*last.hooks, spy)), digits_context)  # type: ignore[attr-defined,call-arg]
    counts = found.tensors["kept"].tolist()
    assert len(counts) == 51
    for step, count in enumerate(counts, start=1):
        due = int(min(1.0, max(0.0, (step / 51 - 0.1) / (0.7 - 0.1))) * 20)
        gone = 0.8 * (1 - (1 - due / 20) ** 3)
        assert count == TOTAL - round(gone * TOTAL), step
    assert found.tensors["revived"].item() > 0


def test_the_end_is_hard(digits_context: WorkerContext) -> None:
    (last,) = plan(job("movement", sparsity=0.95))
    found = state(last, digits_context)
    assert kept(found) == TOTAL - round(0.95 * TOTAL)
    for name, mask in found.masks.items():
        assert torch.count_nonzero(found.weights[name][~mask]) == 0


def test_scores_grow_for_weights_that_move_away_from_zero() -> None:
    # S -= eta * dL/dw * w: w = 2 with gradient -3 moves up, away from zero: + .1 * 6 = .6;
    # w = -1 with gradient -3 moves towards zero: - .1 * 3 = -.3.
    state = loop({"0.weight": torch.ones(8, 6, dtype=torch.bool)})
    weight = state.parameters["0.weight"]
    with torch.no_grad():
        weight.fill_(2.0)
        weight[0, 0] = -1.0
    hook = MovementHook(0.5, "uniform", score_lr=0.1, begin=0.1, end=0.7, schedule="cubic")
    hook.on(Event.FIT_START, state)
    weight.grad = torch.full_like(weight, -3.0)
    hook.on(Event.AFTER_BACKWARD, state)
    assert hook.scores["0.weight"][0, 0].item() == pytest.approx(-0.3)
    assert hook.scores["0.weight"][1, 1].item() == pytest.approx(0.6)


def test_the_score_gradient_reaches_masked_weights() -> None:
    # Moving a score by e along the straight-through identity moves w~ by e * w, masked or not:
    # compare with a difference quotient of the loss in w~.
    shape = {"0.weight": (8, 6), "2.weight": (2, 8)}
    masks = {n: torch.rand(s, generator=torch_stream(0, n)) < 0.5 for n, s in shape.items()}
    state = loop(masks)
    data = split()
    hook = MovementHook(0.5, "uniform", score_lr=0.1, begin=0.1, end=0.7, schedule="cubic")
    hook.on(Event.FIT_START, state)
    weight, name = state.parameters["0.weight"], "0.weight"

    def loss() -> torch.Tensor:
        return state.loss_fn(state.model(data.inputs), data.targets)

    (weight.grad,) = torch.autograd.grad(loss(), weight)
    masked = (~masks[name]).nonzero()[:3].tolist()
    assert len(masked) == 3
    quotients = []
    for row, column in masked:
        ends = []
        for shift in (1e-2, -1e-2):
            with torch.no_grad():
                weight[row, column] = shift
                ends.append(loss().item())
                weight[row, column] = 0.0
        quotients.append((ends[0] - ends[1]) / 2e-2)
    hook.on(Event.AFTER_BACKWARD, state)
    for (row, column), quotient in zip(masked, quotients, strict=True):
        expected = -0.1 * quotient * hook.latent.values[name][row, column].item()
        # float32 losses around .7 over a distance of .02.
        assert hook.scores[name][row, column].item() == pytest.approx(expected, abs=2e-6)
        assert weight.grad[row, column] == 0


def soft(penalty: float = 0.0, sparsity: float = 0.5) -> MovementHook:
    return MovementHook(sparsity, "global", 0.1, 0.1, 0.7, "cubic", "soft", penalty)


def test_the_soft_form_has_one_threshold_and_spares_every_layer() -> None:
    # 64 weights, half to go. All scores of the second layer are below those of the first, so it
    # keeps only 0.5 % of its 16, rounded up: one, the best; the first keeps its best 31.
    state = loop({n: torch.ones(s).bool() for n, s in (("0.weight", (8, 6)), ("2.weight", (2, 8)))})
    hook = soft()
    hook.on(Event.FIT_START, state)
    hook.scores["0.weight"].copy_(torch.arange(48.0).view(8, 6))
    hook.scores["2.weight"].copy_(torch.arange(-16.0, 0.0).view(2, 8))
    hook.done = 20
    hook.update(state)
    assert state.masks["0.weight"].flatten().nonzero().flatten().tolist() == list(range(17, 48))
    assert state.masks["2.weight"].flatten().nonzero().flatten().tolist() == [15]


def test_the_penalty_pushes_scores_down_and_rises_with_the_threshold() -> None:
    # The loss gains lambda_t * mean(sigmoid(S)). At S = 0 its gradient is lambda_t / 4 / 64, at
    # S = 2, sigmoid .880797, it is lambda_t * .104994 / 64. After 10 of 20 updates the cubic is at
    # 7/8: lambda_t = 350 of 400; with a rate of .1 that is .136719 and .057418.
    state = loop({n: torch.ones(s).bool() for n, s in (("0.weight", (8, 6)), ("2.weight", (2, 8)))})
    hook = soft(penalty=400.0)
    hook.on(Event.FIT_START, state)
    hook.push_down()
    assert torch.count_nonzero(hook.scores["2.weight"]) == 0  # there is no threshold yet
    hook.done = 10
    hook.scores["0.weight"][0, 0] = 2.0
    hook.push_down()
    assert hook.scores["2.weight"][0, 0].item() == pytest.approx(-0.136719, abs=1e-6)
    assert hook.scores["0.weight"][0, 0].item() == pytest.approx(2 - 0.057418, abs=1e-5)
    assert soft(penalty=400.0, sparsity=0.0).share_of_target() == 0.0


def test_the_hard_form_has_no_penalty() -> None:
    state = loop({"0.weight": torch.ones(8, 6, dtype=torch.bool)})
    hook = MovementHook(0.5, "uniform", 0.1, 0.1, 0.7, "cubic", "hard", 400.0)
    hook.on(Event.FIT_START, state)
    hook.done = 10
    hook.accumulate(state)
    assert torch.count_nonzero(hook.scores["0.weight"]) == 0


def test_the_form_brings_its_allocation() -> None:
    assert MovementParams().allocation == "uniform"
    assert MovementParams(form="soft").allocation == "global"
    assert job("movement", form="soft").config.params["allocation"] == "global"
    assert job("movement", form="soft", allocation="erk").config.params["allocation"] == "erk"
    with pytest.raises(ConfigError, match=r"movement\.form must be 'hard' or 'soft'"):
        job("movement", form="medium")


def test_the_soft_form_meets_the_target(digits_context: WorkerContext) -> None:
    found = state(plan(job("movement", sparsity=0.95, form="soft"))[-1], digits_context)
    assert kept(found) == TOTAL - round(0.95 * TOTAL)
    for name, mask in found.masks.items():
        assert int(mask.sum()) >= 0.005 * mask.numel()
        assert torch.count_nonzero(found.weights[name][~mask]) == 0


def test_ties_go_by_magnitude() -> None:
    zero = torch.zeros(3)
    weight = torch.tensor([-3.0, 1.0, 2.0])
    assert _ranked(zero, weight, 0.0).argsort().tolist() == [1, 2, 0]
    scores = torch.tensor([0.5, 0.5, 0.6])
    assert _ranked(scores, torch.tensor([2.0, 1.0, 0.0]), 0.6).argsort().tolist() == [1, 0, 2]
    # A layer without any score, beside one with some, does not rank above it by its magnitudes.
    assert _ranked(zero, weight, 0.6).max() < 1e-9


def test_a_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.movement\.end must be above begin \(0\.5\)"):
        job("movement", begin=0.5, end=0.5)
