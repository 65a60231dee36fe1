"""Units that a single layer reads, and how far removing only these can go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.core.errors import TaskError
from autoprune.core.records import LayerInfo
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.granularities.inner_channel import InnerChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.reach import find_reach, find_units
from autoprune.pruning.readers import read_once
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import settle, tiny_conv, tiny_mlp, tiny_resnet


class Residual(nn.Module):
    """A stream of 4, which three layers make or read, around a block of 6; 24 weights each."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(6, 4, 1, bias=False)
        self.into = nn.Conv2d(4, 6, 1, bias=False)
        self.back = nn.Conv2d(6, 4, 1, bias=False)
        self.head = nn.Linear(4, 6, bias=False)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.back(self.into(x).relu())).relu().mean((2, 3)))


def view_of(model, shape):
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    return ModelView(weights, dense_masks(weights), groups=find_groups(model, torch.zeros(shape)))


def residual_view():
    return view_of(settle(Residual()), (2, 6, 3, 3))


def test_what_a_single_layer_reads():
    view = residual_view()
    assert [group.name for group in view.groups] == ["stem.weight", "into.weight"]
    assert [group.name for group in read_once(view.groups)] == ["into.weight"]
    for model, shape in (
        (tiny_mlp(), (2, 6)),
        (tiny_conv(), (2, 1, 6, 6)),
        (tiny_resnet(), (2, 3, 8, 8)),
    ):
        groups = find_groups(model, torch.zeros(shape))
        assert read_once(groups) == groups


def test_the_stream_stays_whole():
    view, granularity = residual_view(), InnerChannelGranularity()
    scores = {group.name: torch.arange(group.num_units).double() for group in view.groups}
    # All 96 weights count. A unit of the block holds 8 of them: 4 units gone are 32, a third.
    found = keep_masks(scores, granularity, ALLOCATIONS.get("uniform"), 1 / 3, view)
    assert {n: flags.tolist() for n, flags in found.units.items()} == {
        "into.weight": [False] * 4 + [True] * 2
    }
    assert sum(int(mask.sum()) for mask in found.masks.values()) == 64
    assert bool(found.masks["stem.weight"].all())
    assert bool(found.masks["head.weight"].all())


def test_the_greatest_sparsity_is_that_of_the_inner_units():
    view = residual_view()
    # Five units of the block, 40 of 96 weights; with all groups down to one, 1 - 14 / 96.
    assert InnerChannelGranularity().reachable(view) == pytest.approx(40 / 96)
    assert ChannelGranularity().reachable(view) == pytest.approx(1 - (6 + 1 + 1 + 6) / 96)


def test_reach_is_told_of_a_model():
    layers = [
        LayerInfo("stem.weight", (4, 6, 1, 1), "conv", 216),
        LayerInfo("into.weight", (6, 4, 1, 1), "conv", 216),
        LayerInfo("back.weight", (4, 6, 1, 1), "conv", 216),
        LayerInfo("head.weight", (6, 4), "linear", 24),
    ]
    model = settle(Residual())
    reach = find_reach(model, layers, find_units(model, layers, (6, 3, 3)))
    assert reach["inner_channel"] == pytest.approx(40 / 96)
    # Five of six units take 5/6 of two layers' 216 with them.
    assert reach["inner_channel_macs"] == pytest.approx(2 * 180 / (3 * 216 + 24))
    assert reach["units"] > 0.8


def test_a_model_without_such_units():
    model = nn.Sequential(nn.Linear(3, 2))
    layers = [LayerInfo("0.weight", (2, 3), "linear", 6)]
    reach = find_reach(model, layers, find_units(model, layers, (3,)))
    assert (reach["inner_channel"], reach["inner_channel_macs"]) == (0.0, 0.0)
    with pytest.raises(TaskError, match="must have channels or neurons"):
        InnerChannelGranularity().pool({}, view_of(model, (2, 3)))
