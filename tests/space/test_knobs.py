"""Allocations with knobs in a space: ``{searched: {groups, low, high}}``."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from autoprune.core.errors import BadInput
from autoprune.methods.base import complete
from autoprune.search.sampler import _cells
from autoprune.space import Space, knobs, parse_space
from autoprune.space.dimensions import Choice, Range

PATH = "method.magnitude.allocation"
KNOBS = {"searched": {"groups": 3, "low": -1.5, "high": 1.5}}


def space_of(allocation: Any) -> Space:
    return parse_space(
        {
            "task": {"data": "digits", "model": "mlp"},
            "method": {"magnitude": {"allocation": allocation}, "imp": {"rounds": [2, 3]}},
        }
    )


@pytest.fixture(scope="module")
def space() -> Space:
    return space_of(["global", "erk", KNOBS])


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(knobs).failed == 0


def test_a_choice_and_a_range_per_knob(space: Space) -> None:
    choice, *ranges = [d for d in space.dimensions if d.path.startswith(PATH)]
    assert choice == Choice(PATH, ("global", "erk", "searched"), ("method", "magnitude"))
    assert ranges == [
        Range(f"{PATH}.searched.{i}", -1.5, 1.5, when=(PATH, "searched")) for i in (1, 2, 3)
    ]


def test_one_mapping_is_a_choice_of_one() -> None:
    assert space_of(KNOBS).dimensions == space_of([KNOBS]).dimensions


def test_knobs_are_written_into_the_allocation(space: Space) -> None:
    flat = {"method": "magnitude", "lr": "linear", PATH: "searched", "lr.linear.peak": 0.1}
    numbers = {f"{PATH}.searched.3": -1.2, f"{PATH}.searched.1": 0.5, f"{PATH}.searched.2": 0.0}
    config = space.config({**flat, **numbers}, 0.9)
    assert config.params["allocation"] == "searched:0.5,0,-1.2"
    assert complete(config) == config
    assert space.flatten(config) == {**flat, **numbers}


def test_six_significant_digits(space: Space) -> None:
    flat = {**space.middle("magnitude"), PATH: "searched"}
    numbers = {f"{PATH}.searched.{i}": v for i, v in ((1, 1 / 3), (2, -1 / 7), (3, -0.0))}
    config = space.config({**flat, **numbers}, 0.9)
    assert config.params["allocation"] == "searched:0.333333,-0.142857,0"


def proposals(space: Space) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for _ in range(200):
        flat = space.random(rng)
        for _ in range(4):
            found.append(flat)
            flat = space.mutate(flat, rng)
    return found


def test_knobs_are_there_exactly_when_they_are_drawn(space: Space) -> None:
    seen = set()
    for flat in proposals(space):
        drawn = [path for path in flat if path.startswith(f"{PATH}.searched.")]
        assert len(drawn) == (3 if flat.get(PATH) == "searched" else 0)
        assert (PATH in flat) == (flat["method"] == "magnitude")
        seen.add(flat.get(PATH))
    assert seen == {None, "global", "erk", "searched"}


def test_mutation_turns_a_knob_and_leaves_the_others(space: Space) -> None:
    rng = np.random.default_rng(1)
    flat = {**space.middle("magnitude"), PATH: "searched"}
    flat |= {f"{PATH}.searched.{i}": 0.25 for i in (1, 2, 3)}
    turned = set()
    for _ in range(200):
        new = space.mutate(flat, rng, ("magnitude",))
        if new.get(PATH) == "searched":
            turned.add(tuple(new[f"{PATH}.searched.{i}"] != 0.25 for i in (1, 2, 3)))
    assert {(True, False, False), (False, True, False), (False, False, True)} <= turned


def test_a_configuration_gives_back_its_proposal(space: Space) -> None:
    for flat in proposals(space):
        assert space.flatten(space.config(flat, 0.9)) == flat


def test_the_encoding_knows_absence(space: Space) -> None:
    rows: dict[tuple[float, ...], Any] = {}
    for flat in proposals(space):
        row = tuple(space.encode(flat))
        assert len(row) == space.width
        assert rows.setdefault(row, flat) == flat
        there = [d.path in flat for d in space.dimensions if d.path.startswith(f"{PATH}.searched.")]
        last = space.width - 1  # the learning rate's peak follows the knobs and imp's rounds
        start = last - 3 - 3  # two rounds and absence
        assert [value >= 0.0 for value in row[start : start + 3]] == there


def test_the_middle_leaves_every_knob_at_its_middle() -> None:
    middle = space_of([KNOBS, "global"]).middle("magnitude")
    assert [middle[f"{PATH}.searched.{i}"] for i in (1, 2, 3)] == [0.0, 0.0, 0.0]


def test_a_grid_has_every_knob_at_both_ends_and_the_middle(space: Space) -> None:
    cells = list(_cells(space, "magnitude"))
    # Three learning rates times two allocations without knobs and 3^3 settings of three knobs.
    assert len(cells) == 3 * (2 + 27)
    assert len({str(sorted(cell.items())) for cell in cells}) == len(cells)
    for cell in cells:
        assert space.flatten(space.config(cell, 0.9)) == cell


def test_written_knobs_are_a_value_like_any_other() -> None:
    space = space_of(["searched", "searched:0.5,-0.5"])
    flat = {**space.middle("magnitude"), PATH: "searched:0.5,-0.5"}
    config = space.config(flat, 0.9)
    assert config.params["allocation"] == "searched:0.5,-0.5"
    assert space.flatten(config) == flat


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        ([{"serched": {}}], r"magnitude\.allocation names an unknown alloc.*mean 'searched'"),
        ([{"erk": {"groups": 2}}], r"must not give knobs to 'erk', which takes none"),
        ({"low": 0.1, "high": 0.5}, r"magnitude\.allocation must name one allocation per value"),
        ([{"searched": 3}], r"allocation\.searched must hold groups, low and high; got 3"),
        ([{"searched": {"group": 3}}], r"searched\.group is not a known key; did you.*'groups'"),
        ([{"searched": {"low": -1, "high": 1}}], r"searched\.groups must be a whole number"),
        ([{"searched": {"groups": 0, "low": -1, "high": 1}}], r"at least 1; got 0"),
        ([{"searched": {"groups": True, "low": -1, "high": 1}}], r"at least 1; got True"),
        ([{"searched": {"groups": 2, "high": 1}}], r"searched\.low must be a number; got None"),
        ([{"searched": {"groups": 2, "low": 1, "high": 1}}], r"searched\.low must be below high"),
        ([{"searched": {"groups": 2, "low": -11, "high": 1}}], r"searched\.low must lie in \[-10"),
        ([{"searched": {"groups": 2, "low": 0, "high": float("nan")}}], r"high must lie in"),
        ([{"searched": {"groups": 2, "low": -1.2345678, "high": 1}}], r"six significant digits"),
        (["searched", KNOBS], r"must not offer a value twice"),
        ([KNOBS, KNOBS], r"must not offer a value twice"),
        ("searched:1,x", r"must hold numbers; got 'searched:1,x'; the form is one number"),
        (["searched:"], r"must hold numbers"),
        (["searched:99"], r"must hold numbers from -10 to 10"),
        ("erk:1", r"must not give knobs to 'erk'"),
    ],
)
def test_every_broken_rule_names_its_path(allocation: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        space_of(allocation)
    assert caught.value.place.startswith(f"space: {PATH}")


def test_only_allocations_have_knobs() -> None:
    with pytest.raises(BadInput, match=r"method\.imp\.rewind must be a valid string"):
        parse_space(
            {
                "task": {"data": "digits", "model": "mlp"},
                "method": {"imp": {"rewind": [{"searched": {"groups": 1, "low": 0, "high": 1}}]}},
            }
        )
