"""Granularities as text: a registered name, or a pattern such as ``2:4`` or ``n:8``.

The registry stays the truth for plain names; what holds a colon is a pattern. Nothing here
imports torch until a granularity is used, or one other than ``weight`` is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoprune.core.config import Scalar
from autoprune.core.errors import ConfigError, unknown_name
from autoprune.pruning.registry import GRANULARITIES

if TYPE_CHECKING:
    from autoprune.pruning.keep import Granularity

SIZES = (2, 4, 8, 16, 32, 64)
"""Lengths of a block: powers of two, as channels come, so that 1 - N / M is an exact number."""

EXAMPLES = ("1:4", "2:4", "4:8", "n:4", "n:8", "n:16")
"""Patterns that a misspelt name is compared with."""

FORM = "the form is 2:4 (at most 2 of every 4), or n:4 (the allocation chooses for each layer)"

_FORM = re.compile(r"(\d{1,2}|n):(\d{1,2})")


@dataclass(frozen=True)
class Pattern:
    """At most `keep` weights in every block of `size` along a layer's input dimension.

    Parameters
    ----------
    size : int
        M, one of `SIZES`.
    keep : int or None
        N, from 1 to M - 1; None where the allocation chooses it for each layer.
    """

    size: int
    keep: int | None = None

    @property
    def reaches(self) -> tuple[float, float]:
        """The least and the greatest sparsity to ask for: equal where N is given."""
        if self.keep is None:
            return 0.0, 1.0 - 1 / self.size
        return (1.0 - self.keep / self.size,) * 2

    def divides(self, shape: Sequence[int]) -> bool:
        """Whether a layer is cut: its input dimension must be a whole number of blocks."""
        return shape[1] % self.size == 0


def read_pattern(spec: str, place: str = "granularity") -> Pattern | None:
    """Read a pattern; a text without a colon is none, and its name is not looked up.

    Raises
    ------
    ConfigError
        If it is malformed, or its numbers make no pattern.

    Examples
    --------
    >>> read_pattern("2:4"), read_pattern("n:8"), read_pattern("weight")
    (Pattern(size=4, keep=2), Pattern(size=8, keep=None), None)
    """
    if ":" not in spec:
        return None
    found = _FORM.fullmatch(spec)
    if not found:
        raise ConfigError(place, "must be N:M or n:M with whole numbers", spec, FORM)
    size = int(found[2])
    if size not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        raise ConfigError(place, f"must have blocks of {sizes} weights", spec, FORM)
    if found[1] == "n":
        return Pattern(size)
    keep = int(found[1])
    if not 0 < keep < size:
        raise ConfigError(place, f"must keep 1 to {size - 1} of {size} weights", spec, FORM)
    return Pattern(size, keep)


def check_granularity(spec: str, place: str) -> None:
    """Refuse what is neither a pattern nor a registered name, and names that speak of units.

    Raises
    ------
    UnknownNameError
        With the nearest name or pattern.
    ConfigError
        With the form; or if whole units would go, which a method of single weights is not
        accounted for.
    """
    if read_pattern(spec, place) is not None or spec == "weight":
        return
    if spec not in GRANULARITIES:
        raise unknown_name(place, "granularity", spec, (*GRANULARITIES, *EXAMPLES))
    if GRANULARITIES.get(spec, place)().of_units:
        raise ConfigError(
            place,
            "must not speak of whole units in a method that removes single weights",
            spec,
            "use a method that removes units, such as filter_l1",
        )


def resolve_granularity(
    spec: str, grain: Mapping[str, Scalar] | None = None, place: str = "granularity"
) -> Granularity:
    """Return the granularity that a text names.

    Parameters
    ----------
    grain : mapping, optional
        What a registered one is built with; a pattern has its numbers in its name.

    Raises
    ------
    UnknownNameError, ConfigError
        As `check_granularity`, but units are allowed.
    """
    pattern = read_pattern(spec, place)
    if pattern is None:
        return GRANULARITIES.get(spec, place)(**(grain or {}))
    from autoprune.pruning.granularities.n_m import FixedPattern, LayerPattern

    return LayerPattern(pattern) if pattern.keep is None else FixedPattern(pattern)


def spec_reaches(spec: str) -> tuple[float, float]:
    """Return the sparsities a method of single weights can be asked for with a granularity."""
    pattern = read_pattern(spec)
    return (0.0, 0.999) if pattern is None else pattern.reaches
