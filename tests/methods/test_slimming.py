from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.core.config import OptimizerConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.seeds import global_stream
from autoprune.methods.base import METHODS
from autoprune.methods.slimming import ScalePenalty
from autoprune.training.events import Event, LoopState
from autoprune.training.loop import fit
from autoprune.training.recipes.optimizer import build_optimizer
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit
from tests.methods.normed import NORMED
from tests.methods.support import job, labelled, of_kind, plan, state
from tests.training.support import split


def net() -> nn.Module:
    with global_stream(0, "net"):
        return nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.BatchNorm1d(8, affine=False),
            nn.Linear(8, 2),
        )


def loop(scale: Tensor | None = None) -> LoopState:
    model = net()
    if scale is not None:
        model[1].weight.data.copy_(scale)  # type: ignore[index, union-attr] # a Sequential
    config = OptimizerConfig(momentum=0.0)
    return LoopState(
        model=model,
        optimizer=build_optimizer(model.named_parameters(), config),
        parameters=dict(model.named_parameters()),
        masks={},
        loss_fn=nn.functional.cross_entropy,
        seed=0,
        num_steps=40,
        steps_per_epoch=5,
    )


def test_the_penalty_s_subgradient_by_hand() -> None:
    scale = torch.tensor([2.0, -2.0, 0.0, 0.01, -0.01, 1.0, 1.0, 1.0])
    watched, loop_state = ScalePenalty(0.25), loop(scale)
    watched.on(Event.FIT_START, loop_state)
    for parameter in loop_state.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    watched.on(Event.AFTER_BACKWARD, loop_state)
    grads = {name: value.grad for name, value in loop_state.parameters.items()}
    # 1 + .25 sign(gamma)
    assert grads["1.weight"].tolist() == [1.25, 0.75, 1.0, 1.25, 0.75, 1.25, 1.25, 1.25]  # type: ignore[union-attr]
    for name, grad in grads.items():
        assert name == "1.weight" or bool((grad == 1).all()), name
    assert loop_state.parameters["1.weight"].tolist() == scale.tolist()


def test_a_norm_that_the_loss_does_not_reach_is_left_alone() -> None:
    watched, loop_state = ScalePenalty(0.25), loop()
    watched.on(Event.FIT_START, loop_state)
    watched.on(Event.AFTER_BACKWARD, loop_state)
    assert all(value.grad is None for value in loop_state.parameters.values())


def train(loop_state: LoopState, penalty: float, stop: int) -> list[float]:
    hooks = [ScalePenalty(penalty)]
    fit(loop_state, split(), lambda p: 0.1, hooks, batch_size=8, stop=stop, label="t")
    found: list[float] = loop_state.parameters["1.weight"].tolist()
    return found


def test_without_a_loss_small_scales_are_zero_first() -> None:
    # Each step moves a scale by .1 * .5 towards 0, up to which .1 and -.15 take 2 and 3.
    loop_state = loop(torch.tensor([0.1, -0.15, 1, -1, 1, 1, 1, 1]))
    loop_state.loss_fn = lambda outputs, targets: (outputs * 0).sum()
    found = train(loop_state, 0.5, stop=2)
    assert found == pytest.approx([0.0, -0.05, 0.9, -0.9, 0.9, 0.9, 0.9, 0.9], abs=1e-6)
    # What has passed 0 swings around it, no farther than a step.
    found = train(loop_state, 0.5, stop=9)
    assert max(abs(value) for value in found[:2]) <= 0.05 + 1e-6
    assert found[2:] == pytest.approx([0.55, -0.55, 0.55, 0.55, 0.55, 0.55], abs=1e-6)


def test_against_a_loss_a_greater_penalty_leaves_smaller_scales() -> None:
    totals = [sum(map(abs, train(loop(), penalty, stop=40))) for penalty in (0.0, 0.05, 0.2)]
    assert totals[0] > 1.1 * totals[1]
    assert totals[1] > 1.1 * totals[2]


def test_a_first_share_of_the_epochs_is_trained_under_the_penalty() -> None:
    last = plan(job("slimming", task=NORMED, sparse_share=0.25, penalty=0.01))[-1]
    (sparse,), (rest,) = labelled(last, "sparse"), labelled(last, "retrain")
    assert (sparse.length, rest.length) == (0.75, 2.25)
    assert [(spec.target, spec.params) for spec in sparse.hooks] == [
        ("autoprune.methods.slimming:ScalePenalty", {"penalty": 0.01})
    ]
    assert rest.hooks == ()
    assert (sparse.parents[0].label, sparse.cycle.sparsity) == ("dense", 0.0)
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    assert score.parents == (sparse,)
    assert mask.parents == (sparse, score)
    assert rest.parents == (mask,)


def test_every_round_has_its_own_share() -> None:
    stages = plan(job("slimming", task=NORMED, sparsity=0.75, rounds=2))
    assert len(stages) == 2
    sparse = labelled(stages[-1], "sparse")
    assert [stage.label for stage in sparse] == ["sparse/1", "sparse/2"]
    assert [stage.length for stage in sparse] == [0.75, 0.75]
    assert [stage.cycle.sparsity for stage in sparse] == pytest.approx([0.0, 0.5])
    assert sparse[1].parents == (stages[0],)
    assert sum(stage.epochs for stage in (*sparse, *labelled(stages[-1], "retrain"))) == 3.0


def sparse_state(context: WorkerContext, **params: Any) -> Any:
    (sparse,) = labelled(plan(job("slimming", task=NORMED, **params))[-1], "sparse")
    return state(sparse, context)


def test_scales_shrink_on_the_way_to_the_score(normed_context: WorkerContext) -> None:
    sizes = []
    for penalty in (0.0, 1e-2, 1e-1):
        weights = sparse_state(normed_context, penalty=penalty).weights
        sizes.append(sum(float(weights[n].abs().mean()) for n in ("1.weight", "5.weight")))
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 0.5 * sizes[0]


def test_the_score_is_the_scale(normed_context: WorkerContext) -> None:
    last = plan(job("slimming", task=NORMED))[-1]
    (score,) = of_kind(last, "score")
    weights = sparse_state(normed_context).weights
    found = state(score, normed_context).tensors
    assert torch.equal(found["score/0.weight"], weights["1.weight"].abs().double())
    assert torch.equal(found["score/4.weight"], weights["5.weight"].abs().double())


def test_a_model_without_norms_is_refused_by_name(
    digits_context: WorkerContext, normed_context: WorkerContext
) -> None:
    check_fit(job("slimming", task=NORMED).config, normed_context.task.info)
    with pytest.raises(TaskError, match=r"must have batch norms for method 'slimming'.*filter_l1"):
        check_fit(job("slimming").config, digits_context.task.info)


@pytest.mark.parametrize(
    ("share", "rounds", "least"), [(0.5, 1, 20), (0.25, 1, 40), (0.75, 1, 40), (0.5, 3, 60)]
)
def test_both_trainings_of_a_round_have_ten_steps(share: float, rounds: int, least: int) -> None:
    method = METHODS.get("slimming")
    assert method.min_steps(method.params(sparse_share=share, rounds=rounds)) == least


@pytest.mark.parametrize(
    ("name", "value"),
    [("penalty", -1e-4), ("penalty", 2.0), ("sparse_share", 0.0), ("sparse_share", 1.0)],
)
def test_limits(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"trial\.slimming\.{name} must be"):
        job("slimming", **{name: value})
