from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, relu

from autoprune.core.errors import TaskError
from autoprune.core.seeds import global_stream, torch_stream
from autoprune.models.resnet_net import Block
from autoprune.training.events import Event
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.hooks.record import RecordCost
from autoprune.training.loop import fit
from autoprune.training.recipes.ema import EMA
from autoprune.training.recipes.tost_skip import Ghost, GhostSkips, build_ghosts, gain_at
from tests.training.support import loop, split


def run(state, hooks, stop=20, lr=0.1, batch_size=8):
    return fit(state, split(), lambda p: lr, hooks, batch_size=batch_size, stop=stop, label="t")


def attached(model=None, inputs=None):
    """Attach ghosts to the toy net, or to another model, at the first step."""
    state = loop()
    if model is not None:
        state.model = model
    state.inputs = torch.randn(8, 6, generator=torch_stream(1)) if inputs is None else inputs
    hook = GhostSkips(0.5, seed=0)
    hook.attach(state)
    return hook, state


def assert_plain(state, groups=2):
    for module in state.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert len(state.optimizer.param_groups) == groups
    owned = {id(p) for p in state.parameters.values()}
    assert {id(p) for p in state.optimizer.state} <= owned
    assert state.ghost_macs == 0.0


# --- the gain


def test_the_gain_falls_linearly_to_nothing():
    assert [gain_at(p, 0.5) for p in (0.0, 0.125, 0.25, 0.5, 0.9)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    values = [gain_at(step / 100, 0.3) for step in range(100)]
    assert all(high >= low for high, low in pairwise(values))


# --- one branch


def ghost_of(layer, weight):
    ghost = Ghost(layer, torch_stream(0))
    with torch.no_grad():
        ghost.weight.copy_(torch.tensor(weight).reshape(ghost.weight.shape))
    return ghost


def test_a_branch_by_hand():
    # Projections 1 * 1 + 0 * 2 = 1 and 1 + 1 * 2 = 3: mean 2, variance 1, so -1 and 1 in
    # training; running mean .1 * 2 = .2, variance .9 + .1 * 2 (unbiased) = 1.1. Evaluation then
    # gives (1 - .2) / sqrt(1.1) = .7628 and 2.8 / sqrt(1.1) = 2.6697.
    ghost = ghost_of(nn.Linear(2, 1), [1.0, 2.0])
    inputs = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert ghost(inputs, True).flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-5)
    assert ghost(inputs, False).flatten().tolist() == pytest.approx([0.76277, 2.66969], abs=1e-4)


def test_a_batch_of_one_value_is_normalised_as_in_evaluation():
    ghost = ghost_of(nn.Linear(2, 1), [1.0, 2.0])
    one = torch.tensor([[1.0, 1.0]])
    assert ghost(one, True).item() == pytest.approx(3.0, rel=1e-5)
    assert ghost.get_buffer("mean").item() == 0.0


def test_a_projection_has_the_layer_s_stride_and_he_s_size():
    layer = nn.Conv2d(50, 80, 3, stride=2, padding=1)
    ghost = Ghost(layer, torch_stream(0))
    assert ghost.weight.shape == (80, 50, 1, 1)
    # 4,000 draws with deviation sqrt(2 / 50) = .2: four standard errors of it are 4.5 %.
    assert ghost.weight.std().item() == pytest.approx(0.2, rel=0.045)
    inputs = torch.randn(2, 50, 7, 7)
    assert ghost(inputs, True).shape == layer(inputs).shape
    expected = conv2d(inputs, ghost.weight, stride=2)
    assert torch.equal(ghost.project(inputs), expected)


def test_tokens_are_normalised_over_batch_and_positions():
    ghost = Ghost(nn.Linear(4, 3), torch_stream(0))
    found = ghost(torch.randn(5, 7, 4), True)
    assert found.shape == (5, 7, 3)
    assert found.mean(dim=(0, 1)).abs().max() < 1e-6


# --- where it is added


def test_without_a_norm_it_is_added_to_the_layer_s_output():
    hook, state = attached()
    hook.gain = 0.25
    state.model.eval()
    first, _, last = state.model
    found = state.model(state.inputs)
    own = first.weight @ state.inputs.T
    branch = hook.ghosts["0"](state.inputs, False)
    inner = relu(own.T + first.bias + 0.25 * branch)
    assert list(hook.ghosts) == ["0"]  # the last layer has none
    assert torch.allclose(found, inner @ last.weight.T + last.bias, atol=1e-6)


def basic_block():
    with global_stream(0, "block"):
        block = Block(4, 6, 2)
        return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def test_in_a_basic_block_it_is_the_released_form():
    inputs = torch.randn(3, 4, 8, 8, generator=torch_stream(2))
    hook, state = attached(basic_block(), inputs)
    assert list(hook.ghosts) == ["0.conv1", "0.conv2"]
    hook.gain = 0.5
    block = state.model[0]

    def norm(values, by):
        return batch_norm(values, None, None, by.weight, by.bias, True)

    def ghost(name, values):
        made = hook.ghosts[name]
        return batch_norm(made.project(values), None, None, made.scale, made.shift, True)

    # u1 = BN1(conv1 x) + a BN(G1 x); out = act(BN2(conv2 h) + shortcut(x) + a BN(G2 h)).
    hidden = relu(norm(block.conv1(inputs), block.bn1) + 0.5 * ghost("0.conv1", inputs))
    hook._inputs.clear()
    total = norm(block.conv2(hidden), block.bn2) + block.shortcut(inputs)
    hook._inputs.clear()
    expected = relu(total + 0.5 * ghost("0.conv2", hidden))
    assert torch.allclose(block(inputs), expected, atol=1e-5)


def test_layers_of_other_shapes_and_groups_have_none():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),  # 4 * 2 * 64 = 512 multiply-adds beside it
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 5),  # 4 x 4 where a 1x1 convolution gives 8 x 8
        nn.Conv2d(8, 8, 2, stride=2),  # 2 x 2 either way: 8 * 8 * 4 = 256
        nn.ConvTranspose2d(8, 8, 1),
        nn.Flatten(),
        nn.Linear(32, 5),  # 160
        nn.Linear(5, 3),
    )
    ghosts, macs = build_ghosts(model, torch.randn(2, 2, 8, 8), 0, "t")
    assert list(ghosts) == ["0", "3", "6"]
    assert macs == 512 + 256 + 160


class SharedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, inputs):
        return self.three(relu(self.norm(self.two(relu(self.norm(self.one(inputs)))))))


def test_a_norm_that_two_layers_share_gets_each_layer_s_own_ghost():
    hook, state = attached(SharedNorm())
    model = state.model.eval()
    found = model(state.inputs)
    hook.gain, inputs = 0.0, state.inputs
    inner = relu(model.norm(model.one(inputs)) + hook.ghosts["one"](inputs, False))
    hook._inputs.clear()
    outer = relu(model.norm(model.two(inner)) + hook.ghosts["two"](inner, False))
    assert torch.allclose(found, model.three(outer), atol=1e-5)


def test_a_model_without_a_hidden_layer_is_refused():
    with pytest.raises(TaskError, match="'tost_skip'"):
        attached(nn.Sequential(nn.Linear(6, 2)))


# --- a gain of 0, and deletion


@pytest.mark.parametrize("training", [True, False])
def test_a_gain_of_0_is_the_base_net_bit_for_bit(training):
    inputs = torch.randn(3, 4, 8, 8, generator=torch_stream(2))
    expected = basic_block().train(training)(inputs)
    hook, state = attached(basic_block(), inputs)
    state.model.train(training)
    assert not torch.equal(state.model(inputs), expected)
    hook.gain = 0.0
    found = state.model(inputs)
    assert torch.equal(found, expected if not training else basic_block()(inputs))
    found.sum().backward()
    for ghost in hook.ghosts.values():
        assert all(torch.count_nonzero(p.grad) == 0 for p in ghost.parameters())
    hook.detach(state)
    fresh = basic_block().train(training)
    fresh.load_state_dict(state.model.state_dict())
    assert torch.equal(state.model(inputs), fresh(inputs))
    assert_plain(state, groups=2)


def test_making_ghosts_draws_from_their_own_stream_only():
    before = torch.get_rng_state()
    one, other = attached()[0].ghosts["0"], attached()[0].ghosts["0"]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.weight, other.weight)
    elsewhere, _ = build_ghosts(loop().model, torch.randn(2, 6), 0, "another run")
    assert not torch.equal(one.weight, elsewhere["0"].weight)


def test_a_copy_of_the_model_in_double_precision_runs():
    # Scores take gradients of such a copy, whichever hooks the model has at that moment.
    hook, state = attached()
    hook.gain = 0.5
    double = copy.deepcopy(state.model).double().eval()
    found = double(state.inputs.double())
    assert found.dtype is torch.float64
    assert torch.allclose(found.float(), state.model.eval()(state.inputs), atol=1e-5)


# --- in the loop


class Watch:
    def __init__(self, hook):
        self.hook, self.seen = hook, []

    def on(self, event, loop):
        if event is Event.AFTER_BACKWARD:
            ghost = self.hook.ghosts.get("0")
            weight = None if ghost is None else ghost.weight.detach().clone()
            groups = len(loop.optimizer.param_groups)
            self.seen.append((self.hook.gain, groups, loop.ghost_macs, weight))


def test_ghosts_live_and_learn_over_their_share_only():
    hook, state = GhostSkips(0.5, seed=0), loop(num_steps=20)
    watch = Watch(hook)
    run(state, [hook, watch])
    assert [s[0] for s in watch.seen] == pytest.approx([max(0.0, 1 - j / 10) for j in range(20)])
    assert [s[1] for s in watch.seen] == [4] * 10 + [2] * 10
    assert [s[2] for s in watch.seen] == [48.0] * 10 + [0.0] * 10  # 6 x 8 weights, once an image
    moved = [not torch.equal(a[3], b[3]) for a, b in pairwise(watch.seen[:10])]
    assert all(moved)
    assert_plain(state)


def test_ghosts_learn_at_the_rate_of_the_step_with_decay_for_matrices_only():
    hook, state = GhostSkips(0.5, seed=0), loop(num_steps=20)
    groups = []

    class Groups:
        def on(self, event, loop):
            if event is Event.AFTER_BACKWARD:
                groups.append([dict(g, params=None) for g in loop.optimizer.param_groups])

    run(state, [hook, Groups()], stop=2, lr=0.3)
    for step in groups:
        assert [g["lr"] for g in step] == [0.3] * 4
        assert [g["weight_decay"] for g in step] == [0.01, 0.0, 0.01, 0.0]
        assert len({(g["momentum"], g["nesterov"]) for g in step}) == 1


class Raise:
    def on(self, event, loop):
        if event is Event.AFTER_BACKWARD and loop.step == 2:
            raise ZeroDivisionError


def test_they_are_gone_however_the_fit_ends():
    stopped, diverged, broken = loop(num_steps=20), loop(num_steps=50), loop(num_steps=20)
    assert run(stopped, [GhostSkips(0.9, 0)], stop=3)
    assert not run(diverged, [GhostSkips(0.9, 0)], stop=50, lr=float("inf"))
    with pytest.raises(ZeroDivisionError):
        run(broken, [GhostSkips(0.9, 0), Raise()])
    for state in (stopped, diverged, broken):
        assert_plain(state)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_masks_and_averages_know_nothing_of_ghosts(optimizer):
    mask = torch.rand(8, 6, generator=torch_stream(3)) > 0.5
    state = loop({"0.weight": mask}, num_steps=20, optimizer=optimizer)
    averages = []

    class Names:
        def on(self, event, loop):
            if event is Event.AFTER_STEP:
                averages.append(set(loop.extra))

    run(state, [GhostSkips(0.5, 0), EMA(0.9), HardMasks(), Names()], lr=0.01)
    assert averages[0] == averages[-1] == {f"ema/{name}" for name in state.parameters}
    assert torch.equal(state.parameters["0.weight"] != 0, mask)
    assert_plain(state)


def test_a_last_batch_of_one_image_is_no_obstacle():
    # 40 images in batches of 13: the last holds one.
    state = loop(num_steps=20)
    state.steps_per_epoch = 4
    assert run(state, [GhostSkips(0.9, 0)], stop=8, batch_size=13)


def test_ghosts_are_paid_for():
    # Each step 8 images: 3 * (48 + 16) of the net, and 3 * 48 of the ghost in the first 10 steps.
    state, cost = loop(num_steps=20), RecordCost()
    state.layer_macs = {"0.weight": 48, "2.weight": 16}
    run(state, [GhostSkips(0.5, 0), cost])
    assert cost.macs == 20 * 8 * 3 * 64 + 10 * 8 * 3 * 48
