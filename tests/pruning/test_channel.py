"""Whole-unit masks: what dies with a unit, and how many stay."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from autoprune.core.errors import ConfigError, TaskError
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import tiny_conv, tiny_mlp


def view_of(model, shape):
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    return ModelView(weights, dense_masks(weights), groups=find_groups(model, torch.zeros(shape)))


def mlp_view():
    return view_of(tiny_mlp(), (2, 6))


def conv_view():
    return view_of(tiny_conv(), (2, 1, 6, 6))


def ranked(view):
    return {g.name: torch.arange(g.num_units, dtype=torch.float32) for g in view.groups}


def test_pool_describes_each_group():
    view = mlp_view()
    units = ChannelGranularity().pool(ranked(view), view)
    # A neuron of the first layer holds 6 weights in and 4 out, one of the second 5 in and 3 out.
    assert {n: (u.shape, u.weights_per_unit) for n, u in units.items()} == {
        "0.weight": ((5, 6), 10),
        "2.weight": ((4, 5), 8),
    }
    assert torch.allclose(units["2.weight"].magnitudes, view.weights["2.weight"].norm(dim=1))


def test_flattened_units_hold_all_their_positions():
    units = ChannelGranularity().pool(ranked(conv_view()), conv_view())
    # Second convolution: 6 * 9 of its own, and 4 positions read by 7 neurons.
    assert units["4.weight"].weights_per_unit == 6 * 9 + 4 * 7


def test_scores_of_single_weights_are_summed_over_a_units_own():
    view = mlp_view()
    scores = {n: w.abs() for n, w in view.weights.items()}
    units = ChannelGranularity().pool(scores, view)
    assert torch.allclose(units["0.weight"].scores, view.weights["0.weight"].abs().sum(1))


def test_select_masks_the_whole_group():
    view = conv_view()
    granularity = ChannelGranularity()
    units = granularity.pool(ranked(view), view)
    chosen = granularity.select(units, {"0.weight": 6, "4.weight": 2, "7.weight": 7}, view)
    alive = torch.tensor([False] * 4 + [True] * 2)
    assert torch.equal(chosen.units["4.weight"], alive)
    assert torch.equal(chosen.masks["4.weight"], alive[:, None, None, None].expand(6, 6, 3, 3))
    assert torch.equal(chosen.masks["4.bias"], alive)
    assert torch.equal(chosen.masks["7.weight"], alive.repeat_interleave(4).expand(7, 24))
    for name in ("0.weight", "1.weight", "1.bias", "8.weight", "8.bias", "10.weight"):
        assert bool(chosen.masks[name].all())
    assert not any("running" in name for name in chosen.masks)


def test_kept_count_is_nearest_by_brute_force():
    view = conv_view()
    granularity, allocate = ChannelGranularity(), ALLOCATIONS.get("global")
    generator = torch.Generator().manual_seed(1)
    scores = {g.name: torch.rand(g.num_units, generator=generator) for g in view.groups}
    units = granularity.pool(scores, view)
    reached = {
        count: granularity.select(units, allocate(units, count), view).sparsity(list(view.weights))
        for count in range(3, 20)
    }
    for sparsity in (0.0, 0.05, 0.2, 0.4, 0.55, 0.7, 0.8, 0.9):
        count = granularity.kept_count(units, sparsity, allocate, view)
        best = min(abs(value - sparsity) for value in reached.values())
        assert abs(reached[count] - sparsity) == pytest.approx(best, abs=1e-12)


def test_sparsity_counts_both_sides_of_a_weight_and_layers_without_units():
    view = mlp_view()
    # 3 of 5 and 2 of 4 neurons: 3 * 6 + 3 * 2 + 2 * 3 = 30 of 62 weights.
    granularity = ChannelGranularity()
    units = granularity.pool(ranked(view), view)
    chosen = granularity.select(units, {"0.weight": 3, "2.weight": 2}, view)
    assert chosen.sparsity(list(view.weights)) == pytest.approx(1 - 30 / 62)


def test_one_unit_per_group_is_the_reach():
    view = mlp_view()
    granularity = ChannelGranularity()
    # 6 + 1 + 3 = 10 of 62 weights.
    assert granularity.reachable(view) == pytest.approx(1 - 10 / 62)
    masks = keep_masks(ranked(view), granularity, ALLOCATIONS.get("global"), 0.99, view)
    assert [int(flags.sum()) for flags in masks.units.values()] == [1, 1]


def test_dead_units_stay_dead():
    view = mlp_view()
    granularity = ChannelGranularity()
    units = granularity.pool(ranked(view), view)
    first = granularity.select(units, {"0.weight": 3, "2.weight": 4}, view)
    later = replace(view, masks=first.masks)
    turned = {name: -score for name, score in ranked(view).items()}
    pooled = granularity.pool(turned, later)
    assert pooled["0.weight"].scores.tolist() == [-torch.inf, -torch.inf, -2.0, -3.0, -4.0]
    assert pooled["0.weight"].magnitudes[:2].tolist() == [0.0, 0.0]
    second = granularity.select(pooled, {"0.weight": 2, "2.weight": 4}, later)
    assert second.units["0.weight"].tolist() == [False, False, True, True, False]
    more = granularity.select(pooled, {"0.weight": 5, "2.weight": 4}, later)
    assert torch.equal(more.units["0.weight"], first.units["0.weight"])


def test_dead_weights_of_a_living_unit_count_nothing():
    view = mlp_view()
    masks = {name: mask.clone() for name, mask in view.masks.items()}
    masks["0.weight"][:, 2:] = False
    ones = {name: torch.ones_like(w) for name, w in view.weights.items()}
    units = ChannelGranularity().pool(ones, replace(view, masks=masks))
    assert units["0.weight"].scores.tolist() == [2.0] * 5


def wide_view():
    return view_of(nn.Sequential(nn.Linear(6, 19), nn.ReLU(), nn.Linear(19, 3)), (2, 6))


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 6), (9, 10), (17, 18), (18, 18), (19, 19)],
)
def test_a_lone_group_is_cut_in_its_finer_steps(asked, kept):
    view = wide_view()
    # 8 and 16 are too far apart, so it goes by 2, the divisor of 8 next to an eighth; or whole.
    granularity = ChannelGranularity(round_to=8)
    units = granularity.pool(ranked(view), view)
    chosen = granularity.select(units, {"0.weight": asked}, view)
    assert int(chosen.units["0.weight"].sum()) == kept


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_the_sparsity_is_the_nearest_that_steps_allow(allocation):
    model = nn.Sequential(
        *(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 24), nn.ReLU()),
        *(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    view, allocate = view_of(model, (2, 12)), ALLOCATIONS.get(allocation)
    granularity = ChannelGranularity(round_to=8, floor=0.1)
    generator = torch.Generator().manual_seed(3)
    scores = {g.name: torch.rand(g.num_units, generator=generator) for g in view.groups}
    units, names = granularity.pool(scores, view), list(view.weights)
    reached = [
        granularity.select(units, allocate(units, count), view).sparsity(names)
        for count in range(81)
    ]
    for sparsity in (0.1, 0.3, 0.5, 0.65, 0.8, 0.9):
        found = keep_masks(scores, granularity, allocate, sparsity, view)
        best = min(abs(value - sparsity) for value in reached)
        assert abs(found.sparsity(names) - sparsity) == pytest.approx(best, abs=1e-12)
        counts = [int(flags.sum()) for flags in found.units.values()]
        at_most = granularity.grain.at_most
        odd = [n for n, size in zip(counts, (40, 24, 16), strict=True) if n != at_most(n, size)]
        assert len(odd) <= 1


def test_a_floor_holds_and_the_others_give():
    model = nn.Sequential(
        *(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))
    )
    view = view_of(model, (2, 6))
    first, second = (group.name for group in view.groups)
    # The second layer's units rank below all of the first's.
    scores = {first: torch.arange(40.0) + 100, second: torch.arange(40.0)}
    allocate, names = ALLOCATIONS.get("global"), list(view.weights)
    free, held = (
        keep_masks(scores, ChannelGranularity(floor=floor), allocate, 0.9, view)
        for floor in (0.0, 0.25)
    )
    assert int(free.units[second].sum()) == 1
    assert int(held.units[second].sum()) == 10
    assert int(held.units[first].sum()) < int(free.units[first].sum())
    # A unit of the first layer holds 6 + 10 of 1,960 weights.
    assert held.sparsity(names) == pytest.approx(0.9, abs=8 / 1960)


def test_an_allocation_that_needs_more_units_says_so():
    view = conv_view()
    keep = partial(keep_masks, ranked(view), ChannelGranularity(), ALLOCATIONS.get("uniform_plus"))
    # It keeps the first convolution whole, 6 units, and two of the last layer's 7 at least.
    assert keep(0.4, view).units["0.weight"].all()
    with pytest.raises(ConfigError, match="lower the sparsity"):
        keep(0.99, view)


def test_a_model_without_units_is_refused():
    view = replace(mlp_view(), groups=())
    with pytest.raises(TaskError, match="channels or neurons that can be removed"):
        ChannelGranularity().pool({}, view)
