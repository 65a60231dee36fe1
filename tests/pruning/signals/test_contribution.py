"""What each connection and kernel brings to its unit, worked by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.groups import find_groups
from autoprune.pruning.signals.contribution import (
    contribution,
    contribution_fro_mean,
    contribution_l1,
)
from autoprune.pruning.view import UnitGroup, UnitMember
from autoprune.testing.nets import settle, tiny_conv
from autoprune.testing.scores import ScoringTask

KINDS = {"mean_fro": contribution, "fro_mean": contribution_fro_mean, "l1": contribution_l1}


def task_of(inputs):
    split = TensorSplit(inputs, torch.zeros(len(inputs), dtype=torch.int64), torch.zeros(1))
    return ScoringTask(split)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(weight, bias=None):
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def test_a_linear_layer_by_hand():
    # mean|x| over (1, -2) and (3, 0) is (2, 1); |w| = (2, .5) and (1, 3); |b| = (1, 4).
    model = linear([[2.0, -0.5], [-1.0, 3.0]], [-1.0, 4.0])
    found = contribution(model, task_of(torch.tensor([[1.0, -2.0], [3.0, 0.0]])), (), 0)
    assert found["weight"].tolist() == [[4.0, 0.5], [2.0, 3.0]]
    assert found["bias"].tolist() == [1.0, 4.0]
    assert found["weight"].dtype is torch.float64


def test_tokens_are_averaged_like_images():
    model = linear([[1.0]])
    images = torch.tensor([[[1.0], [2.0]], [[3.0], [-6.0]]])
    assert contribution(model, task_of(images), (), 0)["weight"].tolist() == [[3.0]]


def test_a_layer_reads_what_the_net_makes_of_the_images():
    # relu(x) on -1, 3 is 0, 3: the second layer's input averages 1.5.
    model = nn.Sequential(linear([[1.0]]), nn.ReLU(), linear([[-2.0]]))
    found = contribution(model, task_of(torch.tensor([[-1.0], [3.0]])), (), 0)
    assert found["2.weight"].tolist() == [[3.0]]
    assert list(found) == ["0.weight", "2.weight"]  # no biases, no entries


def conv_by_hand():
    # One 1x2 kernel (1, -1) on a row of three; |K| * |x| adds neighbours: (1, -2, 2) gives (3, 4),
    # (0, 3, 1) gives (3, 4) too, (0, 0, 5) gives (0, 5): norms 5, 5, 5; mean map (2, 13/3).
    layer = nn.Conv2d(1, 1, (1, 2))
    layer.weight.data = torch.tensor([[[[1.0, -1.0]]]])
    layer.bias.data = torch.tensor([-2.0])
    images = torch.tensor([[1.0, -2.0, 2.0], [0.0, 3.0, 1.0], [0.0, 0.0, 5.0]])
    return layer, task_of(images.reshape(3, 1, 1, 3))


@pytest.mark.parametrize(
    ("reduce", "kernel", "bias"),
    [
        ("mean_fro", 5.0, 2 * 2**0.5),  # |b| sqrt(h w), h w = 2
        ("fro_mean", (4 + 169 / 9) ** 0.5, 2 * 2**0.5),
        ("l1", 2 + 13 / 3, 4.0),  # |b| h w
    ],
)
def test_a_convolution_by_hand(reduce, kernel, bias):
    layer, task = conv_by_hand()
    found = KINDS[reduce](layer, task, (), 0)
    assert found["weight"].shape == (1, 1, 1, 2)
    assert found["weight"].flatten().tolist() == pytest.approx([kernel, kernel], rel=1e-6)
    assert found["bias"].tolist() == pytest.approx([bias])


LAYERS = {
    "padded": nn.Conv2d(4, 6, 3, padding=1),
    "strided": nn.Conv2d(4, 6, 3, stride=2, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, dilation=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "same": nn.Conv2d(4, 6, 3, padding="same"),
    "circular": nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    "one dimension": nn.Conv1d(4, 6, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_of_every_convolution_equal_one_kernel_at_a_time(name):
    # The definition: leave one kernel in the layer, all absolute, and look at what comes out.
    layer = settle(copy.deepcopy(LAYERS[name]))
    images = drawn(5, 4, *(7,) * (layer.weight.dim() - 2))
    found = contribution(copy.deepcopy(layer), task_of(images), (), 0)["weight"]
    alone = copy.deepcopy(layer)
    for out in range(layer.weight.shape[0]):
        for channel in range(layer.weight.shape[1]):
            alone.weight.data.zero_()
            alone.weight.data[out, channel] = layer.weight.data[out, channel].abs()
            if alone.bias is not None:
                alone.bias.data.zero_()
            maps = alone(images.abs())[:, out].flatten(1).detach()
            expected = float(maps.norm(dim=1).mean())
            got = found[out, channel].unique()
            assert len(got) == 1
            assert float(got) == pytest.approx(expected, rel=1e-5)  # float32 maps


@pytest.mark.parametrize("reduce", KINDS)
def test_a_one_by_one_convolution_on_one_pixel_is_a_linear_layer(reduce):
    full = settle(nn.Linear(5, 3))
    layer = nn.Conv2d(5, 3, 1)
    layer.weight.data, layer.bias.data = full.weight.data[:, :, None, None], full.bias.data
    images = drawn(20, 5)
    dense = contribution(full, task_of(images), (), 0)
    found = KINDS[reduce](layer, task_of(images[:, :, None, None]), (), 0)
    assert torch.allclose(found["weight"].flatten(1), dense["weight"], rtol=1e-6)
    assert torch.equal(found["bias"], dense["bias"])


def test_the_norm_of_the_mean_is_at_most_the_mean_of_the_norms():
    layer, task = settle(nn.Conv2d(3, 4, 3)), task_of(drawn(30, 3, 6, 6))
    mean_fro, fro_mean = (KINDS[k](layer, task, (), 0)["weight"] for k in ("mean_fro", "fro_mean"))
    assert (fro_mean <= mean_fro * (1 + 1e-6)).all()
    assert not torch.allclose(fro_mean, mean_fro, rtol=1e-3)


def test_an_input_may_be_scaled_if_its_weights_take_it_back():
    model, images = settle(nn.Linear(4, 3)), drawn(10, 4)
    before = contribution(model, task_of(images), (), 0)
    model.weight.data[:, 2] /= 8
    images[:, 2] *= 8
    after = contribution(model, task_of(images), (), 0)
    assert torch.equal(before["weight"], after["weight"])


def two_layers(bias):
    model = nn.Sequential(linear([[1.0], [1.0]], bias), nn.ReLU(), linear([[1.0, 2.0]], [1.0]))
    rows = ((0,), (1,))
    members = (
        UnitMember("0.weight", 0, rows, "out"),
        UnitMember("0.bias", 0, rows, "out"),
        UnitMember("2.weight", 1, rows, "in"),
    )
    return model, (UnitGroup("0.weight", 2, members),)


def test_a_unit_that_is_never_active_receives_nothing():
    # relu(x - 9) is 0 on 1 and 2, relu(x) is not: the first unit's inputs and bias count as 0.
    model, groups = two_layers([-9.0, 0.5])
    found = contribution(model, task_of(torch.tensor([[1.0], [2.0]])), groups, 0)
    assert found["0.weight"].tolist() == [[0.0], [1.5]]
    assert found["0.bias"].tolist() == [0.0, 0.5]
    assert found["2.weight"].tolist() == [[0.0, 4.0]]
    assert found["2.bias"].tolist() == [1.0]
    # Without groups it is not known who reads whom, and the unit keeps what comes in.
    plain = contribution(model, task_of(torch.tensor([[1.0], [2.0]])), (), 0)
    assert plain["0.weight"].tolist() == [[1.5], [1.5]]


def test_dead_channels_are_found_behind_norm_pool_and_flatten():
    model = tiny_conv()
    model[1].weight.data[3], model[1].bias.data[3] = 0.0, -1.0  # channel 3 ends below 0
    model[4].weight.data[1], model[4].bias.data[1] = 0.0, -1.0
    groups = find_groups(model, torch.zeros(2, 1, 6, 6))
    found = contribution(copy.deepcopy(model), task_of(drawn(9, 1, 6, 6)), groups, 0)
    dead = {
        n: (found[n].flatten(1).sum(1) == 0).nonzero().flatten().tolist()
        for n in found
        if n.endswith("weight")
    }
    assert dead["0.weight"] == [3]
    assert 1 in dead["4.weight"]
    assert dead["10.weight"] == []


def test_images_are_read_as_they_are_and_at_most_a_thousand():
    class Counting(TensorSplit):
        def batches(self, batch_size, *, order=None, augment=None):
            assert augment is None
            seen.extend(order.tolist())
            return super().batches(batch_size, order=order, augment=augment)

    seen = []
    split = Counting(torch.rand(1100, 2), torch.zeros(1100, dtype=torch.int64), torch.zeros(1))
    contribution(nn.Linear(2, 2), ScoringTask(split), (), 0)
    assert len(seen) == len(set(seen)) == 1000


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs):
        return functional.linear(inputs, self.layer.weight)


@pytest.mark.parametrize(
    ("model", "shape", "name"),
    [
        (Functional(), (2,), "layer.weight"),
        (nn.ConvTranspose2d(1, 2, 3), (1, 4, 4), "weight"),
    ],
    ids=["functional", "transposed"],
)
def test_a_weight_whose_inputs_cannot_be_watched_is_refused(model, shape, name):
    with pytest.raises(TaskError, match=f"model's {name} must belong to a linear layer"):
        contribution(model, task_of(torch.rand(3, *shape)), (), 0)
