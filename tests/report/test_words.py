from __future__ import annotations

import doctest

import pytest

from autoprune.report import words
from tests.report import synthetic


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(words).failed == 0


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0.0"), (0.9, "90.0"), (0.99949, "99.9"), (0.99951, "99.95"), (1.0, "100.0")],
)
def test_a_percentage_claims_100_only_where_it_is_100(fraction: float, text: str) -> None:
    assert words.percent(fraction) == text


def test_a_missing_number_is_a_dash() -> None:
    assert words.percent(None) == words.count(None) == words.NONE


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (9999, "10.0k"), (999_600, "1.00M"), (123_456, "123k")]
)
def test_counts_keep_three_digits(number: float, text: str) -> None:
    assert words.count(number) == text


def test_plus_minus_takes_the_wider_side() -> None:
    assert words.plus_minus(0.90, [0.88, 0.91]) == "90.0 ± 2.0"
    assert words.plus_minus(0.90, [0.89, 0.93]) == "90.0 ± 3.0"


def test_knobs_carry_the_method_they_exist_under_and_leave_the_target_out() -> None:
    config = synthetic.config("imp", 0.9, "silo", 0.1, "erk", 0.1)
    flat = words.knobs(config)
    assert flat["method"] == "imp"
    assert flat["imp.rounds"] == 3
    assert flat["allocation"] == "erk"
    assert flat["lr schedule"] == "silo"
    assert flat["lr.peak"] == 0.1
    assert "sparsity" not in flat
    assert "optimizer" not in flat  # None: as in the dense run


def test_the_knobs_of_an_allocation_are_numbers_of_their_own() -> None:
    flat = words.knobs(synthetic.config("imp", 0.9, "silo", 0.1, "searched:0.5,-1.2", 0.1))
    assert flat["allocation"] == "searched"
    assert (flat["searched.1"], flat["searched.2"]) == (0.5, -1.2)


def test_recipe_settings_that_are_off_are_not_shown() -> None:
    shown = words.chosen(synthetic.config("snip", 0.9, "linear", 0.1, "erk", 0.0))
    assert "label_smoothing" not in shown
    assert "mixup" not in shown
    assert shown["weight_decay"] == 5e-4


def test_only_the_bundled_digits_prove_plumbing_only() -> None:
    summary = synthetic.summary(20)
    assert not words.proves_plumbing_only(summary)
    for row in [*summary["front"], *summary["records"], *summary["baselines"]]:
        row["config"]["task"] |= {"data": "digits"}
    assert words.proves_plumbing_only(summary)
    summary["front"][0]["config"]["task"] |= {"task_file": "mine.py"}
    assert not words.proves_plumbing_only(summary)
