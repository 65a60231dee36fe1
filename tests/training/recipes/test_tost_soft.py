from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from autoprune.core.errors import TaskError
from autoprune.metrics.layers import relu_modules, runs_relu_modules
from autoprune.training.events import Event
from autoprune.training.loop import fit
from autoprune.training.recipes.tost_soft import SoftActivations, beta_at, pswish
from tests.training.support import loop, split

GRID = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
GAP = 0.2784645  # the greatest distance of x sigmoid(x) to ReLU, at |x| = 1.27846


def run(state, hooks, stop=20, lr=0.1):
    return fit(state, split(), lambda p: lr, hooks, batch_size=8, stop=stop, label="t")


# --- the function and its schedule


def test_pswish_by_hand():
    # sigmoid(1) = .7310586, sigmoid(-2) = .1192029; at beta 0 it is half of x.
    x = torch.tensor([1.0, -1.0])
    assert pswish(x, 1.0).tolist() == pytest.approx([0.7310586, -0.2689414], abs=1e-6)
    assert pswish(x, 2.0)[1].item() == pytest.approx(-0.1192029, abs=1e-6)
    assert pswish(x, 0.0).tolist() == [0.5, -0.5]


@pytest.mark.parametrize("beta", [1.0, 7.0, 50.0])
def test_pswish_is_as_close_to_relu_as_beta_says(beta):
    found = pswish(GRID, beta)
    apart = (found - relu(GRID)).abs()
    # The grid is 1e-4 wide and the curvature below 2, so the extreme is met to 1e-8.
    assert apart.max().item() == pytest.approx(GAP / beta, rel=1e-3)
    assert GRID[apart.argmax()].abs().item() == pytest.approx(1.27846 / beta, abs=1e-3)
    assert found.min().item() == pytest.approx(-GAP / beta, rel=1e-3)


def test_pswish_of_a_great_beta_is_relu():
    assert (pswish(GRID, 1e4) - relu(GRID)).abs().max() < 3e-5


@pytest.mark.parametrize("beta", [1.0, 50.0])
def test_pswish_has_bounded_slopes(beta):
    x = GRID.clone().requires_grad_()
    (slope,) = torch.autograd.grad(pswish(x, beta).sum(), x)
    assert slope.min().item() == pytest.approx(-0.09984, abs=1e-4)
    assert slope.max().item() == pytest.approx(1.09984, abs=1e-4)


def test_beta_rises_geometrically_from_1_to_50():
    # Half way through its share: the geometric mean, sqrt(50) = 7.0711.
    assert beta_at(0.0, 0.5) == 1.0
    assert beta_at(0.25, 0.5) == pytest.approx(7.0710678)
    assert beta_at(0.5 - 1e-12, 0.5) == pytest.approx(50.0)
    values = [beta_at(step / 100, 0.3) for step in range(30)]
    assert all(low < high for low, high in pairwise(values))


# --- the hook


class Watch:
    """Looks at the ReLU before every step."""

    def __init__(self):
        self.seen = []

    def on(self, event, loop):
        if event is Event.BEFORE_LOSS:
            self.seen.append((loop.model[1](PROBE), "forward" in vars(loop.model[1])))
            assert list(loop.model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
            assert type(loop.model[1]) is nn.ReLU


PROBE = torch.tensor([-2.0, -0.3, 0.0, 0.4, 3.0])


def test_relus_are_soft_over_the_share_and_exact_after_it():
    watch = Watch()
    run(loop(num_steps=20), [SoftActivations(0.5), watch])
    for step, (values, shadowed) in enumerate(watch.seen):
        expected = pswish(PROBE, beta_at(step / 20, 0.5)) if step < 10 else relu(PROBE)
        assert torch.equal(values, expected), step
        assert shadowed == (step < 10)


def test_the_switch_moves_an_activation_by_at_most_the_gap():
    watch = Watch()
    run(loop(num_steps=200), [SoftActivations(0.5), watch], stop=101)
    last, first = watch.seen[99][0], watch.seen[100][0]
    # One step before the end beta is 50 ** .99 = 48.1.
    assert 0 < (last - first).abs().max() <= GAP / 48.0


class Raise:
    def on(self, event, loop):
        if event is Event.AFTER_BACKWARD and loop.step == 2:
            raise ZeroDivisionError


def assert_plain(model):
    assert all("forward" not in vars(module) for module in model.modules())
    assert torch.equal(model[1](PROBE), relu(PROBE))


def test_it_is_gone_after_a_fit_that_stops_early_or_diverges():
    stopped, diverged = loop(num_steps=20), loop(num_steps=50)
    assert run(stopped, [SoftActivations(0.9)], stop=3)
    assert not run(diverged, [SoftActivations(0.9)], stop=50, lr=float("inf"))
    assert_plain(stopped.model)
    assert_plain(diverged.model)


def test_it_is_gone_when_a_hook_raises():
    state = loop(num_steps=20)
    with pytest.raises(ZeroDivisionError):
        run(state, [SoftActivations(0.9), Raise()])
    assert_plain(state.model)


def test_a_fit_that_goes_on_is_as_soft_as_one_in_one_piece():
    whole, parts = loop(num_steps=20), loop(num_steps=20)
    run(whole, [SoftActivations(0.5)])
    hook = SoftActivations(0.5)
    for stop in (3, 12, 20):
        run(parts, [hook], stop=stop)
    plain = loop(num_steps=20)
    run(plain, [])
    for name, value in whole.parameters.items():
        assert torch.equal(value, parts.parameters[name])
        assert not torch.equal(value, plain.parameters[name])


def test_an_in_place_relu_still_writes_into_its_input_and_has_the_same_slope():
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    hook = SoftActivations(0.5)
    hook.soften(model)
    hook.beta = 3.0
    given = PROBE.clone()
    assert model[1](given) is given
    assert torch.equal(given, pswish(PROBE, 3.0))
    inputs = torch.randn(4, 5)
    cross_entropy(model(inputs), torch.tensor([0, 1, 0, 1])).backward()
    found = model[0].weight.grad.clone()
    model.zero_grad()
    cross_entropy(model[2](pswish(model[0](inputs), 3.0)), torch.tensor([0, 1, 0, 1])).backward()
    assert torch.allclose(found, model[0].weight.grad, atol=1e-7)


# --- which modules


class Odd(nn.ReLU):
    def forward(self, inputs):
        return inputs.abs()


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.unused = nn.Linear(3, 2), nn.ReLU()

    def forward(self, inputs):
        return relu(self.layer(inputs))


def test_relus_are_found_by_what_they_compute():
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.ReLU6(), Odd(), nn.GELU(), shared, nn.ReLU(inplace=True))
    assert relu_modules(model) == [model[0], model[5]]
    assert runs_relu_modules(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.zeros(2, 3))
    assert not runs_relu_modules(Functional(), torch.zeros(2, 3))
    assert not model[0]._forward_hooks


def test_a_model_without_relu_modules_is_refused():
    with pytest.raises(TaskError, match="must have ReLU modules for recipe 'tost_soft'"):
        SoftActivations(0.5).soften(nn.Sequential(nn.Linear(3, 2), nn.GELU()))
