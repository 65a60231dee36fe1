from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from autoprune.core.seeds import global_stream, torch_stream
from autoprune.training.recipes.tost_rescale import (
    Objective,
    ScaleAdam,
    draw,
    find_scales,
    join,
)
from tests.training.support import net, split

SETTINGS = {"steps": 20, "lr": 0.1, "batch_size": 8, "seed": 0, "label": "t"}


def half_square(outputs, targets):
    return 0.5 * (outputs - targets).square().mean()


def line(*weights):
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def ones(count):
    return torch.ones(1, count), torch.zeros(1, 1)


# --- the objective


def slope_of(objective, scales, batch, ahead):
    scales = scales.clone().requires_grad_()
    value, bounded = objective(scales, batch, ahead)
    return value.item(), torch.autograd.grad(value, scales)[0], bounded


def test_above_its_bound_the_gradient_norm_is_the_objective():
    # L = (2 s)^2 / 2, dL/dw = 2 s: norm 2 at s = 1, its slope 2.
    objective = Objective(line(2.0), half_square, {}, lr=0.1, bound=1.0)
    value, slope, bounded = slope_of(objective, torch.ones(1), ones(1), ones(1))
    assert bounded
    assert (value, slope.item()) == pytest.approx((2.0, 2.0))


def test_below_its_bound_the_loss_after_a_step_of_the_rate_s_length_is():
    # The step leads from 2 to 1.9: loss 1.9^2 / 2 = 1.805, over .1: 18.05; slope 1.9 * 2 / .1.
    objective = Objective(line(2.0), half_square, {}, lr=0.1, bound=10.0)
    value, slope, bounded = slope_of(objective, torch.ones(1), ones(1), ones(1))
    assert not bounded
    assert (value, slope.item()) == pytest.approx((18.05, 38.0))


@pytest.mark.parametrize(("bound", "expected"), [(1.0, (2.0, 2.0)), (10.0, (18.05, 38.0))])
def test_what_is_masked_neither_counts_nor_moves(bound, expected):
    # The pruned weight has the same gradient as the other one: unmasked the norm were sqrt(2)
    # times as great, and the look-ahead net would have it at -.07.
    mask = torch.tensor([[True, False]])
    objective = Objective(line(2.0, 3.0), half_square, {"weight": mask}, lr=0.1, bound=bound)
    value, slope, _ = slope_of(objective, torch.ones(1), ones(2), ones(2))
    assert (value, slope.item()) == pytest.approx(expected)


def test_a_net_without_a_gradient_stands_still():
    objective = Objective(line(2.0), lambda outputs, _: outputs.sum() * 0, {}, lr=0.1)
    value, slope, bounded = slope_of(objective, torch.ones(1), ones(1), ones(1))
    assert (value, slope.item(), bounded) == (0.0, 0.0, False)


def conv_net():
    with global_stream(0, "conv"):
        return nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(12, 4),
        )


@pytest.mark.parametrize("bound", [1e-6, float("inf")])
def test_slopes_agree_with_finite_differences(bound):
    inputs = torch.randn(12, 1, 4, 4, generator=torch_stream(0), dtype=torch.float64)
    batch, ahead = (inputs[:8], torch.arange(8) % 4), (inputs[4:], torch.arange(8) % 4)
    model = conv_net().double()
    with torch.no_grad():
        model[0].bias.fill_(0.3)
        model[1].bias.fill_(0.2)
    mask = torch.rand(4, 12, generator=torch_stream(1)) > 0.5
    objective = Objective(model, cross_entropy, {"6.weight": mask}, lr=0.1, bound=bound)
    at = torch.linspace(0.8, 1.3, len(objective.names), dtype=torch.float64)
    _, slope, bounded = slope_of(objective, at, batch, ahead)
    assert bounded == (bound < 1)
    step = 1e-6
    for i in range(len(at)):
        moved = [at.clone() for _ in range(2)]
        moved[0][i] += step
        moved[1][i] -= step
        if bounded:
            up, down = (slope_of(objective, m, batch, ahead)[0] for m in moved)
        else:  # the direction of the step is held, as in the slope
            up, down = (_ahead_with_held_step(objective, at, m, batch, ahead) for m in moved)
        # A convolution's bias before a batch norm has a slope of 0, so some absolute room too.
        assert slope[i].item() == pytest.approx((up - down) / (2 * step), rel=1e-2, abs=1e-6)


def _ahead_with_held_step(objective, at, moved, batch, ahead):
    values = objective._scaled(at.clone().requires_grad_())
    grads = torch.autograd.grad(objective._loss(values, batch), list(values.values()))
    slopes = dict(zip(values, grads, strict=True))
    slopes = {n: g * objective.masks.get(n, torch.ones(())) for n, g in slopes.items()}
    norm = torch.cat([g.flatten() for g in slopes.values()]).norm()
    there = {n: v - 0.1 * slopes[n] / norm for n, v in objective._scaled(moved).items()}
    return objective._loss(there, ahead).item() / 0.1


# --- Adam


def test_adam_by_hand():
    # Each first step of a kind is the rate over the root of the second moment. Slopes .5 then,
    # of the other kind, -.2: v = .001 * .25 = .00025, hat .25, step .01 * .5 / .5 = .01.
    # v = .999 * .00025 + .001 * .04 = .00028975, hat / (1 - .998001) = .144947, root .380719:
    # step -.01 * .2 / .380719 = -.0052532. Both together: 1 - .01 + .0052532 = .9952532.
    adam = ScaleAdam(torch.tensor([0.01]))
    adam.step(torch.tensor([0.5]), True)
    assert adam.scales.item() == pytest.approx(0.99, abs=1e-6)
    adam.step(torch.tensor([-0.2]), False)
    assert adam.scales.item() == pytest.approx(0.9952532, abs=1e-6)


def test_adam_cuts_slopes_and_keeps_scales_above_their_least():
    cut, whole = ScaleAdam(torch.tensor([0.01])), ScaleAdam(torch.tensor([0.01]))
    for adam, slopes in ((cut, (30.0, 0.1)), (whole, (1.0, 0.1))):
        for slope in slopes:
            adam.step(torch.tensor([slope]), False)
    assert torch.equal(cut.scales, whole.scales)
    low = ScaleAdam(torch.tensor([0.995, 0.0]))
    low.step(torch.tensor([1.0, 1.0]), True)
    assert low.scales.tolist() == pytest.approx([0.995, 0.99])


# --- all together


def found_for(model, masks=None, **changes):
    return find_scales(model, split(), cross_entropy, masks or {}, **{**SETTINGS, **changes})


def test_no_steps_leave_every_scale_at_1():
    found = found_for(net(), steps=0)
    assert set(found.values.values()) == {1.0}
    assert found.bound_steps == 0


def test_tensors_that_are_all_zero_have_no_scale():
    model = net()
    nn.init.zeros_(model[0].bias)
    assert set(found_for(model).values) == {"0.weight", "2.weight", "2.bias"}
    mask = torch.zeros(2, 8, dtype=torch.bool)
    assert set(found_for(model, {"2.weight": mask}).values) == {"0.weight", "2.bias"}


def test_the_model_and_every_random_state_stay_as_they_were():
    model = conv_net()
    images = split()
    images.inputs = torch.randn(40, 1, 4, 4, generator=torch_stream(5))
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    found = find_scales(model, images, cross_entropy, {}, **SETTINGS)
    assert torch.equal(rng, torch.get_rng_state())
    assert any(scale != 1.0 for scale in found.values.values())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(module.training for module in model.modules())
    assert model[1].track_running_stats
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_scales_follow_from_seed_and_label():
    one = found_for(net())
    assert found_for(net()) == one
    assert found_for(net(), seed=1) != one
    assert found_for(net(), label="u") != one


def gradient_norm(model):
    data = split()
    loss = cross_entropy(model(data.inputs), data.targets)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return loss.item(), torch.cat([g.flatten() for g in grads]).norm().item()


def test_a_wild_start_is_tamed():
    model = net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    loss, norm = gradient_norm(model)
    assert norm > 2
    found = found_for(model, steps=150)
    assert 0 < found.bound_steps < 150  # first the norm, then the loss ahead
    assert all(scale >= 0.01 for scale in found.values.values())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(found.values[name])
    calm, tamed = gradient_norm(model)
    assert tamed <= 1.0
    assert calm < loss / 2


def test_a_step_draws_three_batches_without_a_common_image():
    batches = list(draw(split(), 8, torch_stream(0), torch.device("cpu")))
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert [len(targets) for _, targets in batches] == [8, 8, 8]
    assert len(inputs.unique(dim=0)) == 24
    both = join(batches[0], batches[2])
    assert torch.equal(both[0], torch.cat([inputs[:8], inputs[16:]]))
    # 40 images are three batches of at most 13.
    assert found_for(net(), steps=1, batch_size=64).images == 26


# --- the fourth ingredient


def test_the_paper_s_label_smoothing_is_ours_times_c_over_c_minus_1():
    outputs = torch.randn(6, 10, generator=torch_stream(0))
    labels, a = torch.arange(6), 0.1
    targets = torch.full((6, 10), a / 9).scatter(1, labels[:, None], 1 - a)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    expected = -(targets * outputs.log_softmax(1)).sum(1).mean()
    found = cross_entropy(outputs, labels, label_smoothing=a * 10 / 9)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    hard = -(one_hot(labels, 10) * outputs.log_softmax(1)).sum(1).mean()
    assert cross_entropy(outputs, labels, label_smoothing=0.0).item() == pytest.approx(hard.item())
