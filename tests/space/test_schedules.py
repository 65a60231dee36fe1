"""Which schedules a space draws, and the Oracle's grid."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from autoprune.core.errors import BadInput
from autoprune.space import parse_space
from autoprune.space.dimensions import Choice, Range
from autoprune.space.schedules import OracleGrid

TASK = {"data": "digits", "model": "mlp"}


def space(lr: Any = None, **method: Any) -> Any:
    given = {"task": TASK, "method": method or {"imp": {}}}
    return parse_space(given if lr is None else {**given, "lr": lr})


def test_the_oracle_is_a_choice_of_fixed_peaks() -> None:
    found = space({"oracle": {"peaks": 3, "low": 0.001, "high": 0.1}})
    assert found.schedules == {"imp": ("fixed_peak",)}
    assert found.dimensions[-1] == Choice(
        "lr.fixed_peak.peak", (0.001, 0.01, 0.1), ("lr", "fixed_peak")
    )
    config = found.config(found.random(np.random.default_rng(0)), 0.8)
    assert config.lr.name == "fixed_peak"
    assert config.lr.params["peak"] in (0.001, 0.01, 0.1)
    assert parse_space(found.raw).dimensions == found.dimensions  # as a journal does on resume


def test_the_default_grid() -> None:
    # 12 from 1e-3 to 3e-1: a ratio of exp(5.703782 / 11) = 1.67955 between two.
    (peaks,) = (d.values for d in space({"oracle": None}).dimensions if d.path.endswith("peak"))
    assert len(peaks) == 12
    assert (peaks[0], peaks[1], peaks[-1]) == (0.001, 0.00167955, 0.3)
    ratios = np.array(peaks[1:]) / np.array(peaks[:-1])
    assert np.allclose(ratios, 300 ** (1 / 11), rtol=1e-5)  # six digits are kept


def test_the_oracle_stands_beside_others_and_takes_the_profile() -> None:
    found = space({"linear": {}, "oracle": {"peaks": 2, "warmup": 0.2, "second": [0.8, 0.9]}})
    assert found.schedules == {"imp": ("linear", "fixed_peak")}
    assert found.fixed["lr.fixed_peak.warmup"] == 0.2
    assert Choice("lr.fixed_peak.second", (0.8, 0.9), ("lr", "fixed_peak")) in found.dimensions


def test_a_method_may_name_the_oracle_alone() -> None:
    found = space(None, magnitude={}, imp={"lr": ["silo", "oracle"]})
    assert found.schedules == {"magnitude": ("linear",), "imp": ("silo", "fixed_peak")}
    (grid,) = (d for d in found.dimensions if d.path == "lr.fixed_peak.peak")
    assert len(grid.values) == 12


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"peaks": 1}, r"space: lr\.oracle\.peaks must be greater than or equal to 2"),
        ({"peaks": 0}, r"lr\.oracle\.peaks must be greater than or equal to 2"),
        ({"peaks": 2.5}, r"lr\.oracle\.peaks must be a valid integer"),
        ({"low": 0.0}, r"lr\.oracle\.low must be greater than 0"),
        ({"high": -1}, r"lr\.oracle\.high must be greater than 0"),
        ({"low": 0.3, "high": 0.3}, r"lr\.oracle .*low must be below high = 0\.3, not 0\.3"),
        ({"peak": 3}, r"lr\.oracle\.peak is not a known key; did you mean 'peaks'"),
        ([0.1, 0.2], r"lr\.oracle must hold a mapping"),
        ({"first": 1.5}, r"lr\.fixed_peak\.first must be less than or equal to 1"),
    ],
)
def test_a_grid_that_breaks_a_rule_names_its_path(spec: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        space({"oracle": spec})


@pytest.mark.parametrize(
    ("lr", "method"),
    [
        ({"oracle": {}, "fixed_peak": {}}, {"imp": {}}),
        ({"linear": {}, "fixed_peak": {}}, {"magnitude": {}, "imp": {"lr": ["oracle"]}}),
    ],
)
def test_the_oracle_beside_fixed_peak_is_refused(lr: Any, method: Any) -> None:
    with pytest.raises(BadInput, match=r"lr\.oracle must not stand beside fixed_peak"):
        space(lr, **method)


def test_the_grid_holds_its_ends() -> None:
    for peaks in (2, 7, 40):
        values = OracleGrid(peaks=peaks, low=0.0123, high=0.456).values()
        assert len(values) == len(set(values)) == peaks
        assert (values[0], values[-1]) == (0.0123, 0.456)


def test_what_goes_on_from_trained_weights_is_not_drawn_from_scratch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = space({"ft": {}, "linear": {}, "allr": {}, "llr": {}}, imp={}, snip={})
    assert found.schedules == {
        "imp": ("ft", "linear", "allr", "llr"),
        "snip": ("linear", "llr"),
    }
    assert "snip starts from fresh weights, so it is never drawn with ft, allr" in caplog.text


def test_a_method_left_without_a_schedule_is_refused() -> None:
    with pytest.raises(BadInput, match=r"method\.snip needs a schedule.*\['ft', 'lrw'\]; give it"):
        space({"ft": {}, "lrw": {}}, imp={}, snip={})


def test_a_method_from_scratch_must_not_name_such_a_schedule() -> None:
    with pytest.raises(BadInput, match=r"method\.snip\.lr must not name .* got 'allr'; take it"):
        space(None, snip={"lr": ["linear", "allr"]})


def test_fixed_values_are_checked_together() -> None:
    # Alone, a low of .2 is above the default peak of .1.
    found = space({"cyclical": {"low": 0.2, "peak": 0.4, "periods": {"low": 1, "high": 3}}})
    assert (found.fixed["lr.cyclical.low"], found.fixed["lr.cyclical.peak"]) == (0.2, 0.4)
    assert Range("lr.cyclical.periods", 1, 3, integer=True, when=("lr", "cyclical")) in (
        found.dimensions
    )
    with pytest.raises(BadInput, match=r"lr\.cyclical .*low must be below peak = 0\.2"):
        space({"cyclical": {"low": 0.3, "peak": 0.2}})
