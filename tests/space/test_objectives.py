from __future__ import annotations

import itertools

import pytest

from autoprune.core.errors import ConfigError
from autoprune.space import load_space, parse_space
from autoprune.space.objectives import OBJECTIVES, gains, no_gain


def test_single_weights_gain_only_in_what_counts_what_is_kept() -> None:
    after = OBJECTIVES[1:]
    assert after == ("sparsity", "macs", "latency_ms", "params", "size_bytes")
    for pair in itertools.combinations(after, 2):
        stored = bool({"sparsity", "size_bytes"} & set(pair))
        assert gains("weights", ("accuracy", *pair)) == stored
        assert gains("units", ("accuracy", *pair))
        assert gains("low_rank", ("accuracy", *pair))
    assert "macs or params" in no_gain(("accuracy", "macs", "params"))


def test_every_objective_can_be_asked_for() -> None:
    for name in OBJECTIVES[1:]:
        assert load_space("digits").with_objectives(["accuracy", name]).objectives[1] == name


def test_methods_that_take_no_share_of_the_macs_are_named() -> None:
    mapping = {"task": {}, "method": {"filter_l1": {}, "platon": {}, "movement": {}}}
    space = parse_space(mapping)
    assert space.left_out == {}
    found = space.with_objectives(["accuracy", "macs"])
    assert found.methods == ("filter_l1",)
    assert set(found.left_out) == {"platon", "movement"}
    assert space.with_objectives(["accuracy", "params"]).left_out == {}
    alone = parse_space({**mapping, "method": {"movement": {}}})
    with pytest.raises(ConfigError, match="must leave a method that can be asked for a share"):
        alone.with_objectives(["accuracy", "macs"], "--objectives")
