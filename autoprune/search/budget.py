"""What a search may spend: jobs, epochs or seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autoprune.core.errors import ConfigError

CONFIRM_SHARE = 0.4
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(|s|m|h|ep)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """A parsed ``--budget``.

    Parameters
    ----------
    unit : str
        ``jobs`` counts search jobs only; ``seconds`` and ``epochs`` include everything.
    amount : float
        How many, > 0.
    """

    unit: Literal["jobs", "seconds", "epochs"]
    amount: float

    @property
    def for_search(self) -> float:
        """What the search may spend before confirmation starts, in `unit`."""
        return self.amount if self.unit == "jobs" else self.amount * (1.0 - CONFIRM_SHARE)


def parse_budget(text: str | int, place: str = "--budget") -> Budget:
    """Read ``100``, ``90s``, ``30m``, ``2h`` or ``500ep``.

    Raises
    ------
    ConfigError
        If it is anything else, or zero.

    Examples
    --------
    >>> parse_budget("30m")
    Budget(unit='seconds', amount=1800.0)
    """
    match = _FORM.fullmatch(str(text).strip())
    remedy = "such as 100 (search jobs), 30m, 2h or 500ep"
    if match is None:
        raise ConfigError(place, "must be a number of jobs, or end in m, h or ep", text, remedy)
    amount, unit = float(match[1]), match[2]
    if amount <= 0 or (not unit and not amount.is_integer()):
        raise ConfigError(place, "must be above 0, and whole for jobs", text, remedy)
    if not unit:
        return Budget("jobs", amount)
    return Budget("epochs", amount) if unit == "ep" else Budget("seconds", amount * _SECONDS[unit])
