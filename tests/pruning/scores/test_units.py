"""Scores of whole units: filter norms, distances, gates and scales, by hand and by permutation."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.pruning.groups import find_groups
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import SCORES
from autoprune.pruning.scores import filter_norm
from autoprune.pruning.scores.units import makers, scales
from autoprune.pruning.signals.base import balanced_sample
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.signals.gradient import PER_CLASS
from autoprune.pruning.view import ModelView, Signal, UnitGroup, UnitMember
from autoprune.testing.nets import settle, tiny_conv
from autoprune.testing.scores import make_task

NAMES = ("filter_l1", "filter_l2", "fpgm", "taylor", "slimming")


def group_of(num_units, *names, entries=1):
    """A group whose units own one entry (or several) of every tensor named."""
    index = tuple(tuple(range(entries * u, entries * (u + 1))) for u in range(num_units))
    return UnitGroup(names[0], num_units, tuple(UnitMember(n, 0, index, "out") for n in names))


def view_of(weights, others=None, gradients=None, groups=None):
    weights = {name: torch.tensor(value) for name, value in weights.items()}
    others = {name: torch.tensor(value) for name, value in (others or {}).items()}
    given = {n: torch.tensor(v, dtype=torch.float64) for n, v in (gradients or {}).items()}
    size = len(next(iter(weights.values())))
    return ModelView(
        weights,
        dense_masks(weights),
        {Signal.GRADIENT: given},
        groups or (group_of(size, *weights, *others),),
        others=others,
    )


def score(name, view):
    return SCORES.get(name)()(view)


# Two filters of a 2x2 convolution: l1-norms 5 and 4, l2-norms sqrt(1 + 4 + 4) = 3 and 4.
FILTERS = [[[[1.0, -2.0], [2.0, 0.0]]], [[[0.0, 0.0], [-4.0, 0.0]]]]


def test_norms_of_two_filters_by_hand():
    view = view_of({"0.weight": FILTERS})
    assert score("filter_l1", view)["0.weight"].tolist() == [5.0, 4.0]
    assert score("filter_l2", view)["0.weight"].tolist() == [3.0, 4.0]


def test_distances_by_hand():
    # Of two filters both have the same distance: sqrt(1 + 4 + 36) = 6.403124.
    view = view_of({"0.weight": FILTERS})
    assert score("fpgm", view)["0.weight"].tolist() == pytest.approx([6.403124] * 2, abs=1e-6)
    # (0, 0), (3, 4), (-3, -4): 5 + 5, 5 + 10, 5 + 10. The one in the middle goes first.
    view = view_of({"w": [[0.0, 0.0], [3.0, 4.0], [-3.0, -4.0]]})
    assert score("fpgm", view)["w"].tolist() == [10.0, 15.0, 15.0]


def test_a_filter_and_its_negative_are_apart_and_twins_are_not():
    assert score("fpgm", view_of({"w": [[3.0, 4.0], [-3.0, -4.0]]}))["w"].tolist() == [10.0, 10.0]
    # Many filters are compared through a matrix product, unless one insists: a rounding apart.
    drawn = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    found = score("fpgm", view_of({"w": drawn.repeat_interleave(2, 0).tolist()}))["w"]
    assert torch.equal(found[::2], found[1::2])
    assert score("fpgm", view_of({"w": [drawn[0].tolist()] * 40}))["w"].tolist() == [0.0] * 40


def test_the_middle_goes_first_where_the_smallest_goes_by_norm():
    # (2, 0) lies amid (1, 0), (2, 1), (3, 0); the smallest is (1, 0).
    view = view_of({"w": [[1.0, 0.0], [2.0, 1.0], [2.0, 0.0], [3.0, 0.0]]})
    assert int(score("fpgm", view)["w"].argmin()) == 2
    assert int(score("filter_l2", view)["w"].argmin()) == 0


def test_gates_behind_a_layer_by_hand():
    # Unit 0: 1 * 2 + (-2) * 1 + .5 * 2 = 1. Unit 1: 3 * 1 + 1 * 0 + 1 * (-5) = -2.
    view = view_of(
        {"0.weight": [[1.0, -2.0], [3.0, 1.0]]},
        {"0.bias": [0.5, 1.0]},
        {"0.weight": [[2.0, 1.0], [1.0, 0.0]], "0.bias": [2.0, -5.0]},
    )
    assert score("taylor", view)["0.weight"].tolist() == [1.0, 2.0]


def test_gates_behind_a_norm_by_hand():
    # 2 * 1 + 1 * (-3) = -1 and -1 * 3 + 5 * 1 = 2; the filters' own gradients do not count.
    view = view_of(
        {"0.weight": [[1.0, -2.0], [3.0, 1.0]]},
        {"1.weight": [2.0, -1.0], "1.bias": [1.0, 5.0]},
        {
            "0.weight": [[9.0, 9.0], [9.0, 9.0]],
            "1.weight": [1.0, 3.0],
            "1.bias": [-3.0, 1.0],
        },
    )
    assert score("taylor", view)["0.weight"].tolist() == [1.0, 2.0]


def test_scales_by_hand():
    view = view_of({"0.weight": FILTERS}, {"1.weight": [0.25, -0.5], "1.bias": [9.0, 9.0]})
    assert score("slimming", view)["0.weight"].tolist() == [0.25, 0.5]


def test_several_producers_are_averaged():
    # Two layers write into one stream. l1: (7 + 1) / 2, (6 + 4) / 2; l2: (5 + 1) / 2, (6 + 4) / 2;
    # distances sqrt(9 + 100) = 10.440307 and sqrt(1 + 16) = 4.123106, their mean 7.281706.
    view = view_of({"a.weight": [[3.0, -4.0], [0.0, 6.0]], "b.weight": [[1.0, 0.0], [0.0, -4.0]]})
    assert score("filter_l1", view) == {"a.weight": pytest.approx([4.0, 5.0])}
    assert score("filter_l2", view) == {"a.weight": pytest.approx([3.0, 5.0])}
    assert score("fpgm", view) == {"a.weight": pytest.approx([7.281706] * 2, abs=1e-6)}
    # Gates: |3 - 4| and |1|, |0 + 6| and |-4 * .5|: no cancelling between the layers.
    ones = {"a.weight": [[1.0, 1.0], [1.0, 1.0]], "b.weight": [[1.0, 1.0], [1.0, 0.5]]}
    view = replace(view, signals=view_of({"a": [[0.0]]}, gradients=ones).signals)
    assert score("taylor", view) == {"a.weight": pytest.approx([1.0, 4.0])}
    # Scales of two norms: (.5 + .1) / 2, (.25 + .35) / 2.
    norms = {"c.weight": [0.5, -0.25], "c.bias": [1.0, 1.0]}
    norms |= {"d.weight": [0.1, 0.35], "d.bias": [1.0, 1.0]}
    view = view_of({"a.weight": [[3.0, -4.0], [0.0, 6.0]]}, norms)
    assert score("slimming", view) == {"a.weight": pytest.approx([0.3, 0.3])}


def test_a_real_residual_stream_has_its_producers_and_norms():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.bn0 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.slope, self.fc = nn.PReLU(4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.slope(self.bn0(self.stem(x)))
            return self.fc((x + self.bn1(self.conv(x))).mean((2, 3)))

    model = settle(Block())
    (group,) = find_groups(model, torch.zeros(2, 1, 6, 6))
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    others = {n: v for n, v in model.state_dict().items() if n not in weights}
    view = ModelView(weights, dense_masks(weights), groups=(group,), others=others)
    assert {m.name for m in makers(group, view)} == {"stem.weight", "conv.weight"}
    assert {m.name for m in scales(group, view)} == {"bn0.weight", "bn1.weight"}
    norms = (weights["stem.weight"], weights["conv.weight"])
    wanted = sum(w.double().abs().sum((1, 2, 3)) for w in norms) / 2
    assert torch.allclose(score("filter_l1", view)["stem.weight"], wanted)
    wanted = (model.bn0.weight.detach().abs() + model.bn1.weight.detach().abs()).double() / 2
    assert torch.allclose(score("slimming", view)["stem.weight"], wanted)


def test_units_without_a_scale_come_after_all_that_have_one():
    # The greatest scale is .5; l1-norms 5 and 4 become 5 / 6 and 4 / 5.
    groups = (group_of(2, "b.weight"), group_of(2, "a.weight", "n.weight", "n.bias"))
    view = view_of(
        {"a.weight": FILTERS, "b.weight": FILTERS},
        {"n.weight": [0.25, -0.5], "n.bias": [0.0, 0.0]},
        groups=groups,
    )
    found = score("slimming", view)
    assert list(found) == ["b.weight", "a.weight"]
    assert found["b.weight"].tolist() == pytest.approx([0.5 + 5 / 6, 0.5 + 4 / 5])
    assert found["a.weight"].tolist() == [0.25, 0.5]


def test_a_unit_of_several_entries_has_one_score():
    # A norm behind a flattening has two entries a unit, and so may a layer have two rows.
    groups = (group_of(2, "a.weight", "n.weight", "n.bias", entries=2),)
    view = view_of(
        {"a.weight": [[1.0, -1.0], [1.0, 1.0], [0.0, 3.0], [0.0, 4.0]]},
        {"n.weight": [0.25, -0.75, 2.0, 1.0], "n.bias": [0.0, 0.0, 0.0, 0.0]},
        groups=groups,
    )
    assert score("filter_l1", view)["a.weight"].tolist() == [4.0, 7.0]
    assert score("filter_l2", view)["a.weight"].tolist() == [2.0, 5.0]
    assert score("slimming", view)["a.weight"].tolist() == [0.5, 1.5]


def test_what_is_masked_does_not_count():
    view = view_of({"w": [[3.0, 4.0], [0.0, 6.0], [0.0, 0.0]]})
    gone = torch.tensor([[True, True], [True, True], [False, False]])
    dead = replace(view, masks={"w": gone})
    assert score("fpgm", view)["w"].tolist()[0] == pytest.approx(13**0.5 + 5)
    assert score("fpgm", dead)["w"].tolist()[:2] == pytest.approx([13**0.5] * 2)
    half = replace(view, masks={"w": torch.tensor([[True, False], [True, True], [True, True]])})
    assert score("filter_l1", half)["w"].tolist() == [3.0, 6.0, 0.0]
    assert score("filter_l2", half)["w"].tolist() == [3.0, 6.0, 0.0]


def conv_view():
    """`tiny_conv`: units with a norm, without one, and neurons with one."""
    model = tiny_conv()
    groups = find_groups(model, torch.zeros(2, 1, 6, 6))
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    others = {n: v for n, v in model.state_dict().items() if n not in weights}
    signals = gather(frozenset({Signal.GRADIENT}), model, make_task(), groups, 0)
    return model, ModelView(weights, dense_masks(weights), signals, groups, others=others)


def test_a_gate_is_the_derivative_by_the_unit():
    # Each unit's last affine map is stretched by 1 +- 1e-4, in float64: the loss's difference
    # quotient is the derivative up to 1e-8 times its third one, of order 1.
    model, view = conv_view()
    model.double()
    task, found = make_task(), score("taylor", view)
    chosen = balanced_sample(task.train.targets, PER_CLASS, 0)
    images, targets = task.train.inputs[chosen].double(), task.train.targets[chosen]
    for name, gated in (("0.weight", "1"), ("4.weight", "4"), ("7.weight", "8")):
        assert found[name].max() > 0
        for unit in range(len(found[name])):
            losses = []
            for factor in (1 + 1e-4, 1 - 1e-4):
                layer = model.get_submodule(gated)
                kept = {n: v.clone() for n, v in layer.state_dict().items()}
                with torch.no_grad():
                    layer.weight[unit] *= factor
                    layer.bias[unit] *= factor
                    losses.append(task.loss(model(images), targets).item())
                layer.load_state_dict(kept)
            quotient = abs(losses[0] - losses[1]) / 2e-4
            assert found[name][unit].item() == pytest.approx(quotient, abs=1e-6)


@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_scores_go_with_their_units(seed):
    _, view = CONV
    orders, tensors = {}, {**view.weights, **view.others}
    gradients = dict(view.signals[Signal.GRADIENT])
    for group in view.groups:
        stream = torch.Generator().manual_seed(seed)
        order = orders[group.name] = torch.randperm(group.num_units, generator=stream)
        for m in group.members:
            places = torch.cat([torch.tensor(m.index[unit]) for unit in order])
            for values in (tensors, gradients):
                if m.name in values:
                    values[m.name] = values[m.name].index_select(m.dim, places)
    other = replace(
        view,
        weights={n: tensors[n] for n in view.weights},
        others={n: tensors[n] for n in view.others},
        signals={Signal.GRADIENT: gradients},
    )
    for name in NAMES:
        before, after = score(name, view), score(name, other)
        for group, order in orders.items():
            # Sums in another order, in float64.
            assert torch.allclose(after[group], before[group][order], rtol=1e-12, atol=1e-15)


CONV = conv_view()


def test_the_docstrings_hold():
    assert doctest.testmod(filter_norm).failed == 0
