"""Allocations as text: a registered name, perhaps with knobs, ``searched:0.5,0,-1.2``.

The registry stays the truth: a name resolves there, and what it resolves to takes knobs if it has
`with_knobs`. Nothing here imports torch until an allocation is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from autoprune.core.errors import ConfigError
from autoprune.pruning.registry import ALLOCATIONS

if TYPE_CHECKING:
    from autoprune.pruning.keep import Allocation

LIMIT = 10.0
"""Greatest knob: a factor of 22,026, beyond which every layer is full or at its floor."""

FORM = "one number per group of layers after a colon, such as searched:0.5,0,-1.2"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Knobbed(Protocol):
    """An allocation with knobs: registered without any, it returns itself with some."""

    def with_knobs(self, knobs: tuple[float, ...]) -> Allocation:
        """Return the allocation with these knobs."""
        ...


def split_spec(spec: str, place: str = "allocation") -> tuple[str, tuple[float, ...]]:
    """Split an allocation's text into its name and its knobs.

    Parameters
    ----------
    spec : str
        Such as ``global`` or ``searched:0.5,0,-1.2``; the name is not looked up.
    place : str
        What an error calls it.

    Raises
    ------
    ConfigError
        If what follows the colon is not a list of numbers within `LIMIT`.

    Examples
    --------
    >>> split_spec("searched:0.5,0,-1.2")
    ('searched', (0.5, 0.0, -1.2))
    """
    name, colon, text = spec.partition(":")
    if not colon:
        return name, ()
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(_NUMBER.fullmatch(piece) for piece in pieces):
        raise ConfigError(place, "must hold numbers", spec, f"the form is {FORM}")
    knobs = tuple(float(piece) for piece in pieces)
    if not all(math.fabs(knob) <= LIMIT for knob in knobs):
        raise ConfigError(place, f"must hold numbers from {-LIMIT:g} to {LIMIT:g}", spec)
    return name, knobs


def join_spec(name: str, knobs: Sequence[float]) -> str:
    """Write a name and its knobs as `split_spec` reads them, with six significant digits.

    Examples
    --------
    >>> join_spec("searched", (0.5, 0.0, -1.2))
    'searched:0.5,0,-1.2'
    """
    # Adding 0 makes a 0 of a -0, which would be another text for the same knob.
    return f"{name}:{','.join(f'{knob + 0.0:.6g}' for knob in knobs)}" if knobs else name


def check_allocation(spec: str, place: str) -> None:
    """Refuse a name that is not registered, and knobs that are malformed or not taken.

    Raises
    ------
    UnknownNameError
        With the nearest registered name.
    ConfigError
        With the form.
    """
    name, knobs = split_spec(spec, place)
    ALLOCATIONS.check(name, place)
    if knobs:
        _knobbed(name, spec, place)


def check_layers(spec: str, num_layers: int, place: str, what: str = "prunable layers") -> None:
    """Refuse more knobs than a model has prunable layers, or other parts that take a knob.

    Raises
    ------
    ConfigError
        With both numbers.
    """
    _, knobs = split_spec(spec, place)
    if len(knobs) > num_layers:
        rule = f"must have at most as many knobs as the model has {what} ({num_layers})"
        raise ConfigError(place, rule, len(knobs), "use fewer knobs (groups)")


def resolve_allocation(spec: str, place: str = "allocation") -> Allocation:
    """Return the allocation that a text names.

    Raises
    ------
    UnknownNameError, ConfigError
        As `check_allocation`.
    """
    name, knobs = split_spec(spec, place)
    allocation = ALLOCATIONS.get(name, place)
    return _knobbed(name, spec, place).with_knobs(knobs) if knobs else allocation


def _knobbed(name: str, spec: str, place: str) -> Knobbed:
    """Return a registered allocation that takes knobs."""
    allocation = ALLOCATIONS.get(name, place)
    if not hasattr(allocation, "with_knobs"):
        raise ConfigError(place, f"must not give knobs to {name!r}, which takes none", spec)
    return cast(Knobbed, allocation)
