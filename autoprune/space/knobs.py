"""Allocations with knobs in a space: a value of a choice, and a range per knob that goes with it.

In a file the value is ``{searched: {groups: 3, low: -1.5, high: 1.5}}``. The knobs are dimensions
of their own, ``method.magnitude.allocation.searched.1`` and so on, which exist only while the
choice says ``searched``; a trial has them all in one string, ``searched:0.5,0,-1.2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core.errors import ConfigError, did_you_mean
from autoprune.pruning.allocations.spec import LIMIT, check_allocation, join_spec, split_spec
from autoprune.space.dimensions import Choice, Dimension, Range, Value

KEYS = ("groups", "low", "high")
FORM = "the form is {searched: {groups: 3, low: -1.5, high: 1.5}}"


def read_knobs(spec: Mapping[str, Any], path: str, place: str) -> tuple[str, list[Range]]:
    """Read a value with knobs.

    Parameters
    ----------
    spec : mapping
        One allocation's name to ``groups``, ``low`` and ``high``.
    path, place : str
        Where the choice stands in the space, and what an error calls that.

    Returns
    -------
    str, list of Range
        The name, and a dimension per knob, under the condition that the choice takes the name.

    Raises
    ------
    ConfigError, UnknownNameError
        With the path of the first key that breaks a rule.
    """
    if len(spec) != 1:
        raise ConfigError(place, "must name one allocation per value with knobs", dict(spec), FORM)
    ((name, below),) = spec.items()
    check_allocation(join_spec(str(name), (0.0,)), place)
    place = f"{place}.{name}"
    if not isinstance(below, Mapping):
        raise ConfigError(place, "must hold groups, low and high", below, FORM)
    for key in below:
        if key not in KEYS:
            remedy = did_you_mean(str(key), KEYS)
            raise ConfigError(f"{place}.{key}", "is not a known key", remedy=remedy)
    groups = below.get("groups")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ConfigError(f"{place}.groups", "must be a whole number of at least 1", groups, FORM)
    low, high = (_end(below.get(end), f"{place}.{end}") for end in ("low", "high"))
    if low >= high:
        raise ConfigError(f"{place}.low", "must be below high", low)
    numbers = range(1, groups + 1)
    return str(name), [Range(f"{path}.{name}.{i}", low, high, when=(path, name)) for i in numbers]


def _end(value: Any, place: str) -> float:
    """Return an end of the knobs' range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(place, "must be a number", value, FORM)
    if not abs(value) <= LIMIT:
        raise ConfigError(place, f"must lie in [{-LIMIT:g}, {LIMIT:g}]", value)
    if float(f"{value:.6g}") != value:  # a trial's text would lie outside the range
        raise ConfigError(place, "must have at most six significant digits", value)
    return float(value)


def compose(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write the drawn knobs of a section into the value that they belong to.

    Examples
    --------
    >>> compose({"allocation": "searched", "allocation.searched.1": 0.5, "rounds": 3})
    {'allocation': 'searched:0.5', 'rounds': 3}
    """
    return {
        key: join_spec(value, knobs) if (knobs := _knobs_of(key, value, values)) else value
        for key, value in values.items()
        if "." not in key
    }


def _knobs_of(key: str, value: Any, values: Mapping[str, Any]) -> list[float]:
    """Return the knobs drawn for a value, in order."""
    prefix = f"{key}.{value}."
    found = {
        int(k.removeprefix(prefix)): float(v) for k, v in values.items() if k.startswith(prefix)
    }
    return [found[number] for number in sorted(found)]


def decompose(dimension: Dimension, params: Mapping[str, Any], path: Sequence[str]) -> Value:
    """Return a dimension's value in a method's parameters: what `compose` undoes.

    Parameters
    ----------
    path : sequence of str
        The parameter's name; for a knob also the allocation's and the knob's number.
    """
    key, *knob = path
    value: Value = params[key]
    if knob:
        return split_spec(str(value))[1][int(knob[1]) - 1]
    if isinstance(dimension, Choice) and value not in dimension.values:
        return split_spec(str(value))[0]
    return value
