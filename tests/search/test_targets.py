from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.search.targets import at, target, widest_gap, within
from autoprune.space import Targets

DEFAULT = Targets()


def depth(sparsity: float) -> float:
    return -math.log10(1.0 - sparsity)


def test_named_targets_come_first_and_return_at_every_fourth_place() -> None:
    found = [target(i, DEFAULT) for i in range(22)]
    assert found[:2] == [0.9, 0.95]
    # Two named, then groups of three free targets and a named one.
    assert [found[i] for i in (5, 9, 13, 17, 21)] == [0.9, 0.95, 0.9, 0.95, 0.9]
    free = [s for i, s in enumerate(found) if i > 1 and (i - 2) % 4 != 3]
    assert not {0.9, 0.95} & set(free)
    assert len(set(free)) == len(free)


def test_without_named_targets_all_are_free() -> None:
    found = [target(i, Targets(always=())) for i in range(20)]
    assert len(set(found)) == 20


@settings(derandomize=True, max_examples=50)
@given(st.integers(0, 300), st.integers(16, 60), st.floats(0.0, 0.8), st.floats(0.9, 0.99))
def test_any_stretch_is_spread_evenly_in_log_density(
    first: int, count: int, low: float, high: float
) -> None:
    targets = Targets(low=low, high=high, always=())
    found = np.array([depth(target(i, targets)) for i in range(first, first + count)])
    span = depth(high) - depth(low)
    shares = np.sort((found - depth(low)) / span)
    assert shares[0] >= -0.01
    assert shares[-1] <= 1.01
    # Three gaps: the golden ratio leaves none wider than 1 / golden^2 = 2.62 of the mean gap;
    # 0.02 is for targets being rounded to four digits.
    assert np.diff(shares).max() < 2.62 / count + 0.02


def test_between_the_ends() -> None:
    # Densities 0.5 and 0.005; half way in the logarithm is 0.05.
    assert at(0.5, 0.5, 0.995) == pytest.approx(0.95)
    assert at(0.0, 0.5, 0.99) == 0.5
    assert at(1.0, 0.5, 0.99) == 0.99


def test_a_target_moves_into_what_a_method_reaches() -> None:
    targets = Targets(low=0.0, high=0.99)
    assert within(0.9, targets, 0.0, 0.999) == 0.9
    # 0.99 is the end of the range, so it becomes the end of what is reached.
    assert within(0.99, targets, 0.0, 0.9) == 0.9
    # Density 0.0316 lies three quarters of the way down two decades; of one decade that is
    # 10 ** -0.75 = 0.1778.
    assert within(1 - 10**-1.5, targets, 0.0, 0.9) == pytest.approx(1 - 0.1778, abs=1e-4)
    with pytest.raises(ValueError, match="nothing between"):
        within(0.9, Targets(low=0.95, high=0.99), 0.0, 0.5)


RANGE = Targets(low=0.5, high=0.99)


def test_beyond_the_sparsest_point_the_gap_reaches_up_to_chance() -> None:
    assert widest_gap([], RANGE) is None
    assert widest_gap([(-1.0, 0.2)], RANGE) == 0.99


def test_the_widest_gap_is_the_greatest_rectangle_and_its_middle_is_asked_for() -> None:
    # By hand: 0.5 x 0.1 = 0.05, then 0.8 x 0.1 = 0.08, then 0.4 x 0.15 = 0.06; nothing beyond.
    points = [(-0.3, 0.1), (-0.8, 0.2), (-1.6, 0.3), (-2.0, 0.45)]
    assert widest_gap(points, RANGE) == pytest.approx(1 - 10**-1.2, abs=1e-4)
    # What others dominate changes nothing.
    assert widest_gap([*points, (-1.2, 0.31), (-0.3, 0.2)], RANGE) == widest_gap(points, RANGE)


def test_a_gap_that_is_taken_is_left_alone() -> None:
    points = [(-0.3, 0.1), (-0.8, 0.2), (-1.6, 0.3), (-2.0, 0.45)]
    first = widest_gap(points, RANGE)
    assert first is not None
    second = widest_gap(points, RANGE, [first])
    assert second == pytest.approx(1 - 10**-1.8, abs=1e-4)
    assert widest_gap([(-1.0, 0.2)], RANGE, [0.99]) is None
    everywhere = [1 - 10**d for d in (-0.4, -1.2, -1.8)]
    assert widest_gap(points, RANGE, everywhere) is None


def test_points_of_one_error_leave_no_gap() -> None:
    assert widest_gap([(-0.3, 0.1), (-2.0, 0.1)], RANGE) is None
