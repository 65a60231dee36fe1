"""Steps of units, floors, and how far they let a model go."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.core.records import TaskInfo
from autoprune.metrics.layers import prunable_layers
from autoprune.models.build import build_model
from autoprune.pruning import grain
from autoprune.pruning.grain import Grain, greatest
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.granularities.inner_channel import InnerChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.reach import find_reach, find_units
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import tiny_conv, tiny_mlp

SIZES = st.lists(st.tuples(st.integers(1, 90), st.floats(0, 1)), min_size=1, max_size=5)


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(grain).failed == 0


def test_only_below_the_first_multiple_do_narrow_groups_go_in_finer_steps() -> None:
    # Card: eight at a time; below eight an eighth of the group, where that divides eight.
    steps = {4: 1, 8: 1, 16: 2, 24: 2, 32: 4, 60: 4, 64: 8, 512: 8}
    assert {size: Grain(8).step(size) for size in steps} == steps
    assert {size: Grain(8).least(size) for size in steps} == steps
    counts = {size: {Grain(8).at_most(k, size) for k in range(size + 1)} for size in (6, 16, 60)}
    assert counts[6] == {0, 1, 2, 3, 4, 5, 6}
    assert counts[16] == {0, 2, 4, 6, 8, 16}
    assert counts[60] == {0, 4, 8, 16, 24, 32, 40, 48, 56, 60}
    # A tenth of 100 is 10 units, of which 16 is the next multiple; of 60 it is 6, and then 8.
    assert Grain(8, 0.1).least(100) == 16
    assert Grain(8, 0.1).least(60) == 8
    assert Grain(1, 0.1).least(100) == 10
    assert Grain(1, 0.0).least(100) == 1


@given(sizes=SIZES, round_to=st.integers(1, 10), floor=st.floats(0, 0.9))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_counts_are_whole_steps_near_what_was_asked(sizes, round_to, floor) -> None:
    rule = Grain(round_to, floor)
    num = {str(k): size for k, (size, _) in enumerate(sizes)}
    wanted = {str(k): round(size * share) for k, (size, share) in enumerate(sizes)}
    found = rule.counts(wanted, num, num)
    for name, count in found.items():
        step = rule.widest(num[name])
        assert count % rule.step(num[name]) == 0 or count == num[name]
        assert rule.least(num[name]) <= count <= num[name]
        if wanted[name] >= rule.least(num[name]):
            assert abs(count - wanted[name]) < step
    assert sum(n != rule.at_most(n, num[name]) for name, n in found.items()) <= 1
    free = [n for n in num if rule.least(num[n]) <= wanted[n]]
    most = max(rule.widest(size) for size in num.values())
    assert abs(sum(found[n] - wanted[n] for n in free)) <= most / 2
    if round_to == 1 and floor == 0:
        assert found == {name: max(1, count) for name, count in wanted.items()}


def narrow() -> nn.Module:
    """A residual net whose stages share channels through padded shortcuts."""
    return build_model("resnet20", 10, (3, 8, 8), 0.25)


@pytest.mark.parametrize(
    ("make", "shape"), [(tiny_mlp, (6,)), (tiny_conv, (1, 6, 6)), (narrow, (3, 8, 8))]
)
@pytest.mark.parametrize(("round_to", "floor"), [(1, 0.0), (8, 0.0), (1, 0.5), (8, 0.3)])
def test_the_driver_s_sum_is_the_worker_s_count(make, shape, round_to, floor) -> None:
    model = make()
    layers = tuple(prunable_layers(model, torch.zeros(1, *shape)))
    units = find_units(model, layers, shape)
    info = TaskInfo(
        *(1, 1, 1, 3, shape, layers, 1, 1, "f"),
        reach=find_reach(model, layers, units),
        units=units,
    )
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    groups = find_groups(model, torch.zeros(2, *shape))
    view = ModelView(weights, dense_masks(weights), groups=groups)
    rule = Grain(round_to, floor)
    wanted = ChannelGranularity(round_to, floor).reachable(view)
    assert greatest(info.layers, info.units, rule) == pytest.approx(wanted)
    inner = tuple(group for group in info.units if group.inner)
    assert greatest(info.layers, inner, rule) == pytest.approx(
        InnerChannelGranularity(round_to, floor).reachable(view)
    )
    if (round_to, floor) == (1, 0.0):
        assert info.reach["units"] == pytest.approx(wanted)
        for key, granularity in (
            ("units", ChannelGranularity()),
            ("inner_channel", InnerChannelGranularity()),
        ):
            pooled = granularity.pool({g.name: torch.zeros(g.num_units) for g in groups}, view)
            masks = granularity.select(pooled, dict.fromkeys(pooled, 0), view).masks
            kept = sum(float(masks[layer.name].double().mean()) * layer.macs for layer in layers)
            gone = 1.0 - kept / sum(layer.macs for layer in layers)
            assert info.reach[f"{key}_macs"] == pytest.approx(gone)
    assert replace(info) == TaskInfo.from_json(info.to_json())
