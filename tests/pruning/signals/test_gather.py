from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.data.tensors import TensorSplit
from autoprune.pruning.signals.activation import activation
from autoprune.pruning.signals.base import balanced_sample
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.signals.gradient import gradient
from autoprune.pruning.view import Signal, UnitGroup, UnitMember
from autoprune.testing.scores import ScoringTask, make_groups, make_model, make_task, snapshot


def task_of(inputs, targets):
    return ScoringTask(TensorSplit(inputs, targets, torch.zeros(1)))


def singles(count):
    return tuple((unit,) for unit in range(count))


def linear(weight, bias=None):
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(torch.zeros(len(weight)) if bias is None else torch.tensor(bias))
    return layer


def test_a_balanced_sample_takes_as_many_of_each_class_and_all_of_a_small_one():
    targets = torch.tensor([0] * 90 + [1] * 30 + [2] * 4)
    chosen = balanced_sample(targets, 10, seed=0)
    assert torch.bincount(targets[chosen]).tolist() == [10, 10, 4]
    assert len(chosen.unique()) == 24
    assert torch.equal(chosen, balanced_sample(targets, 10, seed=0))
    assert not torch.equal(chosen, balanced_sample(targets, 10, seed=1))


def test_gradient_of_cross_entropy_by_hand():
    # Zero weights: both classes have probability 1/2, so dL/dw_k = mean((1/2 - [y = k]) x) with
    # x = 1 for class 0 and 3 for class 1: class 0 row (-1/2 * 1 + 1/2 * 3) / 2 = 1/2, class 1 -1/2.
    model = linear([[0.0], [0.0]])
    task = task_of(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
    got = gradient(model, task, (), 0)
    assert got["weight"].tolist() == [[0.5], [-0.5]]
    assert got["bias"].tolist() == [0.0, 0.0]
    assert got["weight"].dtype is torch.float64


def test_gradient_is_the_mean_over_chunks():
    # 30 classes, 300 images: two chunks of unequal size.
    stream = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(300, 4, generator=stream), torch.arange(300) % 30
    model = nn.Linear(4, 30).double()
    nn.functional.cross_entropy(model(inputs.double()), targets).backward()
    whole = model.weight.grad
    model.zero_grad()
    got = gradient(model, task_of(inputs, targets), (), 0)["weight"]
    assert torch.allclose(got, whole, rtol=1e-9, atol=1e-13)  # another order of summation


def test_gradient_of_what_the_loss_does_not_reach_is_zero():
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    model.forward = lambda inputs: model["used"](inputs)
    task = task_of(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    got = gradient(model, task, (), 0)
    assert got["used.weight"].any()
    assert not got["unused.weight"].any()


def test_frozen_parameters_have_gradients_too():
    model = linear([[0.0], [0.0]]).requires_grad_(False)
    task = task_of(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
    got = gather(frozenset({Signal.GRADIENT}), model, task, (), 0)
    assert got[Signal.GRADIENT]["weight"].any()
    assert not model.weight.requires_grad


def test_a_norm_with_all_zero_scales_hides_nothing():
    model = make_model()
    model[1].weight.data.zero_()
    got = gather(frozenset({Signal.GRADIENT}), model, make_task(), (), 0)[Signal.GRADIENT]
    assert got["0.weight"].any()
    assert not model[1].weight.any()


def test_a_norm_with_one_zero_scale_is_taken_as_it_is():
    model = make_model()
    model[1].weight.data[2] = 0
    got = gather(frozenset({Signal.GRADIENT}), model, make_task(), (), 0)[Signal.GRADIENT]
    assert not got["0.weight"][2].any()
    assert got["0.weight"][1].any()


def test_activation_of_a_hidden_layer_by_hand():
    # Units relu(x), relu(-2x), relu(x + 1) on x = 1 and x = -3: means 1/2, 6/2, 2/2.
    model = nn.Sequential(
        linear([[1.0], [-2.0], [1.0]], [0.0, 0.0, 1.0]), nn.ReLU(), nn.Linear(3, 2)
    )
    group = UnitGroup(
        "0.weight",
        3,
        (UnitMember("0.weight", 0, singles(3), "out"), UnitMember("2.weight", 1, singles(3), "in")),
    )
    task = task_of(torch.tensor([[1.0], [-3.0]]), torch.tensor([0, 1]))
    got = activation(model, task, (group,), 0)
    assert got["0.weight"].tolist() == [0.5, 3.0, 1.0]
    assert got["0.weight"].dtype is torch.float64


def test_activation_averages_a_units_positions_and_its_consumers():
    class TwoReaders(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Linear(8, 2)
            self.conv = nn.Conv2d(2, 1, 1)

        def forward(self, images):
            return self.flat(images.flatten(1)) + self.conv(images * 3).mean()

    # Two channels of four pixels. Unit 0: mean |x| = (1 + 2 + 3 + 4) / 4 = 2.5, unit 1: 1. The
    # convolution sees three times that, so the means over both readers are 2 * 2.5 and 2 * 1.
    images = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    flat = UnitMember("flat.weight", 1, ((0, 1, 2, 3), (4, 5, 6, 7)), "in")
    conv = UnitMember("conv.weight", 1, singles(2), "in")
    got = activation(
        TwoReaders(), task_of(images, torch.tensor([0])), (UnitGroup("g", 2, (flat, conv)),), 0
    )
    assert got["g"].tolist() == pytest.approx([5.0, 2.0])


def test_activation_reads_images_as_they_are_and_at_most_two_thousand():
    class Counting(TensorSplit):
        def batches(self, batch_size, *, order=None, augment=None):
            assert augment is None
            seen.extend(order.tolist())
            return super().batches(batch_size, order=order, augment=augment)

    seen = []
    split = Counting(torch.rand(2100, 1, 6, 6), torch.arange(2100) % 3, torch.zeros(1))
    activation(make_model(), ScoringTask(split), make_groups(), 0)
    assert len(seen) == len(set(seen)) == 2000


def test_gathering_everything_leaves_the_model_untouched():
    model = make_model()
    before = snapshot(model)
    signals = gather(frozenset(Signal), model, make_task(), make_groups(), 0)
    assert set(signals) == set(Signal)
    after = snapshot(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not model[0]._forward_pre_hooks
    assert model[0].weight.dtype is torch.float32


def test_dropout_is_off():
    plain = linear([[1.0, -1.0], [0.0, 2.0]])
    task = task_of(
        torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2
    )
    dropping = nn.Sequential(nn.Dropout(0.9), plain)
    expected = gradient(linear([[1.0, -1.0], [0.0, 2.0]]), task, (), 0)["weight"]
    assert torch.equal(gradient(dropping, task, (), 0)["1.weight"], expected)
