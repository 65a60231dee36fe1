"""The contract of an allocation."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.core.errors import ConfigError
from autoprune.pruning.keep import Allocation, LayerUnits

SHAPES = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "fc1": (20, 16), "fc2": (10, 20)}
TOTAL = 1744  # 72 + 1152 + 320 + 200
ROOMY = 350
"""From here on every allocation can be met: a fifth of the units."""

shared = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_units(seed: int = 0, *, dead: float = 0.0, tied: bool = False) -> dict[str, LayerUnits]:
    """Return the units of a small net with random or tied scores, a share of them dead."""
    stream = torch.Generator().manual_seed(seed)
    units = {}
    for name, shape in SHAPES.items():
        magnitudes = torch.ones(shape) if tied else torch.rand(shape, generator=stream)
        alive = torch.rand(shape, generator=stream) >= dead
        scores = torch.where(alive, magnitudes, -torch.inf)
        units[name] = LayerUnits(scores, magnitudes * alive, shape)
    return units


def num_alive(units: dict[str, LayerUnits]) -> dict[str, int]:
    """Count each layer's living units."""
    return {n: int(torch.isfinite(layer.scores).sum()) for n, layer in units.items()}


class AllocationContract:
    """Inherit it and supply `make`; every test then runs on your allocation."""

    @pytest.fixture
    def make(self) -> Callable[[], Allocation]:
        """Return a factory, so that tests share no state."""
        raise NotImplementedError

    @shared
    @given(kept=st.integers(ROOMY, TOTAL), seed=st.integers(0, 99), tied=st.booleans())
    def test_counts_are_integers_that_sum_within_bounds(
        self, make: Callable[[], Allocation], kept: int, seed: int, tied: bool
    ) -> None:
        units = make_units(seed, tied=tied)
        keep = make()(units, kept)
        assert list(keep) == list(units)
        assert all(type(count) is int for count in keep.values())
        assert sum(keep.values()) == kept
        assert all(0 <= keep[name] <= units[name].num_units for name in units)

    @shared
    @given(seed=st.integers(0, 99), dead=st.floats(0.1, 0.7), share=st.floats(0.5, 1.0))
    def test_dead_units_are_never_counted(
        self, make: Callable[[], Allocation], seed: int, dead: float, share: float
    ) -> None:
        units = make_units(seed, dead=dead)
        alive = num_alive(units)
        kept = round(share * sum(alive.values()))
        keep = make()(units, kept)
        assert sum(keep.values()) == kept
        assert all(0 <= keep[name] <= alive[name] for name in units)

    @shared
    @given(kept=st.integers(0, ROOMY))
    def test_extreme_sparsity_is_met_exactly_or_refused(
        self, make: Callable[[], Allocation], kept: int
    ) -> None:
        try:
            keep = make()(make_units(), kept)
        except ConfigError:
            return  # it says so rather than keep another number
        assert sum(keep.values()) == kept

    def test_keeping_all_is_the_identity(self, make: Callable[[], Allocation]) -> None:
        units = make_units(dead=0.3)
        assert dict(make()(units, sum(num_alive(units).values()))) == num_alive(units)

    def test_more_than_is_alive_is_refused(self, make: Callable[[], Allocation]) -> None:
        units = make_units(dead=0.3)
        with pytest.raises(ConfigError):
            make()(units, sum(num_alive(units).values()) + 1)

    def test_same_units_same_counts_and_no_draws(self, make: Callable[[], Allocation]) -> None:
        before = torch.get_rng_state()
        assert make()(make_units(), 700) == make()(make_units(), 700)
        assert torch.equal(before, torch.get_rng_state())

    def test_units_are_left_as_they_are(self, make: Callable[[], Allocation]) -> None:
        units, twin = make_units(dead=0.3), make_units(dead=0.3)
        make()(units, 700)
        for name, layer in units.items():
            assert torch.equal(layer.scores, twin[name].scores)
            assert torch.equal(layer.magnitudes, twin[name].magnitudes)

    def test_pickles(self, make: Callable[[], Allocation]) -> None:
        twin = pickle.loads(pickle.dumps(make()))  # noqa: S301 - our own bytes
        assert twin(make_units(), 700) == make()(make_units(), 700)
