from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from autoprune.core.config import OptimizerConfig
from autoprune.core.errors import ConfigError
from autoprune.core.seeds import torch_stream
from autoprune.methods.scl import SclHook, normalised, proxy
from autoprune.training.events import Event, LoopState
from autoprune.training.loop import fit
from autoprune.training.recipes.optimizer import build_optimizer
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, plan, state
from tests.training.support import loop, split


def hook(**changes: object) -> SclHook:
    values: dict[str, object] = {
        "sparsity": 0.5,
        "ste": "identity",
        "norm": "rms",
        "penalty": 0.1,
        "penalty_lr": 0.0,
        "mask_lr": 1.0,
        "start": 0.5,
        "bound": 1.0,
        "freeze": 0.5,
    }
    return SclHook(**(values | changes))  # type: ignore[arg-type]


def dense() -> dict[str, Tensor]:
    return {
        "0.weight": torch.ones(8, 6, dtype=torch.bool),
        "2.weight": torch.ones(2, 8, dtype=torch.bool),
    }


def one_layer(weight: Tensor, num_steps: int = 20) -> LoopState:
    """A loop around one linear layer with these weights."""
    model = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    return LoopState(
        model=model,
        optimizer=build_optimizer(model.named_parameters(), OptimizerConfig(weight_decay=0.1)),
        parameters=dict(model.named_parameters()),
        masks={"weight": torch.ones_like(weight, dtype=torch.bool)},
        loss_fn=nn.functional.mse_loss,
        seed=0,
        num_steps=num_steps,
        steps_per_epoch=5,
    )


def start(watched: SclHook, state: LoopState, variables: Tensor) -> None:
    """Begin with mask variables of our own."""
    watched.on(Event.FIT_START, state)
    watched.variables["weight"].copy_(variables)
    state.masks["weight"].copy_(variables > 0)
    watched.latent.hide(state)


def test_the_cards_step() -> None:
    # W = .5 -.2, m = .1 -.1, G = .4 .3: h = 1 0, so w~ = .5 0 and dL/dW = .4 0.
    # q = .2 -.06, rms .147648, qhat 1.35457 -.40637, with the penalty 1.45457 -.30637; a rate of
    # .1 gives m = -.045457 -.069363: the first switches off, the second rises.
    state = one_layer(torch.tensor([[0.5, -0.2]]))
    # 10 steps to the freeze: the first one's rate is 2 * mask_lr * .95 / 10.
    watched = hook(mask_lr=0.1 * 10 / (2 * 0.95))
    start(watched, state, torch.tensor([[0.1, -0.1]]))
    weight = state.parameters["weight"]
    assert weight.tolist() == [[0.5, 0.0]]
    weight.grad = torch.tensor([[0.4, 0.3]])
    watched.on(Event.AFTER_BACKWARD, state)
    assert weight.tolist() == [[0.5, pytest.approx(-0.2)]]  # the latent values, for the step
    assert weight.grad.tolist() == [[pytest.approx(0.4), 0.0]]
    assert watched.variables["weight"].tolist()[0] == pytest.approx(
        [-0.045457, -0.069363], abs=1e-6
    )


@pytest.mark.parametrize("norm", ["rms", "l2", "std", "max", "none"])
def test_norms_by_hand(norm: str) -> None:
    # 3 and 4: rms sqrt(12.5) = 3.535534, l2 5, max 4, deviation .5.
    expected = {
        "rms": [0.848528, 1.131371],
        "l2": [0.6, 0.8],
        "std": [6.0, 8.0],
        "max": [0.75, 1.0],
        "none": [3.0, 4.0],
    }
    found = normalised(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), norm)  # type: ignore[arg-type]
    assert found[0].tolist() == pytest.approx(expected[norm], abs=1e-5)
    assert found[1].tolist() == [0.0, 0.0]  # a dead feature stays at zero


def test_rms_gives_every_feature_the_same_scale() -> None:
    # A convolution's feature is an output channel: 3 x 2 x 3 x 3.
    gradient = torch.randn(3, 2, 3, 3, generator=torch_stream(0, "gradient"))
    found = normalised(gradient, "rms")
    assert found.flatten(1).square().mean(1).tolist() == pytest.approx([1, 1, 1])
    scaled = gradient * torch.tensor([7.0, 0.01, 1.0]).view(3, 1, 1, 1)
    assert torch.allclose(normalised(scaled, "rms"), found, atol=1e-6)


def test_proxies_are_positive_but_for_the_control() -> None:
    variables = torch.tensor([-1.0, -0.1, 0.0, 0.5, 1.0])
    assert proxy(variables, "identity").expand(5).tolist() == [1, 1, 1, 1, 1]
    assert proxy(variables, "leaky").tolist() == pytest.approx([0.1, 0.1, 0.1, 1, 1])
    assert proxy(variables, "clip").tolist() == [0, 0, 0, 1, 1]
    # The derivative of log(1 + e^m) is the sigmoid: .5 at 0, 1 / (1 + e) = .268941 at -1.
    assert proxy(variables, "softplus")[[0, 2]].tolist() == pytest.approx([0.268941, 0.5], abs=1e-6)


def test_the_mask_gradient_is_g_times_w_dormant_entries_included() -> None:
    # Moving m by e along the identity moves w~ by e W: compare with a difference quotient.
    generator = torch_stream(0, "data")
    inputs, targets = torch.randn(9, 4, generator=generator), torch.randn(9, 3, generator=generator)
    values = torch.randn(3, 4, generator=generator)
    variables = torch.where(torch.rand(3, 4, generator=generator) < 0.5, -0.3, 0.3)
    watched, state = hook(norm="none", penalty=0.0), one_layer(values)
    start(watched, state, variables)
    loss = nn.functional.mse_loss(state.model(inputs), targets)
    (state.parameters["weight"].grad,) = torch.autograd.grad(loss, state.parameters["weight"])
    rate = watched.rate(state)
    watched.on(Event.AFTER_BACKWARD, state)
    found = (variables - watched.variables["weight"]) / rate
    effective = (values * (variables > 0)).double()
    for row, column in ((0, 1), (1, 2), (2, 0), (2, 3)):
        ends = []
        for shift in (1e-4, -1e-4):
            moved = effective.clone()
            moved[row, column] += shift * values[row, column].double()
            ends.append(nn.functional.mse_loss(inputs.double() @ moved.T, targets.double()))
        quotient = (ends[0] - ends[1]) / 2e-4
        # The variables are float32 numbers near .3, and the rate is about .2.
        assert found[row, column].item() == pytest.approx(quotient.item(), abs=1e-5)
    assert torch.count_nonzero(found[variables < 0]) == int((variables < 0).sum())


def test_without_a_gradient_everything_falls_in_line_and_goes_at_once() -> None:
    # m(t) = .5 - penalty * (sum of the rates); all of 12 start alike and leave in one step.
    watched, state = hook(penalty=2.0, mask_lr=1.0), one_layer(torch.randn(3, 4).fill_(1.0))
    watched.on(Event.FIT_START, state)
    expected, densities = 0.5, []
    for step in range(9):
        state.step = step
        state.parameters["weight"].grad = torch.zeros(3, 4)
        expected = max(-1.0, expected - 2.0 * watched.rate(state))
        watched.on(Event.AFTER_BACKWARD, state)
        state.step += 1
        watched.on(Event.AFTER_STEP, state)
        assert watched.variables["weight"].flatten().tolist() == pytest.approx([expected] * 12)
        densities.append(watched.density)
    # The rates are .19 .17 .15 ...: .5 falls by .38, then by .34 below zero.
    assert densities == [1.0] + [0.0] * 8
    assert watched.guarded == 8
    assert int(state.masks["weight"].sum()) == 1  # 0.5 % of 12, rounded up


def test_what_the_loss_does_not_depend_on_sees_the_penalty_alone() -> None:
    # The first rate is 2 * 1 * .95 / 10 = .19: .5 - .19 * .1 = .481.
    watched, state = hook(), one_layer(torch.ones(1, 2))
    watched.on(Event.FIT_START, state)
    assert state.parameters["weight"].grad is None
    watched.on(Event.AFTER_BACKWARD, state)
    assert watched.variables["weight"].flatten().tolist() == pytest.approx([0.481, 0.481])


def test_the_rates_add_up_to_the_same_however_long_the_run() -> None:
    for num_steps in (17, 51, 4000):
        watched, state = hook(mask_lr=3.0, freeze=0.75), one_layer(torch.ones(1, 2), num_steps)
        total = 0.0
        for state.step in range(math.ceil(0.75 * num_steps)):
            total += watched.rate(state)
        assert total == pytest.approx(3.0)


def test_without_rates_training_is_the_dense_training() -> None:
    found = []
    for hooks in ([hook(sparsity=0.0, penalty=0.0, mask_lr=0.0)], []):
        state = loop(dense(), num_steps=20)
        fit(state, split(), lambda p: 0.1, hooks, batch_size=8, stop=20, label="t")
        found.append([p.detach().clone() for p in state.parameters.values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


class Dormant:
    """Checks, after every step, that a weight which was masked during it kept its value."""

    def __init__(self, watched: SclHook) -> None:
        self.watched, self.seen = watched, 0
        self.before: dict[str, tuple[Tensor, Tensor]] = {}

    def on(self, event: Event, loop: LoopState) -> None:
        values = self.watched.latent.values
        if event is Event.BEFORE_LOSS and not self.watched.frozen:
            self.before = {n: (m.clone(), values[n].clone()) for n, m in loop.masks.items()}
            for name, mask in loop.masks.items():
                assert torch.equal(loop.parameters[name].detach(), values[name] * mask)
                assert torch.equal(mask, self.watched.variables[name] > 0)
        elif event is Event.AFTER_STEP:
            for name, (mask, value) in self.before.items():
                assert torch.equal(values[name][~mask], value[~mask])
                self.seen += int((~mask).sum())
            self.before = {}


def test_dormant_weights_neither_decay_nor_drift() -> None:
    watched, state = hook(mask_lr=10.0, freeze=0.75), loop(dense(), num_steps=60)
    check = Dormant(watched)
    fit(state, split(), lambda p: 0.1, [watched, check], batch_size=8, stop=60, label="t")
    assert check.seen > 100


class AfterFreeze:
    """Collects the masks of the hard phase."""

    def __init__(self, watched: SclHook) -> None:
        self.watched = watched
        self.masks: list[Tensor] = []

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_STEP and self.watched.frozen:
            self.masks.append(torch.cat([m.flatten() for m in loop.masks.values()]).clone())
            for name, mask in loop.masks.items():
                assert torch.count_nonzero(loop.parameters[name][~mask]) == 0


def test_the_masks_are_exact_and_final_after_the_freeze() -> None:
    watched, state = hook(sparsity=0.7, freeze=0.75, mask_lr=5.0), loop(dense(), num_steps=40)
    check = AfterFreeze(watched)
    fit(state, split(), lambda p: 0.1, [watched, check], batch_size=8, stop=40, label="t")
    assert len(check.masks) == 11  # after steps 30 to 40
    assert all(torch.equal(mask, check.masks[0]) for mask in check.masks)
    assert int(check.masks[0].sum()) == 64 - round(0.7 * 64)
    for name, mask in state.masks.items():
        for tensor in state.optimizer_state(name):
            assert torch.count_nonzero(tensor[~mask]) == 0
    assert not state.dense_gradient


def density_at(penalty: float, **changes: object) -> SclHook:
    watched, state = hook(penalty=penalty, mask_lr=5.0, **changes), loop(dense(), num_steps=60)
    fit(state, split(), lambda p: 0.05, [watched], batch_size=8, stop=60, label="t")
    return watched


def test_a_larger_penalty_leaves_fewer_connections() -> None:
    densities = [density_at(penalty).density for penalty in (0.0, 0.1, 0.3, 1.0)]
    assert densities == sorted(densities, reverse=True)
    assert densities[0] > densities[-1] + 0.2


def test_only_the_control_never_brings_a_connection_back() -> None:
    assert density_at(0.1).recovered > 0
    assert density_at(0.1, ste="leaky").recovered > 0
    assert density_at(0.1, ste="clip").recovered == 0


def test_ties_of_the_variables_go_by_magnitude() -> None:
    watched, state = hook(sparsity=0.5), one_layer(torch.tensor([[0.1, -0.9, 0.4, 0.2]]))
    start(watched, state, torch.tensor([[-1.0, -1.0, -1.0, 0.3]]))
    assert watched.exact()["weight"].tolist() == [[False, True, False, True]]


def test_the_guard_takes_the_best_of_a_layer_that_is_gone() -> None:
    weights = torch.linspace(1.0, 2.0, 400).view(1, 400)
    watched, state = hook(), one_layer(weights)
    start(watched, state, torch.full((1, 400), -1.0).index_fill_(1, torch.tensor([7]), -0.5))
    state.step = 1
    watched.refresh(state)
    # 0.5 % of 400 is two: the highest variable, and of the equal ones the largest weight.
    assert state.masks["weight"].nonzero()[:, 1].tolist() == [7, 399]
    assert (watched.guarded, watched.density) == (1, 0.0)


def test_the_penalty_follows_the_density() -> None:
    # The ramp takes a half of the 10 steps to the freeze: at step 5 the goal is the target, .5.
    # All is kept: log(1 / .5) = .693147; the multiplier gains 4 / 10 of it and the damping adds
    # .1 * 4 of it: .1 + .8 * .693147 = .654518.
    watched, state = hook(penalty_lr=4.0), one_layer(torch.ones(2, 4))
    watched.on(Event.FIT_START, state)
    state.step = 5
    watched.refresh(state)
    assert watched.penalty == pytest.approx(0.654518, abs=1e-6)
    # With a quarter kept it is sparser than asked: log(.25 / .5) takes the same away again.
    watched.variables["weight"][:, 1:] = -0.1
    watched.refresh(state)
    assert watched.multiplier == pytest.approx(0.1)
    assert watched.penalty == 0.0


def test_variables_that_are_not_finite_decide_nothing() -> None:
    watched, state = hook(), one_layer(torch.ones(1, 4))
    start(watched, state, torch.tensor([[0.5, torch.nan, -0.5, 0.5]]))
    state.masks["weight"].fill_(True)
    state.step = 19
    watched.refresh(state)
    assert bool(state.masks["weight"].all())
    assert not watched.frozen


def test_a_real_run_comes_near_its_target_by_itself(digits_context: WorkerContext) -> None:
    (last,) = plan(job("scl", sparsity=0.9, lr_params={"peak": 0.1}))
    found = state(last, digits_context)
    assert kept(found) == TOTAL - round(0.9 * TOTAL)
    assert found.log["scl_density"] == pytest.approx(0.1, rel=0.3)
    assert found.log["scl_recovered"] > 0
    assert found.log["scl_guard"] == 0


def test_a_start_out_of_bounds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.scl\.start must be at most 0\.4"):
        job("scl", bound=0.4)
    with pytest.raises(ConfigError, match=r"trial\.scl\.start must be at most 1 .*'clip'"):
        job("scl", bound=3.0, start=2.0, ste="clip")
    assert job("scl", bound=3.0, start=2.0).config.params["start"] == 2.0
