"""The small model computes what the masked one computes, and its plan rebuilds it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from autoprune.core.errors import VerificationError
from autoprune.pruning.compact import apply_plan, compact, compact_plan
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.low_rank import project
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import settle, tiny_conv, tiny_mlp, tiny_resnet


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 1)
        self.b = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.act = nn.PReLU(6)
        self.c = nn.Linear(6, 2)

    def forward(self, x):
        return self.c(self.act(self.b(self.a(x).relu())).mean((2, 3)))


NETS = {
    "mlp": (tiny_mlp, (4, 6)),
    "conv": (tiny_conv, (4, 1, 6, 6)),
    "resnet": (tiny_resnet, (4, 3, 8, 8)),
    "depthwise": (lambda: settle(Depthwise()), (4, 3, 5, 5)),
}


def batch(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def pruned(name, sparsity=0.5):
    """A masked model, its kept flags, and its groups."""
    build, shape = NETS[name]
    model = build()
    groups = find_groups(model, torch.zeros(shape))
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    view = ModelView(weights, dense_masks(weights), groups=groups)
    generator = torch.Generator().manual_seed(5)
    scores = {g.name: torch.rand(g.num_units, generator=generator) for g in groups}
    masks = keep_masks(scores, ChannelGranularity(), ALLOCATIONS.get("uniform"), sparsity, view)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key, mask in masks.masks.items():
            parameters[key].mul_(mask)
    units = {key: tuple(flags.int().tolist()) for key, flags in masks.units.items()}
    return model, units, groups, masks.masks, batch(shape)


@pytest.mark.parametrize("name", NETS)
def test_equals_the_masked_model_and_holds_only_what_lives(name):
    model, units, groups, masks, x = pruned(name)
    slim = compact(model, units, {}, groups)
    with torch.no_grad():
        expected, got = model(x), slim(x)
    # Both sum the same products, but zeros, in float32.
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6)
    counted = sum(
        int(masks[n].sum()) if n in masks else p.numel() for n, p in model.named_parameters()
    )
    assert sum(p.numel() for p in slim.parameters()) == counted
    assert counted < sum(p.numel() for p in model.parameters())


def test_modules_know_their_new_shapes():
    model, _, groups, _, _ = pruned("depthwise")
    slim = compact(model, {"a.weight": (1, 0, 1, 1, 0, 0)}, {}, groups)
    assert (slim.a.out_channels, slim.a.in_channels) == (3, 3)
    assert (slim.b.out_channels, slim.b.in_channels, slim.b.groups) == (3, 3, 3)
    assert (slim.act.num_parameters, slim.c.in_features, slim.c.out_features) == (3, 3, 2)
    assert torch.equal(slim.b.weight, model.b.weight[[0, 2, 3]])


def test_frozen_tensors_stay_frozen():
    model, units, groups, _, _ = pruned("conv")
    model[0].requires_grad_(False)
    slim = compact(model, units, {}, groups)
    assert not slim[0].weight.requires_grad
    assert slim[4].weight.requires_grad


def test_statistics_are_sliced_with_their_channels():
    model = tiny_conv()
    groups = find_groups(model, torch.zeros(2, 1, 6, 6))
    slim = compact(model, {"0.weight": (0, 1, 1, 0, 0, 1)}, {}, groups)
    assert slim[1].num_features == 3
    assert torch.equal(slim[1].running_var, model[1].running_var[[1, 2, 5]])
    assert torch.equal(slim[4].weight, model[4].weight[:, [1, 2, 5]])


def test_nothing_removed_is_a_plain_copy():
    model = tiny_conv()
    groups = find_groups(model, torch.zeros(2, 1, 6, 6))
    whole = {g.name: (1,) * g.num_units for g in groups}
    slim = compact(model, whole, {}, groups)
    state = slim.state_dict()
    assert all(torch.equal(state[n], v) for n, v in model.state_dict().items())
    assert compact_plan(model, slim) == {"tensors": {}, "ranks": {}, "attributes": {}}


def test_low_rank_layers_become_two_and_the_geometry_stays():
    model = settle(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=2, dilation=2, padding_mode="circular"),
            nn.Flatten(),
            nn.Linear(8 * 16, 5),
        )
    )
    ranks = {"0.weight": 2, "2.weight": 3}
    with torch.no_grad():
        for name, rank in ranks.items():
            weight = model.get_parameter(name)
            weight.copy_(project(weight, rank))
    x = batch((2, 3, 8, 8))
    slim = compact(model, {}, ranks, ())
    assert torch.allclose(slim(x), model(x), rtol=1e-4, atol=1e-5)  # two float32 sums for one
    assert not any(module.training for module in slim.modules())
    # 2 * (27 + 8) + bias 8, and 3 * (128 + 5) + bias 5.
    assert sum(p.numel() for p in slim[0].parameters()) == 78
    assert sum(p.numel() for p in slim[2].parameters()) == 404


def test_units_and_ranks_together():
    model, units, groups, _, x = pruned("conv")
    ranks = {"4.weight": 2}
    with torch.no_grad():
        model[4].weight.copy_(project(model[4].weight, 2))
    slim = compact(model, units, ranks, groups)
    with torch.no_grad():
        assert torch.allclose(slim(x), model(x), rtol=1e-4, atol=1e-5)
    check_plan(model, slim, tiny_conv, x)


def check_plan(model, slim, build, x):
    plan = json.loads(json.dumps(compact_plan(model, slim)))
    again = apply_plan(build(), plan)
    again.load_state_dict(slim.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), slim(x))
    assert str(again) == str(slim)


@pytest.mark.parametrize("name", NETS)
def test_a_plan_rebuilds_the_architecture(name):
    model, units, groups, _, x = pruned(name)
    check_plan(model, compact(model, units, {}, groups), NETS[name][0], x)


def test_the_given_model_and_the_global_generator_are_untouched():
    model, units, groups, _, _ = pruned("conv")
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    slim = compact(model, units, {"10.weight": 1}, groups)
    apply_plan(model, compact_plan(model, slim))
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_what_the_model_does_not_have_is_refused():
    model = tiny_mlp()
    with pytest.raises(VerificationError, match="no unit groups"):
        compact(model, {"9.weight": (1, 0)}, {}, ())
    with pytest.raises(VerificationError, match="not a layer"):
        compact(model, {}, {"1.weight": 2}, ())
    with pytest.raises(VerificationError, match=r"'9.weight'"):
        apply_plan(model, {"tensors": {"9.weight": [1, 2]}, "ranks": {}})
    with pytest.raises(VerificationError, match="'9'"):
        apply_plan(model, {"tensors": {}, "ranks": {"9": 1}})
    for integers in ({"9": {"num_heads": 1}}, {"0": {"heads": 1}}, {"0": {"training": 1}}):
        with pytest.raises(VerificationError, match="not this model's"):
            apply_plan(model, {"tensors": {}, "ranks": {}, "attributes": integers})
