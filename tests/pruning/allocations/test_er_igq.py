"""ER and IGQ: the toy net of card sparsity_schedules (f), and what each rule says."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import ConfigError
from autoprune.pruning.allocations import er, erk, igq
from autoprune.pruning.keep import LayerUnits

TOY = {
    "conv1": (16, 3, 3, 3),  # 432
    "conv2": (32, 16, 3, 3),  # 4608
    "conv3": (64, 32, 3, 3),  # 18432
    "short": (64, 32, 1, 1),  # 2048
    "fc": (10, 64),  # 640
}


def net(shapes, **rest):
    return {
        name: LayerUnits(torch.ones(shape), torch.ones(shape), shape, **rest)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        (13080, [416, 3281, 7041, 1736, 606]),
        (5232, [359, 1448, 1894, 1040, 491]),
        (2616, [278, 669, 751, 566, 352]),
        (1308, [186, 305, 320, 281, 216]),
    ],
)
def test_igq_on_the_toy_net(kept, counts):
    assert list(igq.allocate(net(TOY), kept).values()) == counts


def test_er_densities_on_the_toy_net():
    # (n_out + n_in) k_h k_w is 171, 432, 864, 96, 74: 1637 in all, so 2616 is 1.59805 of each.
    units = net(TOY)
    keep = er.allocate(units, 2616)
    assert list(keep.values()) == [273, 690, 1381, 154, 118]  # 273.27 690.36 1380.71 153.41 118.26
    densities = [keep[name] / units[name].num_units for name in units]
    # The card gives four digits, and a count is at most one unit off.
    for found, said, layer in zip(
        densities, [0.6326, 0.1498, 0.0749, 0.0749, 0.1848], units.values(), strict=True
    ):
        assert found == pytest.approx(said, abs=5e-5 + 1 / layer.num_units)


def test_er_fills_narrow_layers_up():
    # At half of 26,160: 1.59805 * 5 = 7.99 of 171 exceeds 432, so conv1 is full and the other
    # 12,648 go by 432 : 864 : 96 : 74, which is 8.6276 of each: fc's 638.44 of 640 just fits.
    keep = er.allocate(net(TOY), 13080)
    assert list(keep.values()) == [432, 3727, 7454, 828, 639]  # .11 .22 .25 .44


def test_er_is_erk_where_there_are_no_kernels():
    units = net({"a": (300, 64), "b": (100, 300), "c": (10, 100)})
    assert er.allocate(units, 5000) == erk.allocate(units, 5000)


def test_er_counts_units_that_hold_several_weights():
    # Weights 5 : 2 in channels, but a unit of the first holds five weights and one of the second
    # two: 1 : 1 in units.
    units = {
        "a": LayerUnits(torch.ones(6), torch.ones(6), (2, 3), weights_per_unit=5),
        "b": LayerUnits(torch.ones(6), torch.ones(6), (1, 1), weights_per_unit=2),
    }
    assert er.allocate(units, 6) == {"a": 3, "b": 3}


def test_igq_by_hand():
    # Sizes 1, 2, 3 and 2.6 to keep in real numbers at F = 1/2: 1 / 1.5, 2 / 2, 3 / 2.5 are .667,
    # 1 and 1.2, which is 2.867. For 3 units: one each is the floor of all.
    units = net({"a": (1, 1), "b": (2, 1), "c": (3, 1)})
    assert igq.allocate(units, 3) == {"a": 1, "b": 1, "c": 1}
    # One unit per layer at least; of 5, F = .1 gives 1 / 1.1, 2 / 1.2, 3 / 1.3 = .909 1.667 2.308.
    assert igq.allocate(units, 5) == {"a": 1, "b": 2, "c": 2}


def test_igq_never_fills_a_layer_before_the_end():
    # Both rules at one kept count: the saturated layers of ER keep something back under IGQ.
    units = net(TOY)
    keep = igq.allocate(units, 13080)
    assert all(keep[name] < units[name].num_units for name in units)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    share=st.floats(0.0, 1.0),
)
def test_igq_quotas_are_those_of_one_force(sizes, share):
    units = net({str(i): (size, 1) for i, size in enumerate(sizes)})
    kept = round(share * sum(sizes))
    counts = list(igq.allocate(units, kept).values())
    assert sum(counts) == kept
    # d / (1 - d) = 1 / (F N): N d / (1 - d) is the same for all; a count is within one of d N.
    if kept >= len(sizes):
        pairs = list(zip(counts, sizes, strict=True))
        low = max((_inverse_force(c - 1, n) for c, n in pairs if c > 1), default=0.0)
        high = min((_inverse_force(c + 1, n) for c, n in pairs if c + 1 < n), default=math.inf)
        assert low <= high * (1 + 1e-9)


def _inverse_force(count, size):
    return count / (1 - count / size)


def test_igq_is_exact_at_extreme_sizes():
    # A billion weights beside one: F is of the order of 1e-18 at the dense end. Scores would not
    # fit memory, so the layer's units hold many weights each.
    units = {
        "huge": LayerUnits(torch.ones(1000), torch.ones(1000), (1000, 10**6), 10**6),
        "tiny": LayerUnits(torch.ones(1), torch.ones(1), (1, 1), 1),
    }
    for kept in (0, 1, 2, 500, 1000, 1001):
        assert sum(igq.allocate(units, kept).values()) == kept
    assert igq.allocate(units, 1000) == {"huge": 999, "tiny": 1}


@pytest.mark.parametrize("rule", [er, igq])
def test_permuting_layers_permutes_the_counts(rule):
    units = net(TOY)
    keep = rule.allocate(units, 2616)
    turned = rule.allocate({name: units[name] for name in reversed(units)}, 2616)
    assert turned == keep


@pytest.mark.parametrize("rule", [er, igq])
def test_dead_units_cap_a_layer(rule):
    units = net({"a": (100, 1), "b": (100, 1)})
    scores = torch.ones(100, 1)
    scores[10:] = -torch.inf
    units["a"] = LayerUnits(scores, torch.ones(100, 1), (100, 1))
    assert rule.allocate(units, 60) == {"a": 10, "b": 50}
    with pytest.raises(ConfigError, match="between 2 and 110"):
        rule.allocate(units, 111)
