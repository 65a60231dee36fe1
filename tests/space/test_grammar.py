from __future__ import annotations

from typing import Any

import pytest

from autoprune.core.config import TaskConfig
from autoprune.core.errors import BadInput
from autoprune.space import parse_space
from autoprune.space.dimensions import Choice, Range

MINIMAL: dict[str, Any] = {
    "task": {"data": "digits", "model": "mlp"},
    "method": {"magnitude": None},
}
RANGE = {"low": 0.01, "high": 0.5}


def with_(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metod": {}}, r"space: metod is not a known key; did you mean 'method'"),
        ({"task": None}, r"space: task is required"),
        ({"task": {"data": "digits", "modle": "mlp"}}, r"space: task\.modle is not a known key"),
        ({"task": "digits"}, r"space: task must hold a mapping"),
        ({"method": None}, r"space: method is required"),
        ({"method": {}}, r"space: method is required"),
        ({"method": ["magnitude"]}, r"space: method must hold a mapping"),
        ({"method": {"magnitud": {}}}, r"unknown method 'magnitud'; did you mean 'magnitude'"),
        ({"method": {"dense": {}}}, r"method\.dense is a control"),
        ({"method": {"imp": {"round": 2}}}, r"method\.imp\.round is not a known key; did you mean"),
        ({"method": {"imp": {"rounds": 0}}}, r"method\.imp\.rounds must be greater than or equal"),
        ({"method": {"imp": {"rounds": [2, 0]}}}, r"method\.imp\.rounds must be greater than or"),
        ({"method": {"imp": {"rounds": []}}}, r"method\.imp\.rounds must offer at least one"),
        ({"method": {"imp": {"rounds": [2, 2]}}}, r"method\.imp\.rounds must not offer a value"),
        (
            {"method": {"imp": {"rounds": {"low": 1, "high": 99}}}},
            r"method\.imp\.rounds must be le",
        ),
        ({"method": {"imp": {"rewind": ["stp:1"]}}}, r"rewind must be none, init, reinit or step"),
        ({"method": {"magnitude": {"allocation": "lampp"}}}, r"'lampp'; did you mean 'lamp'"),
        ({"method": {"imp": {"lr": "silo"}}}, r"method\.imp\.lr must be a list"),
        ({"method": {"imp": {"lr": ["sillo"]}}}, r"method\.imp\.lr.*'sillo'; did you mean 'silo'"),
        ({"lr": {"linaer": {}}}, r"'linaer'; did you mean 'linear'"),
        ({"lr": {"linear": {"peek": 0.1}}}, r"lr\.linear\.peek is not a known key"),
        ({"lr": {"linear": {"peak": -1}}}, r"lr\.linear\.peak must be greater than 0"),
        ({"lr": {"linear": {"peak": {"low": 0, "high": 1}}}}, r"lr\.linear\.peak must be greater"),
        ({"lr": {"linear": {"peak": {"high": 1}}}}, r"lr\.linear\.peak\.low must be a number"),
        ({"lr": {"linear": {"peak": {**RANGE, "lgo": 1}}}}, r"lr\.linear\.peak\.lgo is not a kn"),
        ({"lr": {"linear": {"peak": {**RANGE, "log": 1}}}}, r"peak\.log must be true or false"),
        ({"lr": {"linear": {"peak": {**RANGE, "step": 0.9}}}}, r"peak\.step must lie in"),
        ({"lr": {"linear": {"peak": {**RANGE, "step": 0.1, "log": True}}}}, r"peak\.step must"),
        ({"lr": {"linear": {"peak": {"low": 0.5, "high": 0.5}}}}, r"peak\.low must be below high"),
        (
            {"lr": {"silo": {"rise": {"low": 0.0, "high": 1.0, "log": True}}}},
            r"lr\.silo\.rise\.low must be above 0 in a log range",
        ),
        (
            {"method": {"magnitude": {"lr": ["linear"]}}, "lr": {"linear": {}, "silo": {}}},
            r"lr\.silo is drawn by no method",
        ),
        ({"recipe": {"distil": 0.5}}, r"recipe\.distil is not a known key; did you mean 'distill'"),
        ({"recipe": {"distill": [0.5, 1.5]}}, r"recipe\.distill must be less than or equal"),
        ({"train": {"epochs": 0}}, r"train\.epochs must be greater than or equal to 1"),
        ({"train": {"epochs": 1.5}}, r"train\.epochs must be a valid integer"),
        ({"train": {"schedule": "liner"}}, r"train\.schedule.*did you mean 'linear'"),
        ({"objectives": ["sparsity"]}, r"objectives must be a list that starts with accuracy"),
        (
            {"objectives": ["accuracy", "speed"]},
            r"objectives names an unknown objective; got 'spee",
        ),
        ({"objectives": ["accuracy", "macs", "macs"]}, r"objectives must not repeat"),
        ({"targets": {"high": 1.0}}, r"targets\.high must be less than 1"),
        ({"targets": {"low": -0.1}}, r"targets\.low must be greater than or equal to 0"),
        ({"targets": {"low": 0.9, "high": 0.5}}, r"targets\.low must be below targets\.high"),
        ({"targets": {"hihg": 0.9}}, r"targets\.hihg is not a known key; did you mean 'high'"),
        ({"targets": {"always": [0.3]}}, r"targets\.always must lie between"),
        ({"fidelity": {"epochs": []}}, r"fidelity\.epochs"),
        ({"fidelity": {"epochs": [3, 1]}}, r"fidelity\.epochs must rise"),
        ({"fidelity": {"epochs": [0, 1]}}, r"fidelity\.epochs\.0 must be greater than or equal"),
        ({"name": "a/b"}, r"space: name must be letters"),
    ],
)
def test_every_broken_rule_names_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_space(with_(**changes))


def test_the_documented_defaults() -> None:
    space = parse_space(MINIMAL)
    assert space.objectives == ("accuracy", "sparsity")
    assert (space.targets.low, space.targets.high, space.targets.always) == (0.5, 0.99, (0.9, 0.95))
    assert space.rungs == (1, 3, 9)
    assert space.schedules == {"magnitude": ("linear",)}
    assert space.dimensions == (
        Choice("method", ("magnitude",)),
        Choice("lr", ("linear",)),
        Range("lr.linear.peak", 0.01, 0.5, log=True, when=("lr", "linear")),
    )


def test_lists_ranges_and_scalars() -> None:
    space = parse_space(
        with_(
            method={"imp": {"rounds": {"low": 2, "high": 5}, "rewind": ["none", "init"]}},
            recipe={"label_smoothing": 0.1, "distill": {"low": 0, "high": 1}},
        )
    )
    by_path = {dimension.path: dimension for dimension in space.dimensions}
    assert by_path["method.imp.rounds"] == Range(
        "method.imp.rounds", 2, 5, integer=True, when=("method", "imp")
    )
    assert by_path["method.imp.rewind"] == Choice(
        "method.imp.rewind", ("none", "init"), ("method", "imp")
    )
    # Whole ends do not make a fraction whole.
    distill = by_path["recipe.distill"]
    assert isinstance(distill, Range)
    assert not distill.integer
    assert space.fixed["recipe.label_smoothing"] == 0.1


def test_a_method_lists_its_schedules_and_may_name_further_ones() -> None:
    space = parse_space(with_(method={"magnitude": {}, "imp": {"lr": ["silo", "lrw"]}}))
    assert space.schedules == {"magnitude": ("linear",), "imp": ("silo", "lrw")}
    assert space.dimensions[1] == Choice("lr", ("linear", "silo", "lrw"))


def test_macs_as_the_first_cost_makes_targets_macs_unless_said_otherwise() -> None:
    objectives = ["accuracy", "macs"]
    assert parse_space(with_(objectives=objectives)).targets.of == "macs"
    said = parse_space(with_(objectives=objectives, targets={"of": "weights"}))
    assert said.targets.of == "weights"
    assert (
        parse_space(with_(targets={"of": "macs"}))
        .config({"method": "magnitude", "lr": "linear"}, 0.5)
        .of
        == "macs"
    )


def test_default_named_targets_outside_the_range_are_left_out() -> None:
    assert parse_space(with_(targets={"high": 0.93})).targets.always == (0.9,)


def test_a_method_that_reaches_no_target_is_refused() -> None:
    with pytest.raises(BadInput, match=r"method\.magnitude reaches 0 to 0\.999, which is none"):
        parse_space(with_(targets={"low": 0.9995, "high": 0.9999, "always": []}))


def test_a_task_replaces_the_files_or_stands_in_for_it() -> None:
    task = TaskConfig(data="cifar10", model="resnet20")
    assert parse_space(MINIMAL, task=task).task == task
    assert parse_space({"method": {"magnitude": None}}, task=task).task == task


def test_patterns_are_drawn_at_sparsities_they_reach() -> None:
    values = ["weight", "2:4", "n:8"]
    space = parse_space(with_(method={"magnitude": {"granularity": values}}, targets={"low": 0.5}))
    for value, expected in zip(values, [(0.0, 0.999), (0.5, 0.5), (0.0, 0.875)], strict=True):
        flat = {**space.middle(), "method.magnitude.granularity": value}
        assert space.reaches(flat) == expected
        config = space.config(flat, 0.5)
        assert config.params["granularity"] == value
        assert space.flatten(config) == flat


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["weight", "5:4"], r"granularity must keep 1 to 3 of 4 weights; got '5:4'"),
        ("n:0", r"granularity must have blocks of 2, 4, 8, 16, 32, 64 weights; got 'n:0'"),
        ("2:", r"granularity must be N:M or n:M"),
        ("wieght", r"unknown granularity 'wieght'; did you mean 'weight'"),
        (["weight", "1:2", "15:16"], r"magnitude reaches 0.0625 to 0.0625, which is none"),
    ],
)
def test_what_is_no_pattern_is_refused(given: Any, words: str) -> None:
    method = {"magnitude": {"granularity": given}}
    with pytest.raises(BadInput, match=words):
        parse_space(with_(method=method, targets={"low": 0.5}))
