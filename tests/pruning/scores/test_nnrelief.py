"""NNrelief's rule: the fewest inputs that carry the share alpha."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.data.tensors import TensorSplit
from autoprune.pruning.groups import find_groups
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import ALLOCATIONS, GRANULARITIES
from autoprune.pruning.scores.nnrelief import NNRelief, relief
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.view import ModelView, Signal
from autoprune.testing.nets import tiny_conv, tiny_mlp
from autoprune.testing.scores import ScoringTask


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def kept_at(alpha, contributions, bias=None):
    return relief(contributions, bias) > 1 - alpha


def test_shares_behind_each_input_by_hand():
    # Of 10: 5 has nothing before it, 3 has 5, 2 has 8: 1 - 0, 1 - .5, 1 - .8.
    found = relief(torch.tensor([[3.0, 5.0, 2.0]], dtype=torch.float64))
    assert found.tolist() == [pytest.approx([0.5, 1.0, 0.2])]
    # With a bias of 10 of 20: it stands before all three.
    found = relief(torch.tensor([[3.0, 5.0, 2.0]]).double(), torch.tensor([10.0]).double())
    assert found.tolist() == [pytest.approx([0.25, 0.5, 0.1])]


def test_ten_equal_inputs_at_nine_tenths_keep_nine():
    kept = kept_at(0.9, torch.ones(1, 10, dtype=torch.float64))
    assert kept.tolist() == [[True] * 9 + [False]]


@given(seed=st.integers(0, 999), alpha=st.floats(0.05, 0.99), with_bias=st.booleans())
@settings(max_examples=60)
def test_the_kept_inputs_are_the_fewest_that_carry_alpha(seed, alpha, with_bias):
    values, bias = drawn(4, 9, seed=seed), drawn(4, seed=seed + 1)
    # A bias is an entry like any other, so it may as well be an input.
    entries = torch.cat([values, bias[:, None]], 1) if with_bias else values
    kept = kept_at(alpha, entries)
    for row, keep in zip(entries / entries.sum(1, keepdim=True), kept, strict=True):
        assert float(row.sum()) == pytest.approx(1.0)
        assert row[keep].sum() >= alpha - 1e-12
        assert row[keep].sum() - row[keep].min() < alpha
        assert not keep.all() or row.sum() - row.min() < alpha
    if with_bias:
        assert torch.equal(kept_at(alpha, values, bias), kept[:, :9])


@given(seed=st.integers(0, 999), low=st.floats(0.01, 0.98), more=st.floats(0.0, 0.5))
@settings(max_examples=40)
def test_a_smaller_alpha_keeps_a_part_of_what_a_larger_one_keeps(seed, low, more):
    values = drawn(3, 8, seed=seed)
    assert not (kept_at(low, values) & ~kept_at(min(0.99, low + more), values)).any()


def test_alpha_of_one_keeps_all_but_zeros():
    values = drawn(3, 8)
    values[0, 2] = values[1] = 0.0
    assert torch.equal(kept_at(1.0, values), values > 0)


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_a_unit_s_scale_does_not_matter(factor):
    values, bias = drawn(4, 9), drawn(4, seed=1)
    scale = torch.ones(4, 1).double()
    scale[2] = factor
    assert torch.equal(relief(values, bias), relief(values * scale, bias * scale[:, 0]))


def test_a_unit_that_receives_nothing_comes_last():
    found = relief(torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double())
    assert found.tolist() == [[-1, -1], [1, 0]]


def view_of(contributions, masks=None, groups=()):
    weights = {name: torch.ones_like(value) for name, value in contributions.items()}
    signals = {Signal.CONTRIBUTION: contributions}
    return ModelView(weights, masks or dense_masks(weights), signals, groups)


def test_the_strongest_inputs_are_ranked_within_their_layer():
    # First layer: shares .9, .6, .75 of the three units, so ranks 3, 1, 2 of 3; second: 1 of 1.
    first = torch.tensor([[9.0, 1.0], [4.0, 6.0], [3.0, 1.0]], dtype=torch.float64)
    scores = NNRelief()(view_of({"a": first, "b": torch.tensor([[1.0, 4.0]]).double()}))
    expected = [[2, 0.1], [0.4, 1 + 1 / 3], [1 + 2 / 3, 0.25]]
    assert scores["a"].tolist() == [pytest.approx(row) for row in expected]
    assert scores["b"].tolist() == [pytest.approx([0.2, 2])]


def test_top_k_over_a_net_is_one_alpha_for_all_units():
    values = {"a": drawn(6, 9), "b": drawn(3, 6, seed=1)}
    view = view_of(values)
    scores = NNRelief()(view)
    kept = {name: kept_at(0.7, value) for name, value in values.items()}
    count = sum(int(mask.sum()) for mask in kept.values())
    masks = keep_masks(
        scores, GRANULARITIES.get("weight")(), ALLOCATIONS.get("global"), 1 - count / 72, view
    ).masks
    assert all(torch.equal(masks[name], kept[name]) for name in values)


def test_all_of_a_kernel_has_one_score():
    values = drawn(4, 3)[:, :, None, None].expand(4, 3, 3, 3).clone()
    scores = NNRelief()(view_of({"a": values, "b": drawn(3, 3)}))
    flat = scores["a"].flatten(2)
    assert torch.equal(flat, flat[..., :1].expand_as(flat))
    assert torch.equal(flat[..., 0], NNRelief()(view_of({"a": drawn(4, 3)}))["a"])


def scored(model, masks, task, shape):
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    for name, mask in masks.items():
        weights[name].mul_(mask)
    everything = {n: masks.get(n, torch.ones_like(w, dtype=torch.bool)) for n, w in weights.items()}
    groups = find_groups(model, torch.zeros(shape))
    signals = gather(frozenset({Signal.CONTRIBUTION}), model, task, groups, 0)
    return NNRelief()(ModelView(weights, everything, signals, groups))


def task_of(*shape):
    inputs = drawn(20, *shape).float()
    return ScoringTask(TensorSplit(inputs, torch.arange(20) % 3, torch.zeros(1)))


@pytest.mark.parametrize(
    ("model", "shape", "reader", "columns", "made_of"),
    [
        (tiny_mlp(), (6,), "2.weight", [1, 4], "0.weight"),
        (tiny_conv(), (1, 6, 6), "4.weight", [2], "0.weight"),
        # The flattened channel 5 is read by four columns, of which three are not enough.
        (tiny_conv(), (1, 6, 6), "7.weight", [20, 21, 22, 23, 0, 1, 2], "4.weight"),
    ],
    ids=["linear", "convolution", "flattened"],
)
def test_units_that_nobody_reads_come_last_and_can_go(model, shape, reader, columns, made_of):
    model = copy.deepcopy(model)
    mask = torch.ones_like(model.get_parameter(reader), dtype=torch.bool)
    mask[:, columns] = False
    scores = scored(model, {reader: mask}, task_of(*shape), (2, *shape))
    rows = (scores[made_of].flatten(1).amax(1) == -1).nonzero().flatten().tolist()
    dead = [u for u in rows if u not in ([5] if reader == "7.weight" else columns)]
    images = task_of(*shape).train.inputs
    before = model(images)
    weight = model.get_parameter(made_of).data
    unread = [5] if reader == "7.weight" else columns
    assert set(unread) <= set(rows)
    weight[unread] = 0.0
    assert torch.equal(model(images), before)
    assert len(dead) < len(weight) - len(unread)  # the rest stays, but for dead units


def test_pruned_connections_never_come_back():
    # Three rounds of 0.4, 0.65 and 0.8 on frozen weights.
    model, task = tiny_mlp(), task_of(6)
    groups = find_groups(model, torch.zeros(2, 6))
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    masks = dense_masks(weights)
    for sparsity, left in ((0.4, 37), (0.65, 22), (0.8, 12)):  # of 62: minus 25, 40, 50
        signals = gather(frozenset({Signal.CONTRIBUTION}), model, task, groups, 0)
        view = ModelView(weights, masks, signals, groups)
        for name, mask in masks.items():
            assert not signals[Signal.CONTRIBUTION][name][~mask].any()
        new = keep_masks(
            NNRelief()(view),
            GRANULARITIES.get("kernel")(),
            ALLOCATIONS.get("global"),
            sparsity,
            view,
        ).masks
        assert not any(bool((new[name] & ~masks[name]).any()) for name in masks)
        assert sum(int(mask.sum()) for mask in new.values()) == left
        masks = new
        for name, value in weights.items():
            value.mul_(masks[name])


def test_a_model_without_groups_is_scored_all_the_same():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, inputs):
            return self.layer(inputs)

    scores = scored(Odd(), {}, task_of(6), (2, 6))
    assert (scores["layer.weight"] >= 0).all()
