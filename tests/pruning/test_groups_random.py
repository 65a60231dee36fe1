"""Random networks: whatever units are found, a small model equals its masked twin."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.compact import BUFFERS, apply_plan, compact, compact_plan, slots
from autoprune.pruning.groups import inspect_groups
from autoprune.testing.nets import settle

SIZE = 4
KINDS = ("plain", "residual", "concat", "depthwise", "grouped", "deep")


class Step(nn.Module):
    """One step of a random network, from `width` channels to `out`."""

    def __init__(self, kind, width, norm):
        super().__init__()
        self.kind = kind
        self.out = width
        if kind == "plain":
            self.out = 12 if width == 8 else 8
            self.a = nn.Conv2d(width, self.out, 1, bias=not norm)
        elif kind == "residual":
            self.a, self.b = nn.Conv2d(width, 6, 3, padding=1), nn.Conv2d(6, width, 1, bias=False)
        elif kind == "concat":
            self.a, self.out = nn.Conv2d(width, 4, 1), width + 4
        elif kind == "depthwise":
            self.a = nn.Conv2d(width, width, 3, padding=1, groups=width)
        elif kind == "grouped":
            self.a, self.out = nn.Conv2d(width, 8, 3, padding=1, groups=2), 8
        else:  # a grouped convolution within a residual block
            self.a, self.b = nn.Conv2d(width, 8, 1), nn.Conv2d(8, 12, 3, padding=1, groups=4)
            self.c = nn.Conv2d(12, width, 1)
        self.norm = nn.BatchNorm2d(self.out) if norm else nn.Identity()

    def forward(self, x):
        if self.kind == "residual":
            y = x + self.b(self.a(x).relu())
        elif self.kind == "concat":
            y = torch.cat([self.a(x), x], 1)
        elif self.kind == "deep":
            y = x + self.c(self.b(self.a(x).relu()).relu())
        else:
            y = self.a(x)
        return nn.functional.leaky_relu(self.norm(y), 0.3)


class Net(nn.Module):
    def __init__(self, kinds, norms, flat):
        super().__init__()
        steps = [nn.Conv2d(3, 8, 3, padding=1)]
        width = 8
        for kind, norm in zip(kinds, norms, strict=True):
            steps.append(Step(kind, width, norm))
            width = steps[-1].out
        self.steps, self.flat = nn.Sequential(*steps), flat
        self.hidden = nn.Linear(width * SIZE if flat else width, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.steps(x), 2)
        return self.head(self.hidden(x.flatten(1) if self.flat else x.mean((2, 3))).relu())


def compare(build, flags_of):
    """Return the groups, and both models' outputs on one batch."""
    model = build()
    report = inspect_groups(model, torch.zeros(2, 3, SIZE, SIZE))
    model.double()
    units = {group.name: flags_of(group) for group in report.groups}
    x = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        dense = model(x)
        slim = compact(model, units, {}, report.groups)
        for place in slots(report.groups):
            if place.name.rpartition(".")[2] not in BUFFERS:
                alive = torch.tensor(units[place.group]).bool()[place.owner.clamp(min=0)]
                value = model.get_parameter(place.name)
                shape = [-1 if d == place.dim else 1 for d in range(value.dim())]
                value.mul_((alive | (place.owner < 0)).reshape(shape))
        expected, got = model(x), slim(x)
    again = apply_plan(build().double(), json.loads(json.dumps(compact_plan(model, slim))))
    again.load_state_dict(slim.state_dict())
    assert str(again) == str(slim)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), got)
    return report, dense, expected, got


def some_of(stream):
    def flags(group):
        alive = torch.rand(group.num_units, generator=stream) < 0.6
        alive[int(torch.randint(group.num_units, (1,), generator=stream))] = True
        return alive.int().tolist()

    return flags


@settings(derandomize=True, max_examples=15, deadline=None)
@given(data=st.data(), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
def test_any_units_go_from_any_network_without_a_trace(data, kinds):
    norms = data.draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds)))
    flat, seed = data.draw(st.booleans()), data.draw(st.integers(0, 99))
    stream = torch.Generator().manual_seed(seed)

    def build():
        return settle(Net(kinds, norms, flat), seed)

    report, _, expected, got = compare(build, some_of(stream))
    # Both sum the same products, but zeros, in float64.
    assert float((got - expected).abs().max()) <= 1e-10 * float(expected.abs().max())
    owned = {m.name for group in report.groups for m in group.members if m.role == "out"}
    assert set(prunable_parameters(build())[0]) - owned == set(report.left_out)
    assert "hidden.weight" in {group.name for group in report.groups}
    # Only what is concatenated may be coupled in a way that removal cannot follow.
    assert "concat" in kinds or list(report.left_out) == ["head.weight"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_step_loses_units(kind):
    report, dense, expected, got = compare(
        lambda: settle(Net([kind, "plain"], [True, False], flat=True)),
        some_of(torch.Generator().manual_seed(1)),
    )
    assert set(report.left_out) == {"head.weight"}
    assert float((expected - dense).abs().max()) > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
