"""Scores on tensors worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.pruning.masks import dense_masks, top_k_mask
from autoprune.pruning.scores.magnitude import Magnitude
from autoprune.pruning.scores.mean_activation import MeanActivation
from autoprune.pruning.scores.random import Random
from autoprune.pruning.scores.random_units import RandomUnits
from autoprune.pruning.scores.snip import Snip
from autoprune.pruning.view import ModelView, Signal, UnitGroup

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -0.25]])
GRADIENT = torch.tensor([[-3.0, 0.5, 2.0], [9.0, -1.0, 4.0]], dtype=torch.float64)


def view_of(weight, gradient=None, seed=0, groups=(), means=None):
    signals = {} if gradient is None else {Signal.GRADIENT: {"w": gradient}}
    if means is not None:
        signals[Signal.ACTIVATION] = means
    return ModelView({"w": weight}, dense_masks({"w": weight}), signals, groups, seed)


def test_magnitude():
    assert Magnitude()(view_of(WEIGHT))["w"].tolist() == [[1, 2, 0.5], [0, 3, 0.25]]


def test_snip():
    # |w g|: 1*3, 2*.5, .5*2; 0*9, 3*1, .25*4
    scores = Snip()(view_of(WEIGHT, GRADIENT))["w"]
    assert scores.tolist() == [[3, 1, 1], [0, 3, 1]]
    assert scores.dtype is torch.float64


def test_mean_activation_hands_over_the_signal():
    groups = (UnitGroup("a", 2, ()),)
    means = {"a": torch.tensor([0.5, 0.25]), "other": torch.ones(3)}
    scores = MeanActivation()(view_of(WEIGHT, groups=groups, means=means))
    assert {name: value.tolist() for name, value in scores.items()} == {"a": [0.5, 0.25]}


def test_random_draws_are_uniform_and_named_by_tensor_and_seed():
    weight = torch.zeros(100, 100)
    view = ModelView({"a": weight, "b": weight}, {}, seed=0)
    scores = Random()(view)
    assert not torch.equal(scores["a"], scores["b"])
    assert not torch.equal(scores["a"], Random()(ModelView({"a": weight}, {}, seed=1))["a"])
    assert 0 <= scores["a"].min() < scores["a"].max() < 1
    assert scores["a"].mean().item() == pytest.approx(0.5, abs=0.02)  # 7 standard errors


def test_random_units_draw_by_group():
    groups = (UnitGroup("a", 500, ()), UnitGroup("b", 500, ()))
    scores = RandomUnits()(ModelView({}, {}, groups=groups))
    assert scores["a"].shape == (500,)
    assert len(torch.cat(list(scores.values())).unique()) == 1000


@given(factor=st.floats(1e-3, 1e3), keep=st.integers(0, 6))
@settings(max_examples=30)
def test_magnitude_masks_ignore_a_global_rescaling(factor, keep):
    masks = [top_k_mask(Magnitude()(view_of(w))["w"], keep) for w in (WEIGHT, WEIGHT * factor)]
    assert torch.equal(*masks)


@given(order=st.permutations(range(6)))
@settings(max_examples=30)
def test_elementwise_scores_commute_with_permutation(order):
    def turned(values):
        return values.reshape(-1)[list(order)].reshape(2, 3)

    here = view_of(WEIGHT, GRADIENT)
    there = view_of(turned(WEIGHT), turned(GRADIENT))
    for score in (Magnitude(), Snip()):
        assert torch.equal(turned(score(here)["w"]), score(there)["w"])
