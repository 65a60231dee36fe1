"""The exception tree.

::

    AutoPruneError                 exit 1: the work could not be done
    |- VerificationError           an export is not what it claims to be
    |- StoreError                  the stage store cannot be read or written
    `- BadInput (ValueError)       exit 2: place, rule, value, remedy
       |- ConfigError              a configuration value or a space file
       |- UnknownNameError         a name that is in no registry, with a did-you-mean
       |- DataError                data that is missing, malformed or unusable
       |- TaskError                a task file, model or checkpoint that does not fit
       `- StudyError               a study, home or journal in the wrong state
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class AutoPruneError(Exception):
    """Base of every error AutoPrune raises on purpose; the command line exits with 1."""


class VerificationError(AutoPruneError):
    """An exported folder was tampered with, truncated, or does not reproduce its report."""


class StoreError(AutoPruneError):
    """The stage store cannot be read or written."""


class BadInput(AutoPruneError, ValueError):  # noqa: N818 - the tree reads better without "Error"
    """Something the user gave breaks a rule; the command line exits with 2.

    Parameters
    ----------
    place : str
        Where it stands: a configuration path, a file with its line, an option.
    rule : str
        What must hold there, worded to follow the place ("must be in [0, 1)").
    value : object, optional
        What was given. Left out of the message when it is ``...``.
    remedy : str, optional
        What to do about it.
    """

    def __init__(self, place: str, rule: str, value: object = ..., remedy: str = "") -> None:
        self.place, self.rule, self.value, self.remedy = place, rule, value, remedy
        message = f"{place} {rule}" if place else rule
        if value is not ...:
            message += f"; got {value!r}"
        if remedy:
            message += f"; {remedy}"
        super().__init__(message)

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, str, object, str]]:
        return type(self), (self.place, self.rule, self.value, self.remedy)


class ConfigError(BadInput):
    """A configuration value or a space file breaks a rule."""


class UnknownNameError(BadInput):
    """A name is in no registry."""


class DataError(BadInput):
    """Data is missing, malformed or unusable."""


class TaskError(BadInput):
    """A task file, model or checkpoint does not fit."""


class StudyError(BadInput):
    """A study, home or journal is not in the state the command needs."""


MOST_NAMES = 60
"""Names that a message lists."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Word a suggestion for a misspelt name, or list what is known when nothing is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {few(names, MOST_NAMES)}"


def few(names: Sequence[str], most: int = 3) -> str:
    """Name the first of many.

    Examples
    --------
    >>> few(["a", "b", "c"], 2), few(["a"])
    ('a, b and 1 more', 'a')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def unknown_name(place: str, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that is in no registry."""
    return UnknownNameError(
        place, f"names an unknown {what} {name!r}", remedy=did_you_mean(name, known)
    )
