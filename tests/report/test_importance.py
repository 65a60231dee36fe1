from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest

from autoprune.report.importance import MIN_RECORDS, Knob, excess_error, knob_importance
from tests.report import synthetic


@pytest.fixture(scope="module")
def knobs() -> list[Knob]:
    return knob_importance(synthetic.summary(160)["records"])


def test_the_planted_knob_comes_first(knobs: list[Knob]) -> None:
    assert knobs[0].name == "lr.peak"
    assert knobs[0].matters
    low, high = map(float, knobs[0].best.split(" to "))
    assert low < 0.1 < high  # where the error was planted to be least


def test_a_knob_without_effect_does_not_stand_out(knobs: list[Knob]) -> None:
    idle = next(knob for knob in knobs if knob.name == "label_smoothing")
    assert not idle.matters


def test_conditional_knobs_count_their_own_trials(knobs: list[Knob]) -> None:
    records = [r for r in synthetic.summary(160)["records"] if r["status"] == "ok"]
    having = sum("allocation" in r["config"]["params"] for r in records)
    assert next(k for k in knobs if k.name == "allocation").trials == having < len(records)


def test_knobs_that_never_vary_are_left_out(knobs: list[Knob]) -> None:
    assert not {"weight_decay", "imp.rounds", "mixup"} & {knob.name for knob in knobs}


def test_too_few_records_give_nothing() -> None:
    records = [r for r in synthetic.summary(40)["records"] if r["status"] == "ok"]
    assert knob_importance(records[: MIN_RECORDS - 1]) == []
    assert knob_importance(records[:MIN_RECORDS])


def test_the_same_records_give_the_same_answer() -> None:
    records = synthetic.summary(30)["records"]
    assert knob_importance(records) == knob_importance(records)


def test_optuna_is_left_as_it_was_and_says_nothing() -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knob_importance(synthetic.summary(30)["records"])
    assert optuna.logging.get_verbosity() == before


def test_sparsity_and_length_alone_leave_no_excess() -> None:
    # Error 0.1 at density 1/2, 0.2 at 1/10, 0.4 at 1/100, and 1.5 times that in short runs: the
    # isotonic fit follows the steps, the medians take the factor.
    records = [
        {"sparsity": s, "val_accuracy": 1 - e * factor, "epochs": epochs}
        for s, e in ((0.5, 0.1), (0.9, 0.2), (0.99, 0.4))
        for epochs, factor in ((9, 1.0), (1, 1.5))
    ]
    assert np.allclose(excess_error(records), 0.0, atol=1e-9)


def test_a_bad_trial_has_positive_excess() -> None:
    records = [{"sparsity": 0.9, "val_accuracy": 0.9, "epochs": 1} for _ in range(9)]
    records.append({"sparsity": 0.9, "val_accuracy": 0.5, "epochs": 1})
    excess = excess_error(records)
    # ln(0.5) - ln(0.1) = 1.609 above the others, whose median is taken as zero
    assert excess[-1] == pytest.approx(np.log(5))
    assert np.allclose(excess[:-1], 0.0)
