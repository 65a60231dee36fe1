"""Residual streams with zero-padded shortcuts lose channels, and the shortcuts lose zeros."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.models.build import build_model
from autoprune.pruning.compact import apply_plan, compact, compact_plan, live_entries, slots
from autoprune.pruning.groups import inspect_groups
from autoprune.pruning.padding import spell_out

SHAPE = (3, 8, 8)
EXAMPLE = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    model = build_model("resnet20", 10, SHAPE, 0.5).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


@pytest.fixture(scope="module")
def report(net: nn.Module):
    return inspect_groups(net.float(), EXAMPLE.float())


def test_only_the_outputs_stay(net, report) -> None:
    assert list(report.left_out) == ["fc.weight"]
    sizes = {group.name: group.num_units for group in report.groups}
    # 8, 16 and 32 channels: what a stage adds to the one before has a group of its own.
    streams = {"conv1.weight": 8, "layer2.0.conv2.weight": 8, "layer3.0.conv2.weight": 16}
    assert streams.items() <= sizes.items()
    assert len(sizes) == 3 + 9  # and the inner channels of nine blocks


def test_an_even_half_is_the_net_of_half_the_width(net, report) -> None:
    flags = {g.name: [1, 0] * (g.num_units // 2) for g in report.groups}
    slim = compact(net, flags, {}, report.groups)
    half = build_model("resnet20", 10, SHAPE, 0.25)
    assert {n: v.shape for n, v in slim.state_dict().items()} == {
        n: v.shape for n, v in half.state_dict().items()
    }
    assert slim.layer2[0].shortcut.before == half.layer2[0].shortcut.before == 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_removing_equals_masking(seed: int, net, report) -> None:
    stream = torch.Generator().manual_seed(seed)
    model = net.double()
    flags = {g.name: torch.rand(g.num_units, generator=stream) < 0.5 for g in report.groups}
    for alive in flags.values():
        alive[int(torch.randint(len(alive), (1,), generator=stream))] = True
    parameters = dict(model.named_parameters())
    masked = {}
    for name, dims in live_entries(slots(report.groups), flags).items():
        for dim, alive in dims.items():
            if name in parameters:
                shape = [-1 if d == dim else 1 for d in range(parameters[name].dim())]
                masked[name] = masked.get(name, parameters[name]) * alive.reshape(shape)
    with torch.no_grad():
        expected = torch.func.functional_call(model, masked, (EXAMPLE,))
        slim = compact(model, {n: f.int().tolist() for n, f in flags.items()}, {}, report.groups)
        rebuilt = apply_plan(model, compact_plan(model, slim))
        rebuilt.load_state_dict(slim.state_dict())
        assert torch.allclose(slim(EXAMPLE), expected, rtol=1e-9, atol=1e-9)  # float64
        assert torch.equal(rebuilt.eval()(EXAMPLE), slim(EXAMPLE))


def test_a_net_without_padding_is_its_own_trace() -> None:
    model = build_model("conv2", 10, SHAPE, 0.25)
    assert spell_out(model, EXAMPLE.float()).model is model
