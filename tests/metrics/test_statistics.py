from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_rel

from autoprune.core.canonical import canonical_json
from autoprune.core.errors import DataError
from autoprune.metrics.statistics import (
    accuracy_interval,
    paired,
    smallest_detectable,
    unpaired,
)


def test_three_seeds_by_hand() -> None:
    found = accuracy_interval([0.90, 0.92, 0.94], 1000)
    # s = 0.02, t(2) = 4.302653: 4.302653 * 0.02 / sqrt(3) = 0.0496827.
    # 1.959964 * sqrt(0.92 * 0.08 / 1000) = 0.0168148. Root of the squares' sum: 0.0524510.
    assert found.mean == pytest.approx(0.92)
    assert found.half_width == pytest.approx(0.0524510, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.867549, 0.972451), abs=1e-6)
    assert found.num_seeds == 3


def test_one_seed_has_the_test_sets_term_only() -> None:
    # 1.959964 * sqrt(0.5 * 0.5 / 100) = 0.0979982
    assert accuracy_interval([0.5], 100).half_width == pytest.approx(0.0979982, abs=1e-6)


def test_a_perfect_score_has_no_width() -> None:
    assert accuracy_interval([1.0, 1.0, 1.0], 360).half_width == 0.0


def test_scipy_and_torch_come_late() -> None:
    code = (
        "import sys, autoprune.metrics.statistics; assert not {'scipy', 'torch'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Differences 5, 5 and 4 points: mean 14/3, s = sqrt(1/3), s / sqrt(3) = 1/3.
BETTER = ([0.90, 0.91, 0.92], [0.85, 0.86, 0.88])


def test_three_pairs_by_hand() -> None:
    found = paired(*BETTER)
    # Half width 4.302653 / 3 = 1.434218. t = 14, and with two degrees of freedom
    # p = 1 - t / sqrt(2 + t^2) = 1 - 14 / sqrt(198) = 0.0050633.
    assert found.difference == pytest.approx(0.14 / 3)
    assert (found.low, found.high) == pytest.approx((0.0323245, 0.0610088), abs=1e-7)
    assert found.p_value == pytest.approx(0.0050633, abs=1e-7)
    assert found.num_pairs == 3
    assert found.detectable == pytest.approx(smallest_detectable(3**-0.5 / 100, 3))
    assert found.outcome == "better"


def test_it_is_scipys_paired_test() -> None:
    one, other = [0.931, 0.902, 0.927, 0.915, 0.944], [0.922, 0.907, 0.919, 0.911, 0.931]
    found, known = paired(one, other), ttest_rel(one, other)
    interval = known.confidence_interval(0.95)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_seeds_are_paired() -> None:
    # The seeds differ by ten points, the pairs by about one.
    one, other = [0.710, 0.811, 0.912], [0.700, 0.800, 0.900]
    assert paired(one, other).outcome == "better"
    assert paired(other, one).outcome == "worse"
    assert paired(one[::-1], other).outcome == "within noise"


def test_one_pair_has_no_interval() -> None:
    found = paired([0.9], [0.8])
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high, found.p_value, found.detectable) == (None, None, None, None)
    assert (found.num_pairs, found.outcome) == (1, "no interval")


@pytest.mark.parametrize(
    ("gap", "p_value", "outcome"),
    [(1, None, "better"), (-1, None, "worse"), (0, 1.0, "within noise")],
)
def test_equal_differences_have_a_point_for_an_interval(
    gap: int, p_value: float | None, outcome: str
) -> None:
    # In floating point they are not equal: 0.11 - 0.1 is not 0.12 - 0.11.
    one, other = [(k + gap) / 100 for k in (10, 11, 12)], [0.1, 0.11, 0.12]
    assert gap == 0 or len({a - b for a, b in zip(one, other, strict=True)}) > 1
    found = paired(one, other)
    assert found.difference == pytest.approx(gap / 100)
    assert (found.low, found.high) == (found.difference, found.difference)
    assert (found.p_value, found.outcome) == (p_value, outcome)
    assert found.detectable == 0.0


def test_rounding_is_no_difference() -> None:
    assert 0.1 + 0.2 > 0.3
    found = paired([0.1 + 0.2] * 3, [0.3] * 3)
    assert (found.difference, found.outcome, found.p_value) == (0.0, "within noise", 1.0)


@pytest.mark.parametrize("pair", [([0.9], [0.8]), BETTER, ([0.9] * 2, [0.8] * 2)])
def test_a_comparison_is_json(pair: tuple[list[float], list[float]]) -> None:
    assert '"num_pairs"' in canonical_json(paired(*pair))  # which refuses NaN and infinity


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match=r"as many accuracies on both sides.*\(3, 2\)"):
        paired([0.9, 0.9, 0.9], [0.8, 0.8])
    with pytest.raises(ValueError, match=r"one at least.*\(0, 0\)"):
        paired([], [])
    with pytest.raises(DataError, match=r"\(0, 1\)"):
        paired([], [0.8])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_accuracies_are_finite(bad: float) -> None:
    with pytest.raises(DataError, match="finite"):
        paired([0.9, bad], [0.8, 0.8])
    with pytest.raises(DataError, match="finite"):
        paired([0.9], [bad])


def test_comparisons_in_words() -> None:
    assert paired(*BETTER).text == "+4.67 points (3.23 to 6.10, n = 3 pairs)"
    assert paired(*BETTER[::-1]).text == "-4.67 points (-6.10 to -3.23, n = 3 pairs)"
    # s = 4 points: 5.653489 * 4 / sqrt(3) = 13.056
    assert paired([0.90, 0.91, 0.92], [0.94, 0.91, 0.88]).text == (
        "within noise: +0.00 points, and with 3 pairs nothing under 13.06 would show"
    )
    assert paired([0.9], [0.8]).text == "+10.00 points from one pair, no interval"
    assert paired([0.9, 0.8], [0.9, 0.8]).text == (
        "within noise: +0.00 points (0.00 to 0.00, n = 2 pairs)"
    )
    assert unpaired((0.9, 0.87, 0.93), (0.8, 0.76, 0.84)).text == (
        "+10.00 points (5.00 to 15.00, unpaired)"
    )
    assert unpaired((0.8, 0.77, 0.83), (0.80004, 0.76, 0.84)).text == (
        "within noise: +0.00 points (-5.00 to 5.00, unpaired)"  # not -0.00
    )
    assert unpaired((0.9, 0.87, 0.93), (0.85004, 0.81004, 0.89004)).text == (
        "within noise: +5.00 points (0.00 to 10.00, unpaired)"
    )


@pytest.mark.parametrize(("num_pairs", "power"), [(3, 0.8), (3, 0.5), (3, 0.99), (2, 0.8)])
def test_the_detectable_difference_has_the_power(num_pairs: int, power: float) -> None:
    # T = (Z + shift) / U, and U = sqrt(V / f), V chi-squared with f = n - 1 degrees of freedom,
    # has density 2 u exp(-u^2) for f = 2 and sqrt(2 / pi) exp(-u^2 / 2) for f = 1. The power is
    # the integral over u of P(Z > t u - shift), here by the midpoint rule.
    shift = smallest_detectable(1.0, num_pairs, power) * math.sqrt(num_pairs)
    point = 4.302652729911275 if num_pairs == 3 else 12.706204736432095
    step, total = 1e-3, 0.0
    for k in range(9000):
        u = (k + 0.5) * step
        density = (
            2 * u * math.exp(-u * u)
            if num_pairs == 3
            else math.sqrt(2 / math.pi) * math.exp(-u * u / 2)
        )
        total += step * density * math.erfc((point * u - shift) / math.sqrt(2)) / 2
    assert total == pytest.approx(power, abs=1e-5)  # the rule's own error


def test_the_detectable_difference_against_the_approximation() -> None:
    def rough(num_pairs: int) -> float:
        points = t.ppf(0.975, num_pairs - 1) + t.ppf(0.8, num_pairs - 1)
        return float(points) / math.sqrt(num_pairs)

    for num_pairs, part in ((2, 0.862), (3, 0.949), (4, 0.978), (10, 0.999), (1000, 1.0)):
        share = rough(num_pairs) / smallest_detectable(1.0, num_pairs)
        assert share == pytest.approx(part, abs=1e-3)
    # With many pairs: the normal's 1.959964 + 0.841621.
    assert smallest_detectable(1.0, 10**6) == pytest.approx(2.801585e-3, rel=1e-5)


def test_the_detectable_difference_of_a_stricter_test() -> None:
    # Normal points 2.575829 + 1.281552 for level 0.01 and power 0.9.
    assert smallest_detectable(2.0, 10**6, 0.9, 0.01) == pytest.approx(7.714762e-3, rel=1e-5)


def test_the_ends_of_what_is_detectable() -> None:
    assert smallest_detectable(0.0, 3) == 0.0
    assert smallest_detectable(0.0, 1) == smallest_detectable(1.0, 0) == math.inf
    assert smallest_detectable(1.0, 2, 0.95, 1e-3) > smallest_detectable(1.0, 2, 0.95, 1e-2)
    for deviation in (-0.1, math.nan):
        with pytest.raises(DataError, match="deviation"):
            smallest_detectable(deviation, 3)
    for power, level in ((1.0, 0.05), (0.05, 0.05), (0.8, 0.0), (math.nan, 0.05)):
        with pytest.raises(DataError, match="power"):
            smallest_detectable(1.0, 3, power, level)


def test_two_intervals_by_hand() -> None:
    # 0.85 [0.82, 0.95] against 0.80 [0.70, 0.84]: down sqrt(3^2 + 4^2) = 5 points, up
    # sqrt(10^2 + 10^2) = 14.14.
    found = unpaired((0.85, 0.82, 0.95), (0.80, 0.70, 0.84))
    assert found.difference == pytest.approx(0.05)
    assert found.low == pytest.approx(0.0, abs=1e-12)
    assert found.high == pytest.approx(0.05 + 0.02**0.5)
    assert (found.p_value, found.num_pairs, found.detectable) == (None, 0, None)


@pytest.mark.parametrize(
    ("gap", "outcome"),
    [(0.051, "better"), (0.049, "within noise"), (-0.049, "within noise"), (-0.051, "worse")],
)
def test_the_interval_decides(gap: float, outcome: str) -> None:
    mean = 0.8 + gap
    assert unpaired((mean, mean - 0.03, mean + 0.03), (0.8, 0.76, 0.84)).outcome == outcome


COUNTS = st.integers(0, 1000)
PAIRS = st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=6)
OPPOSITE = {"better": "worse", "worse": "better"}
EXACT = {"rel": 1e-6, "abs": 1e-9}  # of thousandths; what rounding leaves of them


def split(pairs: list[tuple[int, int]], shift: int = 0) -> tuple[list[float], list[float]]:
    return [(a + shift) / 1000 for a, _ in pairs], [(b + shift) / 1000 for _, b in pairs]


@given(PAIRS)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_swapped_sides_turn_the_comparison_round(pairs: list[tuple[int, int]]) -> None:
    one, other = split(pairs)
    found, back = paired(one, other), paired(other, one)
    assert back.difference == -found.difference
    assert back.outcome == OPPOSITE.get(found.outcome, found.outcome)
    assert (back.p_value, back.detectable) == (found.p_value, found.detectable)
    if found.low is not None:
        assert (back.low, back.high) == (-found.high, -found.low)


@given(PAIRS, st.integers(-1000, 1000))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_a_shift_of_both_sides_changes_nothing(pairs: list[tuple[int, int]], shift: int) -> None:
    found, moved = paired(*split(pairs)), paired(*split(pairs, shift))
    assert moved.outcome == found.outcome
    for name in ("difference", "low", "high", "p_value", "detectable"):
        known = getattr(found, name)
        assert getattr(moved, name) == (None if known is None else pytest.approx(known, **EXACT))


@given(PAIRS.filter(lambda pairs: len(pairs) > 1))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_interval_p_value_and_outcome_agree(pairs: list[tuple[int, int]]) -> None:
    found = paired(*split(pairs))
    assert found.low <= found.difference <= found.high
    inside = found.low <= 0 <= found.high
    assert inside == (found.outcome == "within noise")
    if found.p_value is not None:
        assert (found.p_value > 0.05) == inside
    if inside:  # what is smaller than noise must not be called detectable
        assert abs(found.difference) <= found.detectable


@given(st.integers(2, 30), st.floats(1e-6, 1.0), st.floats(0.1, 0.98))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_more_pairs_less_noise_and_less_power_detect_more(
    num_pairs: int, deviation: float, power: float
) -> None:
    found = smallest_detectable(deviation, num_pairs, power)
    assert smallest_detectable(deviation, num_pairs + 1, power) < found
    assert smallest_detectable(2 * deviation, num_pairs, power) == pytest.approx(2 * found)
    assert smallest_detectable(deviation, num_pairs, power + 0.01) > found


def test_equal_gaps_deviate_by_the_step_in_which_accuracies_come() -> None:
    first, second = [0.90, 0.91], [0.899, 0.909]
    assert paired(first, second).outcome == "better"
    found = paired(first, second, resolution=1 / 360)
    assert found.outcome == "within noise"
    # t(1, .975) = 12.706; 12.706 / 360 / sqrt(2) = 0.02496.
    assert found.high == pytest.approx(0.001 + 0.02496, abs=1e-4)
    assert paired(first, first, resolution=1 / 360).p_value == 1.0
