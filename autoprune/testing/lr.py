"""The contract of a learning-rate schedule."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import pytest

from autoprune.core.config import LRConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.training.lr.base import CycleInfo

CYCLES = [
    CycleInfo(
        index=index,
        count=5,
        sparsity=1 - 0.8**index,
        round_share=0.2,
        norm_lost=0.1 * index,
        length_ratio=0.5,
        dense_curve=[0.1 * (1 - step / 40) for step in range(40)],
    )
    for index in range(1, 6)
]


def corners(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings at the low and at the high end of a schedule's search ranges."""

    def end(value: Any, which: int) -> Any:
        if isinstance(value, dict):
            return value[("low", "high")[which]]
        return value[-which] if isinstance(value, list) else value

    return [{name: end(value, which) for name, value in space.items()} for which in (0, 1)]


class LRContract:
    """Inherit it and supply `make`; every test then runs on your schedule's class."""

    @pytest.fixture
    def make(self) -> Callable[[], Any]:
        """Return the class of the schedule; called without arguments it takes its defaults."""
        raise NotImplementedError

    @pytest.mark.parametrize("num_steps", [1, 7, 100])
    def test_rates_are_finite_and_some_step_learns(
        self, make: Callable[[], Any], num_steps: int
    ) -> None:
        for cycle in CYCLES:
            rates = [make()(step / num_steps, cycle) for step in range(num_steps)]
            assert all(type(rate) is float and math.isfinite(rate) for rate in rates)
            assert min(rates) >= 0.0
            assert max(rates) > 0.0 or num_steps == 1

    def test_it_depends_on_its_arguments_only(self, make: Callable[[], Any]) -> None:
        schedule, twin = make(), make()
        schedule(0.9, CYCLES[4])
        assert schedule(0.3, CYCLES[2]) == twin(0.3, CYCLES[2])

    def test_it_is_frozen(self, make: Callable[[], Any]) -> None:
        schedule = make()
        for parameter in fields(schedule):
            with pytest.raises(FrozenInstanceError):
                setattr(schedule, parameter.name, 0.5)

    def test_parameters_survive_a_configuration(self, make: Any) -> None:
        config = parse(LRConfig, {"name": "any", "params": asdict(make())}, "lr")
        assert parse(make, config.params, "lr.any") == make()

    def test_an_unknown_parameter_is_refused_with_its_path(self, make: Any) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(make, {"no_such_parameter": 1.0}, "lr.any")
        assert caught.value.place == "lr.any.no_such_parameter"

    def test_a_value_that_is_no_number_is_refused(self, make: Any) -> None:
        for parameter in fields(make):
            with pytest.raises(ConfigError) as caught:
                parse(make, {parameter.name: "much"}, "lr.any")
            assert caught.value.place == f"lr.any.{parameter.name}"

    def test_the_search_ranges_are_valid(self, make: Any) -> None:
        assert set(make.space) <= {parameter.name for parameter in fields(make)}
        for values in corners(make.space):
            assert math.isfinite(parse(make, values, "lr.any")(0.3, CYCLES[0]))

    def test_it_names_its_source(self, make: Any) -> None:
        assert make.reference

    def test_pickles(self, make: Callable[[], Any]) -> None:
        twin = pickle.loads(pickle.dumps(make()))  # noqa: S301 - our own bytes
        assert twin == make()
        assert twin(0.3, CYCLES[1]) == make()(0.3, CYCLES[1])
