"""Signals of units that a grouped convolution reads and makes: a channel in each of its groups."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autoprune.data.tensors import TensorSplit
from autoprune.pruning.groups import find_groups
from autoprune.pruning.readers import units_with
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.view import Signal
from autoprune.testing.nets import settle
from autoprune.testing.scores import ScoringTask


class Grouped(nn.Module):
    """8 channels are read in 2 groups of 4, and 6 made in 2 groups of 3."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 1)
        self.grouped = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.grouped(self.stem(x).relu()).relu().mean((2, 3)))


def ungrouped(model):
    """The same network, the grouped convolution written as a whole one with zeros."""
    twin = copy.deepcopy(model)
    twin.grouped = nn.Conv2d(8, 6, 3, padding=1)
    with torch.no_grad():
        twin.grouped.weight.zero_()
        twin.grouped.bias.copy_(model.grouped.bias)
        for group in (0, 1):
            rows, columns = slice(3 * group, 3 * group + 3), slice(4 * group, 4 * group + 4)
            twin.grouped.weight[rows, columns] = model.grouped.weight[rows]
    return twin.eval()


@pytest.fixture(scope="module")
def found():
    """Every unit signal, of the network and of its twin, by unit groups of each."""
    model = settle(Grouped()).double()
    twin, shape = ungrouped(model), (2, 1, 4, 4)
    inputs = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    split = TensorSplit(inputs, torch.arange(12) % 3, torch.zeros(1, 1, 1))
    signals = frozenset(
        {Signal.ACTIVATION, Signal.READOUT, Signal.UNIT_CURVATURE, Signal.CONTRIBUTION}
    )
    results = []
    for net in (model, twin):
        groups = find_groups(copy.deepcopy(net).float(), torch.zeros(shape))
        results.append(gather(signals, net.float(), ScoringTask(split), groups, 0))
    return results


def test_activations_of_both_groups_are_averaged(found):
    ours, whole = (signals[Signal.ACTIVATION] for signals in found)
    for name, width in (("stem.weight", 4), ("grouped.weight", 3)):
        assert torch.allclose(ours[name], whole[name].reshape(2, width).mean(0))


def test_a_readout_is_the_sum_over_pairs_of_channels(found):
    ours, whole = (signals[Signal.READOUT] for signals in found)
    for name, width in (("stem.weight", 4), ("grouped.weight", 3)):
        mass = whole[name][:, 0].reshape(2, width).sum(0)
        pull = whole[name][:, 1:].reshape(2, width, 2, width).sum((0, 2))
        assert torch.allclose(ours[name][:, 0], mass)
        assert torch.allclose(ours[name][:, 1:], pull)


def test_curvature_has_a_column_for_each_unit(found):
    curvature = found[0][Signal.UNIT_CURVATURE]
    assert {name: value.shape for name, value in curvature.items()} == {
        "stem.weight": (2, 4),
        "grouped.weight": (2, 3),
    }
    assert all(bool((value >= 0).all() and value.sum() > 0) for value in curvature.values())


def test_contributions_are_those_of_the_kernels_that_are_there(found):
    ours, whole = (signals[Signal.CONTRIBUTION]["grouped.weight"] for signals in found)
    expected = torch.cat([whole[:3, :4], whole[3:, 4:]])
    assert torch.allclose(ours, expected, rtol=1e-5)


def test_a_unit_is_read_where_one_of_its_channels_is():
    groups = find_groups(settle(Grouped()), torch.zeros(2, 1, 4, 4))
    lit = torch.tensor([0, 0, 0, 1, 0, 1, 0, 1]).bool()
    assert units_with(groups, {"grouped.weight": lit})["stem.weight"].tolist() == [0, 1, 0, 1]
