from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.errors import ConfigError
from autoprune.methods.movement import MovementHook, _ranked
from autoprune.stages.train import HookSpec
from autoprune.training.events import Event
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, plan, state
from tests.training.support import loop


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


def test_ties_go_by_magnitude() -> None:
    zero = torch.zeros(3)
    assert _ranked(zero, torch.tensor([-3.0, 1.0, 2.0])).argsort().tolist() == [1, 2, 0]
    scores = torch.tensor([0.5, 0.5, 0.6])
    assert _ranked(scores, torch.tensor([2.0, 1.0, 0.0])).argsort().tolist() == [1, 0, 2]


def test_a_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.movement\.end must be above begin \(0\.5\)"):
        job("movement", begin=0.5, end=0.5)
