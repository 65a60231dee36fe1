from __future__ import annotations

import csv
import doctest
import io

import pytest

from autoprune.report import experiments
from autoprune.report.words import NONE
from tests.report.experiments import comparison, oracle


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(experiments).failed == 0


def test_what_is_missing_is_a_dash_and_nothing_has_no_sign() -> None:
    assert experiments.rate(None) == experiments.points(None) == NONE
    assert experiments.points(0.0) == experiments.points(-0.0004) == "0.0"
    assert experiments.points(-0.0006) == "-0.1"
    assert experiments.span(0.001, 0.03) == f"0.001{NONE}0.03"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("better", "A is better than B: so it is"),
        ("worse", "A is worse than B: so it is"),
        ("within noise", "A and B are within noise of each other: so it is"),
        ("no interval", "A against B has no verdict: so it is"),
    ],
)
def test_the_verdict_comes_before_the_text(outcome: str, words: str) -> None:
    found = comparison("a", "b", 0.0, outcome=outcome, text="so it is.")
    assert experiments.compared(found, "A", "B") == words


def test_within_noise_is_said_once() -> None:
    found = comparison("a", "b", 0.004)
    assert found["text"].startswith("within noise: +0.40 points")
    said = experiments.compared(found, "A", "B")
    assert said.startswith("A and B are within noise of each other: +0.40 points, and with 3 pairs")


def test_without_a_text_the_numbers_are_said() -> None:
    found = comparison("a", "b", 0.02, text="")
    assert experiments.compared(found, "A", "B").endswith(": +2.0 points (+1.0 to +3.0)")
    bare = found | {"low": None, "high": None}
    assert experiments.compared(bare, "A", "B").endswith(": +2.0 points")
    assert experiments.compared(bare | {"difference": None}, "A", "B") == "A is better than B"


def test_caveats_are_said_where_they_hold() -> None:
    assert experiments.caveats(oracle(2)) == []
    said = experiments.caveats(oracle(2, status="stopped", seeds=[0], data="digits"))
    assert [line.split(":")[0] for line in said[:2]] == ["The study is stopped", "One seed"]
    assert "no claim" in said[2]


def test_a_csv_cell_may_hold_a_comma_and_be_empty() -> None:
    rows = [{"a": 'x, "y"', "b": True}, {"b": None}]
    text = experiments.csv_text(("a", "b"), rows)
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"a": 'x, "y"', "b": "true"},
        {"a": "", "b": ""},
    ]
    with pytest.raises(ValueError, match="'c'"):
        experiments.csv_text(("a", "b"), [{"c": 1}])
