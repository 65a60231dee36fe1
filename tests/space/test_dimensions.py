from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.space.dimensions import ABSENT, Choice, Range


@settings(derandomize=True, max_examples=60)
@given(st.floats(0.0, 1.0), st.booleans())
def test_range_maps_to_the_unit_interval_and_back(unit: float, log: bool) -> None:
    span = Range("x", 0.01, 0.5, log)
    value = span.from_unit(unit)
    assert 0.01 <= value <= 0.5
    # from_unit rounds to six digits, so the way back is that precise.
    assert span.to_unit(value) == pytest.approx(unit, abs=1e-4)


def test_log_range_has_the_geometric_mean_in_its_middle() -> None:
    # sqrt(0.01 * 1) = 0.1
    assert Range("x", 0.01, 1.0, log=True).from_unit(0.5) == pytest.approx(0.1)
    assert Range("x", 0.0, 1.0).from_unit(0.5) == pytest.approx(0.5)


def test_step_and_integer_ranges_hold_their_grid() -> None:
    stepped = Range("x", 0.1, 0.6, step=0.2)
    assert {stepped.from_unit(u) for u in np.linspace(0, 1, 101)} == {0.1, 0.3, 0.5}
    whole = Range("x", 2, 5, integer=True)
    drawn = {whole.from_unit(u) for u in np.linspace(0, 1, 101)}
    assert drawn == {2, 3, 4, 5}
    assert all(isinstance(value, int) for value in drawn)


def test_neighbours_stay_inside_and_close() -> None:
    rng = np.random.default_rng(0)
    span = Range("x", 0.0, 1.0)
    found = [float(span.neighbour(0.95, rng) or 0) for _ in range(500)]
    assert min(found) >= 0.0
    assert max(found) <= 1.0
    # A step has a deviation of 0.15, so half a range away is beyond three of them.
    assert min(found) > 0.35


def test_a_choice_moves_to_another_value_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    assert {Choice("x", (1, 2, 3)).neighbour(2, rng) for _ in range(30)} == {1, 3}
    assert Choice("x", (1,)).neighbour(1, rng) == 1


def test_encoding_marks_absence() -> None:
    plain, conditional = Choice("x", ("a", "b")), Choice("y", ("a", "b"), ("method", "m"))
    assert plain.columns("b", absent=False) == [0.0, 1.0]
    assert conditional.columns("a", absent=False) == [1.0, 0.0, 0.0]
    assert conditional.columns(None, absent=True) == [0.0, 0.0, 1.0]
    assert Range("z", 0.0, 2.0).columns(1.0, absent=False) == [0.5]
    assert Range("z", 0.0, 2.0).columns(None, absent=True) == [ABSENT]


def test_grids() -> None:
    assert Choice("x", (3, 1)).grid() == [3, 1]
    assert Range("x", 0.01, 1.0, log=True).grid() == [0.01, 0.1, 1.0]
    assert Range("x", 1, 2, integer=True).grid() == [1, 2]
