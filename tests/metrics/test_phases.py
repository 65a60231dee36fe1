"""Card sparse_double_descent, C4 and f4: curves whose phases are worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.canonical import canonical_json
from autoprune.core.errors import DataError
from autoprune.metrics.phases import Level, Phases, find_phases

LETTERS = {"light": "L", "critical": "C", "sweet": "S", "collapsed": "K"}

# tau = 0.005. The first level under 0.795 is 3; the largest rise from there on goes from 0.72 (4)
# to 0.84 (7), which is above 0.80. After the dip 0.80 is reached at 6 and lost at 9.
TEST = (0.80, 0.80, 0.798, 0.78, 0.72, 0.75, 0.81, 0.84, 0.82, 0.60)
TRAIN = (1.00, 1.00, 1.00, 0.99, 0.97, 0.93, 0.88, 0.82, 0.75, 0.55)  # under 0.99 from 4 on


def sparsities(count: int) -> list[float]:
    return [1 - 0.8**r for r in range(count)]


def found(test: Any, train: Any = None, deviation: float = 0.0) -> Phases:
    falling = [1 - 0.02 * i for i in range(len(test))]
    return find_phases(sparsities(len(test)), test, train or falling, deviation)


def letters(phases: Phases) -> str:
    return "".join(LETTERS[label] for label in phases.labels)


def test_double_descent_by_hand() -> None:
    phases = found(TEST, TRAIN, 0.002)
    assert phases.verdict == "double descent"
    assert letters(phases) == "LLLCCCSSSK"
    assert phases.dip == Level(4, 1 - 0.8**4, 0.72)
    assert phases.peak == Level(7, 1 - 0.8**7, 0.84)
    assert phases.interpolation_threshold == Level(4, 1 - 0.8**4, 0.97)
    assert (phases.depth, phases.gain) == pytest.approx((0.08, 0.04))
    assert phases.tolerance == 0.005
    assert (phases.reliable, phases.notes) == (True, ())
    assert phases.text == (
        "Test accuracy falls to 8.00 points below the dense net's at 59.04 % sparsity, rises to "
        "4.00 points above it at 79.03 % and falls again from 86.58 % on: double descent."
    )


def test_a_peak_below_the_dense_net_is_measured_from_halfway() -> None:
    # Dip 0.60 (2), peak 0.72 (4, which 5 equals): halfway is 0.66, reached at 3 and lost at 6.
    phases = found((0.80, 0.70, 0.60, 0.66, 0.72, 0.72, 0.65, 0.50))
    assert letters(phases) == "LCCSSSKK"
    assert (phases.dip.index, phases.peak.index) == (2, 4)
    assert (phases.depth, phases.gain) == pytest.approx((0.20, -0.08))
    assert "rises to 8.00 points below it at" in phases.text


def test_a_peak_level_with_the_dense_net_is_not_above_it() -> None:
    # Halfway from 0.60 to 0.80 is 0.70, reached at 2; the dense net's 0.80 would be reached at 3.
    assert letters(found((0.80, 0.60, 0.75, 0.80, 0.78))) == "LCSSS"
    # One thousandth higher and the dense net's own accuracy counts: reached at 3, lost at 4.
    assert letters(found((0.80, 0.60, 0.75, 0.801, 0.78))) == "LCCSK"


def test_a_level_with_the_dense_nets_accuracy_is_still_sweet() -> None:
    assert letters(found((0.80, 0.70, 0.85, 0.80, 0.79))) == "LCSSK"


def test_a_sweep_may_end_in_sweet() -> None:
    phases = found(TEST[:9], TRAIN[:9])
    assert letters(phases) == "LLLCCCSSS"
    assert phases.reliable  # there is no Collapsed to compare with
    assert phases.text.endswith("and holds to the end of the sweep: double descent.")


def test_sweet_reaches_over_a_hollow_before_the_peak() -> None:
    # 0.80 is reached at 2; 3 lies under it, but before the peak.
    assert letters(found((0.80, 0.70, 0.81, 0.79, 0.85, 0.79, 0.86))) == "LCSSSSS"
    # The largest rise is 1 -> 6. With a lower last level the peak is 4, and 5 ends Sweet.
    assert letters(found((0.80, 0.70, 0.81, 0.79, 0.85, 0.79, 0.84))) == "LCSSSKK"


def test_the_dip_is_the_foot_of_the_largest_rise() -> None:
    # Not the lowest level (the last), nor the first that falls; the highest level is before it.
    phases = found((0.80, 0.90, 0.75, 0.78, 0.70, 0.81, 0.40, 0.45))
    assert letters(phases) == "LLCCCSKK"
    assert (phases.dip.index, phases.peak.index) == (4, 5)


def test_of_equal_rises_the_earlier_counts() -> None:
    # 0.70 at 1 and 2, 0.84 at 3 and 5: 4 lies under 0.80, so the choice of 3 ends Sweet there.
    phases = found((0.80, 0.70, 0.70, 0.84, 0.79, 0.84))
    assert (phases.dip.index, phases.peak.index) == (1, 3)
    assert letters(phases) == "LCCSKK"


def test_monotone_decay_by_hand() -> None:
    phases = found((0.80, 0.80, 0.79, 0.70, 0.30), (1.0, 0.999, 0.98, 0.9, 0.4))
    assert phases.verdict == "no double descent"
    assert letters(phases) == "LLKKK"
    assert (phases.dip, phases.peak, phases.depth, phases.gain) == (None, None, None, None)
    assert phases.interpolation_threshold.index == 2
    assert phases.reliable
    assert phases.text == (
        "Test accuracy falls more than 0.50 points below the dense net's at 36 % sparsity and does "
        "not rise by as much again: no double descent."
    )


def test_a_first_fall_at_the_last_level() -> None:
    assert letters(found((0.80, 0.80, 0.70))) == "LLK"


def test_no_descent_by_hand() -> None:
    phases = found((0.80, 0.84, 0.796, 0.80), (1.0, 1.0, 1.0, 1.0))
    assert phases.verdict == "no descent"
    assert letters(phases) == "LLLL"
    assert (phases.dip, phases.peak, phases.interpolation_threshold) == (None, None, None)
    assert phases.reliable
    assert phases.text == (
        "Test accuracy stays within 0.50 points of the dense net's, or above it, at every level: "
        "no descent."
    )


def test_a_fall_or_rise_of_just_the_tolerance_is_noise() -> None:
    assert found((0.900, 0.895, 0.9)).verdict == "no descent"  # 0.9 - 0.005 in floats is less
    assert found((0.900, 0.894, 0.9)).verdict == "double descent"
    assert found((0.900, 0.800, 0.805)).verdict == "no double descent"
    assert found((0.900, 0.800, 0.806)).verdict == "double descent"


def test_seeds_that_differ_more_hide_more() -> None:
    # 2 * 0.04 = 0.08 is just the depth of the dip: it no longer counts, the last level does.
    phases = found(TEST, TRAIN, 0.04)
    assert (phases.tolerance, phases.verdict) == (0.08, "no double descent")
    assert letters(phases) == "LLLLLLLLLK"
    assert found(TEST, TRAIN, 0.039).verdict == "double descent"
    assert found(TEST, TRAIN, 0.0024).tolerance == 0.005
    assert found(TEST, TRAIN, 0.0026).tolerance == pytest.approx(0.0052)


def steps(at: int) -> list[float]:
    """Training accuracy that falls by 2 points a level from level `at` on."""
    return [1 - 0.02 * max(0, i + 1 - at) for i in range(len(TEST))]


# Critical is 3 to 5, so that 1 to 7 are in it or within two levels.
@pytest.mark.parametrize(("at", "reliable"), [(1, True), (7, True), (8, False)])
def test_training_accuracy_falls_near_critical(at: int, reliable: bool) -> None:
    phases = found(TEST, steps(at))
    assert phases.interpolation_threshold.index == at
    assert phases.reliable == reliable
    assert letters(phases) == "LLLCCCSSSK"  # whatever is doubted


def test_doubts_are_worded() -> None:
    late = found(TEST, steps(8))
    assert late.notes == (
        "training accuracy begins to fall more than 2 levels after Critical, at 83.22 % sparsity",
    )
    assert late.text.endswith(": double descent, not reliable.")
    early = found((0.8, *TEST), [1.0, *[0.98 - 0.02 * i for i in range(len(TEST))]])
    assert early.notes == (
        "training accuracy begins to fall more than 2 levels before Critical, at 20 % sparsity",
    )
    never = found(TEST[:9], [0.99] * 9)
    assert never.notes == ("training accuracy never falls by more than 1 point",)


def test_training_accuracy_is_lower_in_collapsed() -> None:
    # Sweet's mean is (0.88 + 0.82 + 0.76) / 3 = 0.82.
    sweet = (*TRAIN[:6], 0.88, 0.82, 0.76)
    assert found(TEST, (*sweet, 0.819)).reliable
    assert found(TEST, (*sweet, 0.82)).notes == (
        "training accuracy is no lower in Collapsed than in Sweet",
    )
    # On average: of two levels in Collapsed one may be higher.
    assert found((*TEST, 0.5), (*sweet, 0.9, 0.7)).reliable


def test_training_accuracy_has_fallen_by_more_than_a_point() -> None:
    phases = found(TEST, (0.99, 0.98, 0.9799, *[0.9] * 7))  # 0.98: just a point
    assert phases.interpolation_threshold.index == 2


def test_it_is_json() -> None:
    for phases in (found(TEST, TRAIN), found((0.8, 0.8, 0.8)), found((0.8, 0.7, 0.6))):
        assert '"labels":["light"' in canonical_json(phases)
        assert phases.to_json() == json.loads(canonical_json(phases))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0.2, 0.4], [0.8] * 2, [1.0] * 3, 0), r"equally long; got \(3, 2, 3\)"),
        (([0, 0.2, 0.4], [0.8] * 3, [1.0] * 4, 0), r"equally long; got \(3, 3, 4\)"),
        (([0, 0.2], [0.8] * 2, [1.0] * 2, 0), "at least 3 levels; got 2"),
        (([0, 0.4, 0.2], [0.8] * 3, [1.0] * 3, 0), "sparsities must ascend"),
        (([0, 0.4, 0.4], [0.8] * 3, [1.0] * 3, 0), "sparsities must ascend"),
        (([0.1, 0.2, 0.4], [0.8] * 3, [1.0] * 3, 0), "from 0"),
        (([0, 0.4, 1.0], [0.8] * 3, [1.0] * 3, 0), "below 1"),
        (([0, 0.2, math.nan], [0.8] * 3, [1.0] * 3, 0), "sparsities must ascend"),
        (([0, 0.2, 0.4], [80.0] * 3, [1.0] * 3, 0), "test must be fractions"),
        (([0, 0.2, 0.4], [0.8] * 3, [1.0, 1.0, math.nan], 0), "train must be fractions"),
        (([0, 0.2, 0.4], [0.8] * 3, [1.0] * 3, math.nan), "deviation must be fractions"),
        (([0, 0.2, 0.4], [0.8] * 3, [1.0] * 3, -0.01), "deviation must be fractions"),
    ],
)
def test_what_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_phases(*arguments)


def test_torch_is_not_needed() -> None:
    code = "import sys, autoprune.metrics.phases; assert not {'scipy', 'torch'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


CURVES = st.lists(st.integers(300, 700), min_size=3, max_size=12)
DEVIATIONS = st.sampled_from((0.0, 0.0025, 0.01, 0.05))


@given(CURVES, st.integers(-300, 300), DEVIATIONS)
@settings(derandomize=True, max_examples=100)
def test_a_constant_changes_no_label(curve: list[int], shift: int, deviation: float) -> None:
    before = found([a / 1000 for a in curve], None, deviation)
    after = found([(a + shift) / 1000 for a in curve], None, deviation)
    same = ("labels", "verdict", "depth", "gain", "text", "notes")
    assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]


@given(CURVES, st.floats(-0.3, 0.3))
@settings(derandomize=True, max_examples=100)
def test_a_crooked_constant_changes_no_label(curve: list[int], shift: float) -> None:
    before = found([a / 1000 for a in curve])
    assert before.labels == found([a / 1000 + shift for a in curve]).labels


@given(CURVES, DEVIATIONS)
@settings(derandomize=True, max_examples=100)
def test_a_curve_that_only_falls_has_no_double_descent(curve: list[int], deviation: float) -> None:
    falling = [a / 1000 for a in sorted(curve, reverse=True)]
    phases = found(falling, None, deviation)
    fallen = 1000 * (falling[0] - falling[-1]) > 1000 * phases.tolerance + 1e-6
    assert phases.verdict == ("no double descent" if fallen else "no descent")


@given(st.integers(0, 1000), st.integers(3, 12))
@settings(derandomize=True, max_examples=50)
def test_a_constant_curve_has_no_descent(accuracy: int, count: int) -> None:
    assert set(found([accuracy / 1000] * count).labels) == {"light"}


@given(CURVES, DEVIATIONS)
@settings(derandomize=True, max_examples=100)
def test_phases_follow_one_another(curve: list[int], deviation: float) -> None:
    test = [a / 1000 for a in curve]
    phases = found(test, None, deviation)
    order = "LCSK"
    assert letters(phases) == "".join(sorted(letters(phases), key=order.index))
    assert len(phases.labels) == len(test)
    assert phases.labels[0] == "light"
    assert ("critical" in phases.labels) == (phases.verdict == "double descent")
    if phases.dip and phases.peak:
        dip, peak = phases.dip.index, phases.peak.index
        assert (phases.labels[dip], phases.labels[peak]) == ("critical", "sweet")
        assert test[dip] == min(
            a for a, label in zip(test, phases.labels, strict=True) if label == "critical"
        )
        assert test[peak] == max(
            a for a, label in zip(test, phases.labels, strict=True) if label == "sweet"
        )
        assert phases.gain + phases.depth > phases.tolerance


@pytest.mark.parametrize(
    ("train", "seeds", "words"),
    [
        ([1.0, 1.0, 0.9], 2, "2 of at least 3 seeds"),
        ([0.8, 0.8, 0.7], 3, "does not fit its training labels (80.0 %"),
    ],
)
def test_no_verdict_is_reliable_on_a_poor_sweep(train: list[float], seeds: int, words: str) -> None:
    found = find_phases([0.0, 0.5, 0.9], [0.8, 0.8, 0.8], train, 0.0, num_seeds=seeds)
    assert found.verdict == "no descent"
    assert not found.reliable
    assert words in found.notes[0]
    assert found.text.endswith("not reliable.")
