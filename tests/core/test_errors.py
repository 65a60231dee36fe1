from __future__ import annotations

import pickle

import pytest

from autoprune.core import errors
from autoprune.core.errors import (
    AutoPruneError,
    BadInput,
    ConfigError,
    did_you_mean,
    unknown_name,
)


def test_place_rule_value_remedy() -> None:
    error = ConfigError("prune.rounds", "must be an int >= 1", 0, "give 1")
    assert str(error) == "prune.rounds must be an int >= 1; got 0; give 1"
    assert str(ConfigError("x", "is required")) == "x is required"
    assert str(ConfigError("x", "must be set", None)) == "x must be set; got None"
    assert str(ConfigError("", "must hold")) == "must hold"


@pytest.mark.parametrize(
    "kind", [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, BadInput)]
)
def test_bad_input_travels(kind: type[BadInput]) -> None:
    error = kind("place", "rule", 3, "remedy")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.place, again.rule, again.value, again.remedy) == ("place", "rule", 3, "remedy")
    assert isinstance(error, ValueError)
    assert isinstance(error, AutoPruneError)


def test_suggestions() -> None:
    assert did_you_mean("sinp", ["snip", "imp"]) == "did you mean 'snip'?"
    assert did_you_mean("zzz", ["snip", "imp"]) == "known: imp, snip"
    many = did_you_mean("zzz", [f"name{i:03}" for i in range(1000)])
    assert many.startswith("known: name000, name001")
    assert many.endswith(", name059 and 940 more")
    error = unknown_name("trial.method", "method", "sinp", ["snip"])
    assert str(error) == "trial.method names an unknown method 'sinp'; did you mean 'snip'?"
