"""A scenario's row, what must be zero in it, and the table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ZERO = (
    *("lost", "duplicated", "failed", "again", "differ", "rewritten", "unnoticed", "broken"),
    "mirror",
)
"""Counts that must be zero."""


@dataclass(frozen=True)
class Row:
    """What a scenario came to.

    Parameters
    ----------
    scenario, executor : str
        What was done, and where the jobs ran.
    injuries, wanted : int
        Injuries that hit, and how many should have.
    lost, duplicated, failed : int
        Jobs without a result, with more than one, and ended in an error.
    repeated, allowed : int
        Stages that were begun again or trained again, and the most there may be.
    again : int
        Stages that were stored whole and trained again all the same.
    differ : int
        Decisions that a replay makes otherwise, or results that differ from the undisturbed run's.
    rewritten : int
        Events that were on disk and changed or went.
    front : bool or None
        Whether the front is that of the undisturbed run; None where order decides it.
    unnoticed, broken : int
        Damage that a reader does not notice; files of the store that do not hold what they say.
    temporary : int
        Files under temporary names that dead writers left.
    mirror : int
        Differences between MLflow and the journal.
    wrong : tuple of str
        Everything else that went wrong, in words.
    seconds : float
        How long it took.
    """

    scenario: str
    executor: str
    injuries: int
    wanted: int
    lost: int = 0
    duplicated: int = 0
    failed: int = 0
    repeated: int = 0
    allowed: int = 0
    again: int = 0
    differ: int = 0
    rewritten: int = 0
    front: bool | None = None
    unnoticed: int = 0
    broken: int = 0
    temporary: int = 0
    mirror: int = 0
    wrong: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """Name what is not as it must be."""
        found = [f"{name} is {getattr(self, name)}, not 0" for name in ZERO if getattr(self, name)]
        if self.repeated > self.allowed:
            found.append(f"{self.repeated} stages repeated, {self.allowed} allowed")
        if self.injuries < self.wanted:
            found.append(f"{self.injuries} of {self.wanted} injuries")
        if self.front is False:
            found.append("another front")
        return [*found, *self.wrong]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        return {**asdict(self), "faults": self.faults}


COLUMNS = (
    "scenario", "executor", "injuries", "lost", "duplicated", "failed", "repeated (most)",
    "stored, trained again", "decisions that differ", "front identical", "unnoticed", "broken",
    "temporary", "MLflow differs", "s",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """Return a row's cells, in the order of `COLUMNS`."""
    front = {None: "-", True: "yes", False: "NO"}[row.front]
    return [
        row.scenario, row.executor, f"{row.injuries}", f"{row.lost}", f"{row.duplicated}",
        f"{row.failed}", f"{row.repeated} ({row.allowed})", f"{row.again}", f"{row.differ}", front,
        f"{row.unnoticed}", f"{row.broken}", f"{row.temporary}", f"{row.mirror}",
        f"{row.seconds:.0f}",
    ]  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows in columns, and below them what is not as it must be."""
    lines = [list(COLUMNS), *(cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    shown = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    faults = [f"{row.scenario}, {row.executor}: {fault}" for row in rows for fault in row.faults]
    return "\n".join([*shown, *faults])
