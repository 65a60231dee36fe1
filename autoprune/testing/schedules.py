"""The contract of a sparsity schedule."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.pruning.schedules.base import SparsitySchedule

shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
targets = st.floats(0.0, 0.9999)
shares = st.floats(0.0, 1.0)


class SparsityScheduleContract:
    """Inherit it and supply `make`; every test then runs on your schedule."""

    @pytest.fixture
    def make(self) -> Callable[[], SparsitySchedule]:
        """Return a factory, so that tests share no state."""
        raise NotImplementedError

    @shared
    @given(target=targets)
    def test_the_end_is_the_target_to_the_last_bit(
        self, make: Callable[[], SparsitySchedule], target: float
    ) -> None:
        assert make()(1.0, target) == target

    @shared
    @given(target=targets)
    def test_the_start_is_nothing_or_everything(
        self, make: Callable[[], SparsitySchedule], target: float
    ) -> None:
        assert make()(0.0, target) in (0.0, target)

    @shared
    @given(target=targets, one=shares, other=shares)
    def test_it_never_falls_nor_leaves_its_range(
        self, make: Callable[[], SparsitySchedule], target: float, one: float, other: float
    ) -> None:
        schedule = make()
        early, late = (schedule(progress, target) for progress in sorted((one, other)))
        assert 0.0 <= early <= late <= target

    def test_pickles(self, make: Callable[[], SparsitySchedule]) -> None:
        twin = pickle.loads(pickle.dumps(make()))  # noqa: S301 - our own bytes
        assert twin(0.3, 0.9) == make()(0.3, 0.9)
