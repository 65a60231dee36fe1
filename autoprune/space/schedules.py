"""Which learning-rate schedules a space draws, and `oracle` among them.

The Oracle is a grid of fixed peaks, one of which a trial draws; it is no schedule of its own.

References
----------
S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for Iterative
Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144 (the Oracle).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive, parse
from autoprune.core.errors import ConfigError, did_you_mean
from autoprune.methods.base import Method, lr_schedule, suits

_LOG = logging.getLogger(__name__)
NAME, MEMBER = "oracle", "fixed_peak"


@dataclass(frozen=True, config=STRICT, kw_only=True)
class OracleGrid:
    """The candidates: `peaks` of them from `low` to `high`, even in the logarithm.

    Examples
    --------
    >>> OracleGrid(peaks=3, low=0.001, high=0.1).values()
    [0.001, 0.01, 0.1]
    """

    peaks: Annotated[int, Field(ge=2)] = 12
    low: Positive = 1e-3
    high: Positive = 3e-1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high = {self.high:g}, not {self.low:g}")
        return self

    def values(self) -> list[float]:
        """Return the peaks, least first, with six digits."""
        ratio = self.high / self.low
        return [
            float(f"{self.low * ratio ** (i / (self.peaks - 1)):.6g}") for i in range(self.peaks)
        ]


def members(names: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of schedules with what the Oracle draws from in its place."""
    return tuple(dict.fromkeys(MEMBER if name == NAME else str(name) for name in names))


def read_names(method: Method, value: Any, place: str) -> tuple[str, ...]:
    """Read the schedules that a method of a space names itself.

    Raises
    ------
    ConfigError, UnknownNameError
        If it is no list, or a name is unknown or does not suit the method.
    """
    if not isinstance(value, list) or not value:
        raise ConfigError(place, "must be a list of learning-rate schedules", value)
    names = members(value)
    for name in names:
        lr_schedule(name, place)
        if not suits(method, name):
            raise ConfigError(
                place,
                "must not name a schedule that goes on from trained weights: the method starts "
                "from fresh ones",
                name,
                "take it out",
            )
    return names


def suiting(method: Method, section: Iterable[Any], at: str) -> tuple[str, ...]:
    """Return those schedules of a space that a method can be drawn with.

    Raises
    ------
    ConfigError, UnknownNameError
        If a name is unknown, or none suits the method.
    """
    names = members(section)
    for name in names:
        lr_schedule(name, f"{at}lr")
    fit = tuple(name for name in names if suits(method, name))
    if not fit:
        raise ConfigError(
            f"{at}method.{method.name}",
            "needs a schedule: all below lr go on from trained weights, and it starts from fresh "
            "ones",
            list(names),
            "give it one with `lr: [linear]`",
        )
    if len(fit) < len(names):
        left_out = ", ".join(name for name in names if name not in fit)
        _LOG.warning(
            "method %s starts from fresh weights, so it is never drawn with %s",
            method.name,
            left_out,
        )
    return fit


def expand(section: Mapping[str, Any], methods: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Replace the Oracle below ``lr`` by the grid of fixed peaks it stands for.

    Parameters
    ----------
    section : dict
        What stands below ``lr``.
    methods : dict
        What stands below ``method``: where only a method's list names the Oracle, its grid is the
        default one.
    at : str
        What error messages begin with.

    Raises
    ------
    ConfigError
        If the grid has fewer than two peaks or breaks another rule, or if ``fixed_peak`` has
        parameters of its own.
    """
    lists = [below.get("lr") for below in methods.values() if isinstance(below, Mapping)]
    named = any(isinstance(names, list) and NAME in names for names in lists)
    if NAME not in section and not named:
        return dict(section)
    if MEMBER in section:
        raise ConfigError(
            f"{at}lr.{NAME}",
            f"must not stand beside {MEMBER}, a grid of which it is",
            remedy=f"list the peaks below {MEMBER}, or leave it out",
        )
    spec = {} if section.get(NAME) is None else section[NAME]
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{at}lr.{NAME}", "must hold a mapping of keys to values", spec)
    grid = {f.name: spec[f.name] for f in fields(OracleGrid) if f.name in spec}
    rest = {key: value for key, value in spec.items() if key not in grid}
    shape = set(getattr(lr_schedule(MEMBER), "__dataclass_fields__", ())) - {"peak"}
    for key in rest:
        if key not in shape:
            known = [*(f.name for f in fields(OracleGrid)), *sorted(shape)]
            hint = did_you_mean(str(key), known)
            raise ConfigError(f"{at}lr.{NAME}.{key}", "is not a known key", remedy=hint)
    peaks = parse(OracleGrid, grid, f"{at}lr.{NAME}").values()
    others = {name: below for name, below in section.items() if name != NAME}
    return {**others, MEMBER: {"peak": peaks, **rest}}
