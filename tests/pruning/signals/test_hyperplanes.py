"""Batch norms folded into the layers they read."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.data.tensors import TensorSplit
from autoprune.pruning.groups import find_groups
from autoprune.pruning.signals.hyperplanes import hyperplanes
from autoprune.pruning.view import UnitGroup, UnitMember
from autoprune.testing.nets import settle, tiny_conv, tiny_mlp
from autoprune.testing.scores import ScoringTask


def task_of(*shape):
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    return ScoringTask(TensorSplit(images, torch.arange(3) % 2, torch.zeros(1)))


def group_of(*names, num_units=2):
    index = tuple((unit,) for unit in range(num_units))
    return UnitGroup(names[0], num_units, tuple(UnitMember(n, 0, index, "out") for n in names))


def planes_of(model, *shape):
    groups = find_groups(model, torch.zeros(2, *shape))
    return hyperplanes(model, task_of(*shape), groups, 0)


def seen_by(model, module, values):
    """Return what a module of the model puts out, in eval mode."""
    found = []
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        model(values)
    handle.remove()
    return found[0]


def test_folding_by_hand():
    # sigma = 2, gamma = 4, beta = 1, mu = 5: w = 4/2 * 3 = 6, b = 1 + 4/2 * (2 - 5) = -5. The
    # other unit has gamma = -2: w = -1 * 1 = -1, b = 0 - 1 * (0 - 1) = 1.
    norm = nn.BatchNorm1d(2)
    model = nn.Sequential(nn.Linear(1, 2), norm, nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0], [1.0]]))
        model[0].bias.copy_(torch.tensor([2.0, 0.0]))
        norm.weight.copy_(torch.tensor([4.0, -2.0]))
        norm.bias.copy_(torch.tensor([1.0, 0.0]))
        norm.running_mean.copy_(torch.tensor([5.0, 1.0]))
        norm.running_var.copy_(torch.tensor([4.0, 4.0]) - norm.eps)
    found = hyperplanes(model, task_of(1), (group_of("0.weight", "1.weight"),), 0)
    assert list(found) == ["0.weight"]
    assert found["0.weight"].dtype is torch.float64
    for row, expected in zip(found["0.weight"].tolist(), [[6, -5], [-1, 1]], strict=True):
        assert row == pytest.approx(expected, rel=1e-6)  # 4 - eps is rounded in float32


def test_without_norms_planes_are_weights_and_biases():
    model = tiny_mlp()
    found = planes_of(model, 6)
    assert list(found) == ["0.weight", "2.weight"]  # the outputs are no units
    for name, planes in found.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        assert torch.equal(planes[:, :-1], layer.weight.detach().double())
        assert torch.equal(planes[:, -1], layer.bias.detach().double())


def test_a_plane_is_what_the_norm_puts_out():
    model = tiny_conv()
    found = planes_of(model, 1, 6, 6)
    assert list(found) == ["0.weight", "4.weight", "7.weight"]
    model.double()
    images = torch.rand(5, 1, 6, 6, dtype=torch.float64)
    first = found["0.weight"]
    expected = functional.conv2d(images, first[:, :-1].view(6, 1, 3, 3), first[:, -1], padding=1)
    assert torch.allclose(seen_by(model, model[1], images), expected, atol=1e-12)
    last = found["7.weight"]
    inputs = seen_by(model, model[6], images)
    expected = functional.linear(inputs, last[:, :-1], last[:, -1])
    assert torch.allclose(seen_by(model, model[8], images), expected, atol=1e-12)


class Branches(nn.Module):
    """Two layers that meet in a sum, their norms named the other way round, and one after it."""

    def __init__(self):
        super().__init__()
        self.norm_b, self.norm_a, self.after = (nn.BatchNorm1d(2) for _ in range(3))
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)
        self.out = nn.Linear(2, 2)

    def forward(self, values):
        total = self.norm_a(self.a(values)) + self.norm_b(self.b(values))
        return self.out(torch.relu(self.after(total)))


def test_each_branch_has_its_own_norm_and_a_sum_s_norm_is_nobodys():
    model = settle(Branches())
    names = ("a.weight", "b.weight", "norm_a.weight", "norm_b.weight", "after.weight")
    found = hyperplanes(model, task_of(3), (group_of(*names),), 0)
    values = torch.rand(5, 3, dtype=torch.float64)
    model.double()
    for branch, norm in (("a", model.norm_a), ("b", model.norm_b)):
        planes = found[f"{branch}.weight"]
        expected = functional.linear(values, planes[:, :-1], planes[:, -1])
        assert torch.allclose(seen_by(model, norm, values), expected, atol=1e-12)


def test_norms_without_scales_or_statistics():
    # Without scales sigma still divides; without statistics nothing is known, so nothing is folded.
    plain = settle(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2)))
    sigma = (plain[1].running_var.double() + plain[1].eps).sqrt()
    groups = (group_of("0.weight"),)
    planes = hyperplanes(plain, task_of(3), groups, 0)["0.weight"]
    assert torch.allclose(planes[:, :-1] * sigma[:, None], plain[0].weight.detach().double())
    loose = nn.Sequential(
        nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 2)
    )
    weight = loose[0].weight.detach().double().clone()

    class Pairs(nn.Module):  # a norm without statistics wants more than one value
        def __init__(self):
            super().__init__()
            self.net = loose

        def forward(self, values):
            return self.net(values.expand(2, -1))

    planes = hyperplanes(Pairs(), task_of(3), (group_of("net.0.weight"),), 0)["net.0.weight"]
    assert torch.equal(planes[:, :-1], weight)


def test_depthwise_kernels_are_left_out():
    model = settle(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv2d(4, 2, 4),
            nn.Flatten(),
        )
    )
    groups = find_groups(model, torch.zeros(2, 1, 4, 4))
    assert {m.name for g in groups for m in g.members} >= {"0.weight", "1.weight"}
    assert list(hyperplanes(model, task_of(1, 4, 4), groups, 0)) == ["0.weight"]
    # ... unless there is nothing else to go by.
    alone = (group_of("1.weight", num_units=4),)
    assert list(hyperplanes(model, task_of(1, 4, 4), alone, 0)) == ["1.weight"]
