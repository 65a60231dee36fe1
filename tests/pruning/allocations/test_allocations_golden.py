"""Counts worked out in the cards sparsity_schedules (f) and imp (f)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import ConfigError
from autoprune.pruning.allocations import erk, global_, lamp, uniform, uniform_plus
from autoprune.pruning.keep import LayerUnits

TOY = {
    "conv1": (16, 3, 3, 3),  # 432
    "conv2": (32, 16, 3, 3),  # 4608
    "conv3": (64, 32, 3, 3),  # 18432
    "short": (64, 32, 1, 1),  # 2048
    "fc": (10, 64),  # 640
}


def layer(scores, shape=None, **rest):
    scores = torch.as_tensor(scores, dtype=torch.float64)
    return LayerUnits(
        scores, scores.abs().nan_to_num(0, 0, 0), shape or tuple(scores.shape), **rest
    )


def net(shapes):
    stream = torch.Generator().manual_seed(0)
    return {
        n: layer(torch.rand(s, generator=stream, dtype=torch.float64)) for n, s in shapes.items()
    }


def resnet20():
    """ResNet-20 for CIFAR without shortcut convolutions: 268,336 weights."""
    shapes = {"stem": (16, 3, 3, 3)}
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            inputs = width // 2 if stage and not block else width
            shapes[f"{width}.{block}.a"] = (width, inputs, 3, 3)
            shapes[f"{width}.{block}.b"] = (width, width, 3, 3)
    return net({**shapes, "fc": (10, 64)})


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        (13080, [432, 3448, 6512, 2048, 640]),
        (5232, [411, 889, 1679, 1613, 640]),
        (2616, [185, 400, 756, 726, 549]),
        (1308, [93, 200, 378, 363, 274]),
    ],
)
def test_erk_on_the_toy_net(kept, counts):
    assert list(erk.allocate(net(TOY), kept).values()) == counts


@pytest.mark.parametrize(
    ("sparsity", "densities"),
    [
        (0.9, {"stem": 1, "16.1.a": 0.3026, "32.1.a": 0.1394, "64.1.a": 0.0667, "fc": 1}),
        (0.98, {"stem": 0.2066, "16.1.a": 0.0589, "64.1.a": 0.0130, "fc": 0.4129}),
    ],
)
def test_erk_on_resnet20(sparsity, densities):
    units = resnet20()
    total = sum(x.num_units for x in units.values())
    assert total == 268_336
    keep = erk.allocate(units, total - round(sparsity * total))
    for name, density in densities.items():
        # The card gives four digits, and a count is at most one unit off.
        assert keep[name] / units[name].num_units == pytest.approx(
            density, abs=5e-5 + 1 / units[name].num_units
        )


def test_erk_counts_units_that_hold_several_weights():
    # Weights 3 : 1 in dimensions 12 : 4, but a unit of the first holds three weights: 1 : 1.
    units = {
        "a": layer(torch.ones(6), (6, 6), weights_per_unit=3),
        "b": layer(torch.ones(6), (2, 2), weights_per_unit=1),
    }
    assert erk.allocate(units, 6) == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("kept", "densities"),
    [
        (13080, [1, 0.4916, 0.4916, 0.4916, 0.4916]),
        (5232, [1, 0.1862, 0.1862, 0.1862, 0.2]),
        (2616, [1, 0.0820, 0.0820, 0.0820, 0.2]),
        (1308, [1, 0.0298, 0.0298, 0.0298, 0.2]),
    ],
)
def test_uniform_plus_on_the_toy_net(kept, densities):
    units = net(TOY)
    keep = uniform_plus.allocate(units, kept)
    assert sum(keep.values()) == kept
    for (name, count), density in zip(keep.items(), densities, strict=True):
        size = units[name].num_units
        # The card gives four digits, and a count is at most one unit off.
        assert count / size == pytest.approx(density, abs=5e-5 + 1 / size)


@pytest.mark.parametrize(("sparsity", "middle"), [(0.8, 0.801293), (0.9, 0.901694)])
def test_uniform_plus_on_resnet20(sparsity, middle):
    units = resnet20()
    keep = uniform_plus.allocate(units, 268_336 - round(sparsity * 268_336))
    assert keep["stem"] == 432
    assert keep["fc"] == 128
    assert 1 - keep["64.1.a"] / 36864 == pytest.approx(middle, abs=1 / 36864)


def test_uniform_plus_without_a_convolution_spares_the_last_layer_only():
    # 90 units, 10 to keep: a tenth of the last 10 would be 1, a fifth is 2, which leaves 8 of 80.
    assert uniform_plus.allocate(net({"a": (8, 10), "b": (1, 10)}), 10) == {"a": 8, "b": 2}


def test_uniform_plus_refuses_what_its_rules_rule_out():
    with pytest.raises(ConfigError, match="at least 560 units") as caught:  # 432 + 640 / 5
        uniform_plus.allocate(net(TOY), 559)
    assert caught.value.place == "allocation.uniform_plus"
    assert uniform_plus.allocate(net(TOY), 560) == {
        "conv1": 432, "conv2": 0, "conv3": 0, "short": 0, "fc": 128,
    }  # fmt: skip


def test_uniform_keeps_the_same_share():
    # .1 of 432, 4608, 18432, 2048, 640 is 43.2, 460.8, 1843.2, 204.8, 64: 2614, and the two
    # missing go to the remainders of .8.
    counts = uniform.allocate(net(TOY), 2616)
    assert list(counts.values()) == [43, 461, 1843, 205, 64]


def test_global_takes_the_best_wherever_they_are():
    units = {"a": layer([5.0, 4.0, 3.0]), "b": layer([2.0, 6.0])}
    assert global_.allocate(units, 3) == {"a": 2, "b": 1}
    assert global_.allocate(units, 1) == {"a": 0, "b": 1}  # a layer may empty


def test_global_breaks_ties_by_layer_and_never_counts_the_dead():
    units = {"a": layer([1.0, -torch.inf]), "b": layer([1.0, 1.0])}
    assert global_.allocate(units, 2) == {"a": 1, "b": 1}
    assert global_.allocate(units, 3) == {"a": 1, "b": 2}


def test_lamp_scores_by_hand():
    # Squares 9, 1, 4, .25: sums from the largest down 9, 14.25 (with 1 and .25 below), so
    # 9/9, 1/14, 4/13, .25/14.25.
    scores = lamp.lamp_scores(layer([3.0, -1.0, 2.0, 0.5]))
    assert scores.tolist() == pytest.approx([1, 1 / 14, 4 / 13, 0.25 / 14.25], rel=1e-15)
    assert scores[0] == 1
    equal = lamp.lamp_scores(layer([2.0, 2.0, 2.0, 2.0]))
    assert equal.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], rel=1e-15)


def test_lamp_leaves_dead_units_out_and_bears_zeros():
    # Without the dead 5 the squares are 4 and 1.
    dead = LayerUnits(torch.tensor([1.0, -torch.inf, 1.0]), torch.tensor([2.0, 5.0, 1.0]), (3,))
    assert lamp.lamp_scores(dead).tolist() == [1.0, -torch.inf, 0.2]
    assert lamp.lamp_scores(layer([0.0, 0.0])).tolist() == [1.0, 0.0]


def test_lamp_reads_magnitudes_not_scores():
    units = {
        "a": LayerUnits(torch.tensor([9.0, 9.0, 9.0]), torch.tensor([3.0, 0.1, 0.1]), (3,)),
        "b": LayerUnits(torch.tensor([0.1, 0.1, 0.1]), torch.tensor([1.0, 1.0, 1.0]), (3,)),
    }
    # LAMP scores a: 1, .001, .001; b: 1, 1/2, 1/3.
    assert lamp.allocate(units, 4) == {"a": 1, "b": 3}


@given(factor=st.floats(1e-3, 1e3), kept=st.integers(5, 26160))
@settings(max_examples=20, deadline=None)
def test_lamp_ignores_a_rescaled_layer_and_global_does_not(factor, kept):
    units = net(TOY)
    scaled = {**units, "conv3": layer(units["conv3"].scores * factor, TOY["conv3"])}
    here, there = lamp.allocate(units, kept), lamp.allocate(scaled, kept)
    # A power of two changes no rounding; another factor may move a near-tie by a unit.
    assert all(abs(here[name] - there[name]) <= 1 for name in TOY)
    exact = {**units, "conv3": layer(units["conv3"].scores * 4, TOY["conv3"])}
    assert lamp.allocate(exact, kept) == here
    assert global_.allocate(exact, 9000) != global_.allocate(units, 9000)


@pytest.mark.parametrize("allocate", [erk.allocate, uniform.allocate, lamp.allocate])
def test_every_layer_keeps_one_while_there_are_enough(allocate):
    assert list(allocate(net(TOY), 5).values()) == [1, 1, 1, 1, 1]
    assert sum(allocate(net(TOY), 4).values()) == 4
    assert min(allocate(net(TOY), 4).values()) == 0


@pytest.mark.parametrize("allocate", [erk.allocate, uniform.allocate, lamp.allocate])
def test_an_empty_layer_stays_empty(allocate):
    gone = layer(torch.full((4, 4), -torch.inf))
    keep = allocate({"gone": gone, "b": layer(torch.rand(4, 4))}, 10)
    assert keep == {"gone": 0, "b": 10}


@pytest.mark.parametrize("allocate", [erk.allocate, uniform.allocate, lamp.allocate])
def test_permuting_layers_permutes_the_counts(allocate):
    units = net(TOY)
    turned = dict(reversed(units.items()))
    assert allocate(turned, 2616) == allocate(units, 2616)
