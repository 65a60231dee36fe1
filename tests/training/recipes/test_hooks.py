"""The recipes' pure functions by hand, and their hooks on a loop."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from autoprune.core.config import RecipeConfig
from autoprune.core.errors import ConfigError
from autoprune.core.seeds import torch_stream
from autoprune.training.events import Event, LoopState
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.recipes.build import averaging_hooks, build_hooks
from autoprune.training.recipes.cutout import Cutout, cut_out
from autoprune.training.recipes.distill import Distill, distillation_loss
from autoprune.training.recipes.ema import EMA, decay_at
from autoprune.training.recipes.mixup import Mixup, blend


def make_loop(*, num_steps=4, **rest):
    model = nn.Linear(3, 2)
    return LoopState(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        parameters=dict(model.named_parameters()),
        masks={},
        loss_fn=cross_entropy,
        seed=0,
        num_steps=num_steps,
        steps_per_epoch=2,
        **rest,
    )


def give(loop, inputs, targets=None, step=0):
    loop.step, loop.inputs, loop.targets = step, inputs, targets


# --- cutout


def test_cut_out_hides_a_square_of_its_size_and_nothing_else():
    images = torch.ones(200, 2, 8, 8)
    cut = cut_out(images, 3, torch_stream(0))
    hidden = (cut == 0).sum(dim=(2, 3))
    assert torch.equal(hidden[:, 0], hidden[:, 1])  # all channels alike
    # 3 x 3 inside, cut at the border to 2 x 3 or 2 x 2: a centre on the edge loses one row.
    assert set(hidden[:, 0].tolist()) == {4, 6, 9}
    assert (images == 1).all()
    rows, columns = (cut[:, 0] == 0).any(dim=2), (cut[:, 0] == 0).any(dim=1)
    assert torch.equal(rows.sum(1) * columns.sum(1), hidden[:, 0])


def test_cut_out_of_an_even_size_spans_from_half_before_the_centre():
    cut = cut_out(torch.ones(500, 1, 5, 4), 2, torch_stream(0))
    assert set((cut == 0).sum(dim=(1, 2, 3)).tolist()) == {1, 2, 4}


def test_cut_out_of_no_size_is_the_identity():
    images = torch.rand(4, 1, 5, 5)
    assert torch.equal(cut_out(images, 0, torch_stream(0)), images)


def test_cutout_draws_anew_at_every_step_and_the_same_again_after_a_resume():
    def at(step, seed=0):
        loop = make_loop()
        give(loop, torch.ones(16, 1, 8, 8), step=step)
        Cutout(4, seed).on(Event.BEFORE_LOSS, loop)
        return loop.inputs

    assert torch.equal(at(3), at(3))
    assert not torch.equal(at(3), at(4))
    assert not torch.equal(at(3), at(3, seed=1))


# --- mixup


def test_blend_by_hand():
    inputs = torch.tensor([[1.0], [5.0]])
    assert blend(inputs, torch.tensor([1, 0]), 0.75).tolist() == [[2.0], [4.0]]


def test_mixup_blends_inputs_and_losses_with_the_same_share_and_partners():
    loop, hook = make_loop(), Mixup(0.4, seed=0)
    hook.on(Event.FIT_START, loop)
    inputs, targets = torch.eye(3).repeat(4, 1), torch.arange(12) % 2
    give(loop, inputs, targets)
    hook.on(Event.BEFORE_LOSS, loop)
    assert 0 < hook.share < 1
    assert torch.allclose(loop.inputs, hook.share * inputs + (1 - hook.share) * inputs[hook.order])
    assert sorted(hook.order.tolist()) == list(range(12))
    outputs = torch.randn(12, 2, generator=torch_stream(0))
    hard = nn.functional.one_hot(targets, 2).float()
    soft = hook.share * hard + (1 - hook.share) * hard[hook.order]
    # Cross-entropy is linear in the targets; float32 sums in another order.
    assert loop.loss_fn(outputs, targets).item() == pytest.approx(
        cross_entropy(outputs, soft).item(), rel=1e-5
    )
    assert torch.equal(targets, torch.arange(12) % 2)


def test_mixup_agrees_with_blended_targets_under_label_smoothing():
    loop, hook = make_loop(), Mixup(1.0, seed=1)
    loop.loss_fn = partial(cross_entropy, label_smoothing=0.1)
    hook.on(Event.FIT_START, loop)
    targets = torch.arange(6) % 2
    give(loop, torch.rand(6, 3), targets)
    hook.on(Event.BEFORE_LOSS, loop)
    outputs = torch.randn(6, 2, generator=torch_stream(0))
    hard = nn.functional.one_hot(targets, 2).float()
    soft = hook.share * hard + (1 - hook.share) * hard[hook.order]
    expected = cross_entropy(outputs, soft, label_smoothing=0.1)
    assert loop.loss_fn(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_mixup_shares_follow_the_beta_distribution():
    loop, hook = make_loop(), Mixup(0.5, seed=0)
    shares = []
    for step in range(400):
        give(loop, torch.rand(2, 3), torch.tensor([0, 1]), step)
        hook.on(Event.BEFORE_LOSS, loop)
        shares.append(hook.share)
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)) = 1/8 for a = 1/2.
    values = torch.tensor(shares, dtype=torch.float64)
    assert values.mean().item() == pytest.approx(0.5, abs=0.07)  # 4 standard errors
    assert values.var().item() == pytest.approx(0.125, abs=0.02)


# --- distillation


def test_distillation_loss_by_hand():
    # T = 2, teacher logits (2 ln 3, 0): softened 3/4, 1/4; student (0, 0): 1/2, 1/2.
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2); times T^2 = 4.
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    got = distillation_loss(torch.zeros(1, 2), teacher, 2.0).item()
    assert got == pytest.approx(expected, rel=1e-6)
    assert distillation_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_distill_mixes_both_losses_and_asks_the_teacher_about_the_current_inputs():
    teacher = nn.Linear(3, 2)
    loop, hook = make_loop(teacher=teacher), Distill(0.25, 4.0)
    hook.on(Event.FIT_START, loop)
    inputs, targets = torch.rand(5, 3, generator=torch_stream(1)), torch.tensor([0, 1, 0, 1, 1])
    give(loop, inputs, targets)
    outputs = loop.model(inputs)
    loss = loop.loss_fn(outputs, targets)
    apart = distillation_loss(outputs, teacher(inputs), 4.0)
    expected = 0.75 * cross_entropy(outputs, targets) + 0.25 * apart
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    assert teacher.weight.grad is None


def test_distill_without_a_teacher_is_refused():
    with pytest.raises(ConfigError, match="needs a dense net"):
        Distill(0.5, 4.0).on(Event.FIT_START, make_loop())


# --- averages


def test_the_decay_starts_young():
    # (1 + t) / (10 + t) at t = 1, 8: 2/11, 1/2; far out the given decay.
    assert decay_at(1, 0.9) == pytest.approx(2 / 11)
    assert decay_at(8, 0.9) == pytest.approx(1 / 2)
    assert decay_at(1000, 0.9) == 0.9


def run_ema(loop, hook, values, start=0):
    """Set the weight to each value in turn, as steps of the loop would."""
    hook.on(Event.FIT_START, loop)
    for step, value in enumerate(values, start + 1):
        loop.step = step
        with torch.no_grad():
            loop.parameters["weight"].fill_(value)
        hook.on(Event.AFTER_STEP, loop)
    hook.on(Event.FIT_END, loop)


def filled(loop, value):
    with torch.no_grad():
        loop.parameters["weight"].fill_(value)
    return loop


def test_ema_ends_with_the_average_by_hand():
    # From 0, values 11, 4: after step 1 9/11 * 11 = 9; step 2: decay 3/12, 9/4 + 3 = 5.25.
    loop = filled(make_loop(num_steps=2), 0.0)
    run_ema(loop, EMA(0.9), [11.0, 4.0])
    assert loop.parameters["weight"].flatten().tolist() == pytest.approx([5.25] * 6, rel=1e-6)
    assert loop.extra == {}


def test_ema_keeps_masks():
    loop = filled(make_loop(num_steps=2), 1.0)
    loop.masks["weight"] = torch.tensor([[True, False, True], [False, True, True]])
    run_ema(loop, EMA(0.9), [2.0, 3.0])
    assert torch.equal(loop.parameters["weight"] != 0, loop.masks["weight"])


def test_ema_in_two_halves_equals_one_whole():
    whole = filled(make_loop(num_steps=4), 0.0)
    run_ema(whole, EMA(0.5), [1.0, 2.0, 3.0, 4.0])
    first = filled(make_loop(num_steps=4), 0.0)
    run_ema(first, EMA(0.5), [1.0, 2.0])
    assert (first.parameters["weight"] == 2).all()  # not finished: the weights are the weights
    second = filled(make_loop(num_steps=4, extra=dict(first.extra)), 2.0)
    run_ema(second, EMA(0.5), [3.0, 4.0], start=2)
    assert torch.equal(second.parameters["weight"], whole.parameters["weight"])


def test_ema_leaves_buffers_as_they_are():
    loop = make_loop(num_steps=1)
    loop.model.register_buffer("seen", torch.tensor([7.0]))
    run_ema(loop, EMA(0.9), [1.0])
    assert loop.model.seen.item() == 7


# --- all together


def test_a_plain_recipe_has_no_hooks():
    assert build_hooks(RecipeConfig(label_smoothing=0.1, bn_recalibration=True), seed=0) == []


def test_every_switch_brings_its_hook_with_its_settings():
    recipe = RecipeConfig(cutout=3, mixup=0.2, distill=0.5, distill_temperature=2.0, ema=0.9)
    cutout, mixup, distill = build_hooks(recipe, seed=5)
    (ema,) = averaging_hooks(recipe)
    assert (cutout.size, cutout.seed) == (3, 5)
    assert (mixup.alpha, mixup.seed) == (0.2, 5)
    assert (distill.weight, distill.temperature) == (0.5, 2.0)
    assert ema.decay == 0.9


def test_an_average_takes_in_what_the_masks_have_left():
    # Weight 0 is masked until the last of 20 steps, each of which would move it by -1. Behind the
    # masks the average sees 19 zeros and then -1: decay_at(20) = 21 / 30 of 0, 9 / 30 of -1.
    loop = make_loop(num_steps=20)
    weight = loop.parameters["weight"]
    weight.data.zero_()
    mask = loop.masks["weight"] = torch.ones_like(weight, dtype=torch.bool)
    mask[0, 0] = False
    hooks = [HardMasks(), *averaging_hooks(RecipeConfig(ema=0.99))]
    for hook in hooks:
        hook.on(Event.FIT_START, loop)
    for step in range(1, 21):
        if step == 20:
            mask.fill_(True)
            loop.masks_changed()
        weight.data -= 1.0
        loop.step = step
        for hook in hooks:
            hook.on(Event.AFTER_STEP, loop)
    assert loop.extra["ema/weight"][0, 0].item() == pytest.approx(-0.3)


def test_distillation_and_mixup_compose():
    teacher = nn.Linear(3, 2)
    loop = make_loop(teacher=teacher)
    mixup, distill = build_hooks(RecipeConfig(mixup=0.4, distill=0.5), seed=0)
    for hook in (mixup, distill):
        hook.on(Event.FIT_START, loop)
    targets = torch.tensor([0, 1, 1, 0])
    give(loop, torch.rand(4, 3, generator=torch_stream(2)), targets)
    for hook in (mixup, distill):
        hook.on(Event.BEFORE_LOSS, loop)
    outputs = loop.model(loop.inputs)
    own, partner = cross_entropy(outputs, targets), cross_entropy(outputs, targets[mixup.order])
    mixed = mixup.share * own + (1 - mixup.share) * partner
    expected = 0.5 * mixed + 0.5 * distillation_loss(outputs, teacher(loop.inputs), 4.0)
    assert loop.loss_fn(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-6)
