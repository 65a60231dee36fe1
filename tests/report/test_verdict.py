"""Verdicts on cases worked by hand: half-widths 3 and 4 combine to 5."""

from __future__ import annotations

from typing import Any

import pytest

from autoprune.report.verdict import comparisons, conclusion, difference, free_sparsity
from autoprune.report.words import TIMES


def entry(test: float, half: float, sparsity: float = 0.95, **extra: Any) -> dict[str, Any]:
    return {
        "trial": f"t{sparsity}",
        "method": "imp",
        "sparsity": sparsity,
        "val_accuracy": test + 0.002,
        "val_ci95": [test - 0.01, test + 0.01],
        "test_accuracy": test,
        "test_ci95": [test - half, test + half],
        **extra,
    }


def study(front: list[dict[str, Any]], *baselines: dict[str, Any]) -> dict[str, Any]:
    return {"front": front, "baselines": list(baselines)}


@pytest.mark.parametrize(
    ("gap", "outcome"),
    [(0.051, "better"), (0.049, "within noise"), (-0.049, "within noise"), (-0.051, "worse")],
)
def test_the_interval_of_the_difference_decides(gap: float, outcome: str) -> None:
    found, low, high, verdict = difference(entry(0.80 + gap, 0.03), entry(0.80, 0.04))
    assert found == pytest.approx(gap)
    assert low == pytest.approx(gap - 0.05)
    assert high == pytest.approx(gap + 0.05)
    assert verdict == outcome


def test_lopsided_intervals_use_the_sides_that_face_each_other() -> None:
    # Front 0.85 [0.82, 0.95], baseline 0.80 [0.70, 0.84]: down sqrt(3^2 + 4^2) = 5 points, up
    # sqrt(10^2 + 10^2) = 14.14.
    front = entry(0.85, 0.0) | {"test_ci95": [0.82, 0.95]}
    baseline = entry(0.80, 0.0) | {"test_ci95": [0.70, 0.84]}
    _, low, high, _ = difference(front, baseline)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(0.05 + 0.02**0.5)


def test_no_interval_gives_no_verdict() -> None:
    bare = entry(0.5, 0.0) | {"test_ci95": None}
    assert difference(entry(0.9, 0.01), bare)[3] == "no interval"


def test_validation_is_not_compared_with_test() -> None:
    unconfirmed = entry(0.9, 0.01) | {"test_accuracy": None, "test_ci95": None}
    assert difference(unconfirmed, entry(0.5, 0.01))[3] == "no interval"


def test_the_sentence_names_every_baseline_in_plain_words() -> None:
    summary = study(
        [entry(0.961, 0.004)],
        entry(0.910, 0.003, baseline="random"),
        entry(0.958, 0.005, baseline="magnitude"),
        entry(0.980, 0.003, baseline="scratch_e"),
        entry(0.970, 0.003, 0.0, baseline="dense"),
    )
    (comparison,) = comparisons(summary)
    # sqrt(.4^2 + .3^2) = .5, so 5.1 is at least 4.6 and -1.9 at least -1.4; sqrt(.41) = .64 > .3
    assert comparison.text == (
        "At 95.0 %: imp 96.1 ± 0.4 against random masks 91.0 ± 0.3 (better by 5.1 points, at least "
        "4.6), one-shot magnitude 95.8 ± 0.5 (within noise), the same net from scratch 98.0 ± 0.3 "
        "(worse by 1.9 points, at least 1.4)."
    )


def test_a_less_sparse_point_may_not_stand_for_the_front() -> None:
    front = [entry(0.99, 0.001, 0.93), entry(0.90, 0.001, 0.951), entry(0.80, 0.001, 0.99)]
    (comparison,) = comparisons(study(front, entry(0.9, 0.001, 0.95, baseline="magnitude")))
    assert comparison.trial == "t0.951"


def test_the_point_is_chosen_on_validation_not_on_test() -> None:
    front = [
        entry(0.80, 0.001, 0.95) | {"val_accuracy": 0.9},
        entry(0.85, 0.001, 0.96) | {"val_accuracy": 0.8},
    ]
    (comparison,) = comparisons(study(front, entry(0.7, 0.001, 0.95, baseline="magnitude")))
    assert comparison.trial == "t0.95"


def test_a_front_that_does_not_reach_says_so() -> None:
    (comparison,) = comparisons(study([entry(0.9, 0.01, 0.5)], entry(0.9, 0.01, baseline="random")))
    assert comparison.trial is None
    assert "no point this sparse" in comparison.text


def test_fewer_weights_at_equal_accuracy_are_part_of_the_verdict() -> None:
    summary = study([entry(0.9, 0.01, 0.95)], entry(0.9, 0.01, 0.90, baseline="magnitude"))
    (comparison,) = comparisons(summary)
    assert f"(within noise, with 2.0{TIMES} fewer weights)" in comparison.text
    assert "equally accurate within noise with clearly fewer weights at 1" in conclusion(summary)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (0.95, "more accurate beyond the 95 % intervals at 1."),
        (0.90, "The search bought nothing here"),
        (0.85, "The search bought nothing here"),
    ],
)
def test_the_conclusion_follows_magnitude(test: float, words: str) -> None:
    summary = study([entry(test, 0.01)], entry(0.9, 0.01, baseline="magnitude"))
    assert words in conclusion(summary)
    assert "at 1 sparsity," in conclusion(summary)


def test_losing_at_one_sparsity_is_said() -> None:
    summary = study(
        [entry(0.95, 0.01, 0.90), entry(0.80, 0.01, 0.98)],
        entry(0.9, 0.01, 0.90, baseline="magnitude"),
        entry(0.9, 0.01, 0.98, baseline="magnitude"),
    )
    assert conclusion(summary).endswith(
        "more accurate beyond the 95 % intervals at 1, less accurate at 1. Where it is less "
        "accurate, take the baseline."
    )


@pytest.mark.parametrize(
    ("objectives", "compared"),
    [
        (["accuracy", "macs"], 0),
        (["accuracy", "latency_ms", "macs"], 0),
        (["accuracy", "params"], 0),
        (["accuracy", "macs", "sparsity"], 1),
        (["accuracy", "size_bytes"], 1),
    ],
)
def test_single_weights_are_no_baseline_for_speed_alone(
    objectives: list[str], compared: int
) -> None:
    magnitude = entry(0.95, 0.01, baseline="magnitude", kind="weights")
    summary = study([entry(0.85, 0.01, kind="units")], magnitude) | {"objectives": objectives}
    assert len(comparisons(summary)) == compared
    assert ("No verdict" in conclusion(summary)) == (compared == 0)


def test_nothing_is_claimed_without_a_front_or_a_baseline() -> None:
    assert "no front" in conclusion(study([]))
    assert "no confirmed" in conclusion(study([entry(0.9, 0.01)]))


def test_free_sparsity_is_the_sparsest_point_within_noise_of_dense() -> None:
    dense = entry(0.95, 0.004, 0.0, baseline="dense")
    front = [entry(0.951, 0.003, 0.8), entry(0.946, 0.003, 0.9), entry(0.944, 0.003, 0.95)]
    found = free_sparsity(study(front, dense))
    assert found is not None
    assert found["sparsity"] == 0.9
    assert free_sparsity(study(front)) is None
