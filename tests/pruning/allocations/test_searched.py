"""The searched allocation, and allocations as text."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError, UnknownNameError
from autoprune.methods.base import METHODS, complete
from autoprune.pruning.allocations import searched, spec, uniform
from autoprune.pruning.allocations.searched import Searched, group_of
from autoprune.pruning.allocations.spec import (
    check_allocation,
    join_spec,
    resolve_allocation,
    split_spec,
)
from autoprune.pruning.keep import LayerUnits
from tests.processes import python


def net(*sizes):
    return {
        f"layer{i}": LayerUnits(torch.rand(size), torch.rand(size), (size, 1))
        for i, size in enumerate(sizes)
    }


def test_the_docstrings_hold():
    assert doctest.testmod(searched).failed == doctest.testmod(spec).failed == 0


@pytest.mark.parametrize(
    ("layers", "groups", "sizes"),
    [(3, 3, [1, 1, 1]), (4, 3, [2, 1, 1]), (5, 3, [2, 2, 1]), (7, 3, [3, 2, 2]), (6, 1, [6])],
)
def test_groups_are_contiguous_and_even(layers, groups, sizes):
    found = [group_of(layer, layers, groups) for layer in range(layers)]
    assert found == [group for group, size in enumerate(sizes) for _ in range(size)]


@given(layers=st.integers(1, 60), data=st.data())
def test_no_group_is_empty_and_sizes_differ_by_one(layers, data):
    groups = data.draw(st.integers(1, layers))
    found = [group_of(layer, layers, groups) for layer in range(layers)]
    sizes = [found.count(group) for group in range(groups)]
    assert found == sorted(found)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


def test_a_knob_is_the_logarithm_of_the_density_relative_to_the_others():
    # Factors 3 and 1 on layers of 100 and 100: 40 units go 30 : 10. With exp(log 3) the shares
    # are 30 up to rounding, and the count is exact.
    counts = Searched((math.log(3), 0.0))(net(100, 100), 40)
    assert counts == {"layer0": 30, "layer1": 10}


def test_a_group_shares_its_knob_in_proportion_to_size():
    # Groups (100, 50) and (50): weights 2 * 100, 2 * 50, 50 are 350; 70 units are .2 of them.
    counts = Searched((math.log(2), 0.0))(net(100, 50, 50), 70)
    assert list(counts.values()) == [40, 20, 10]


def test_a_full_layer_passes_its_share_on():
    # exp(10) to 1 would put all 120 into the first 100: it is full, the rest goes to the other.
    assert Searched((10.0, 0.0))(net(100, 100), 120) == {"layer0": 100, "layer1": 20}
    # The least a layer keeps is one.
    assert Searched((10.0, -10.0))(net(100, 100), 50) == {"layer0": 49, "layer1": 1}


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(0, 777), knob=st.floats(-3, 3), groups=st.integers(1, 4))
def test_equal_knobs_are_uniform(kept, knob, groups):
    units = net(432, 200, 100, 45)
    assert Searched((knob,) * groups)(units, kept) == uniform.allocate(units, kept)


def test_without_knobs_it_is_uniform():
    units = net(432, 200, 100, 45)
    assert resolve_allocation("searched")(units, 301) == uniform.allocate(units, 301)


def test_more_knobs_than_layers_are_refused():
    with pytest.raises(ConfigError, match=r"allocation\.searched must have at most.*\(2\); got 3"):
        Searched((0.0, 0.0, 0.0))(net(10, 10), 5)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("global", ("global", ())),
        ("searched", ("searched", ())),
        ("searched:0.5,0,-1.2", ("searched", (0.5, 0.0, -1.2))),
        ("searched: 1 , +.5,2e-1,-3.", ("searched", (1.0, 0.5, 0.2, -3.0))),
    ],
)
def test_text_is_split(text, parts):
    assert split_spec(text) == parts


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=9))
def test_text_keeps_six_digits(knobs):
    name, again = split_spec(join_spec("searched", knobs))
    assert name == "searched"
    assert again == pytest.approx(knobs, rel=5e-6)
    assert join_spec("searched", again) == join_spec("searched", knobs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("searched:", r"^p must hold numbers; got 'searched:'; the form is one number per group"),
        ("searched:1,,2", r"^p must hold numbers"),
        ("searched:1;2", r"^p must hold numbers"),
        ("searched:nan", r"^p must hold numbers"),
        ("searched:inf", r"^p must hold numbers"),
        ("searched:0x1", r"^p must hold numbers"),
        ("searched:10.01", r"^p must hold numbers from -10 to 10"),
        ("searched:-1e400", r"^p must hold numbers from -10 to 10"),
        ("lamp:1", r"^p must not give knobs to 'lamp', which takes none; got 'lamp:1'"),
    ],
)
def test_malformed_text_is_refused_with_the_form(text, message):
    for refuse in (check_allocation, resolve_allocation):
        with pytest.raises(ConfigError, match=message):
            refuse(text, "p")


@pytest.mark.parametrize("text", ["serched", "serched:0.5", ""])
def test_an_unknown_name_is_refused(text):
    for refuse in (check_allocation, resolve_allocation):
        with pytest.raises(UnknownNameError, match=r"^p names an unknown allocation"):
            refuse(text, "p")


def test_every_method_with_an_allocation_takes_knobs_and_checks_them():
    with_one = [
        name
        for name in METHODS
        if "allocation" in METHODS.get(name).params.__dataclass_fields__
        and METHODS.get(name).listed
    ]
    assert len(with_one) >= 5
    for name in with_one:
        config = TrialConfig(method=name, params={"allocation": "searched:1,"}, sparsity=0.8)
        with pytest.raises(ConfigError, match=rf"trial\.{name}\.allocation must hold numbers"):
            complete(config)


def test_knobs_are_checked_without_torch():
    code = (
        "import sys; from autoprune.pruning.allocations.spec import check_allocation as c;"
        "c('searched:0.5,0', 'p'); c('erk', 'p'); print('torch' in sys.modules)"
    )
    assert python("-c", code).stdout.strip() == "False"
