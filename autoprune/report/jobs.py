"""A ready-made study as it runs: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autoprune.report.words import duration


class JobsProgress:
    """Shows how many jobs of those known so far are done; a context manager.

    Parameters
    ----------
    console : Console
        Where to draw (standard error). Unless it is a terminal, nothing is drawn and `say` gets a
        line for every `every`-th job and for the last one.
    say : Callable
        Takes a plain line.
    every : int
        Finished jobs between two plain lines, at least 1.
    """

    def __init__(self, console: Console, say: Callable[[str], None], every: int = 50) -> None:
        self._say, self._every, self._start = say, every, time.monotonic()
        self._told = self._done = 0
        self._line = ""
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[epochs]:.0f} epochs"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._row = None if self._bar is None else self._bar.add_task("jobs", total=None, epochs=0)

    def __enter__(self) -> JobsProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def update(self, done: int, known: int, epochs: float) -> None:
        """Show a newer state: jobs done, jobs known to be needed, epochs trained."""
        if self._bar is not None and self._row is not None:
            self._bar.update(self._row, completed=done, total=known, epochs=epochs)
            return
        elapsed = duration(time.monotonic() - self._start)
        self._done = done
        self._line = f"{done} of {known} jobs known so far; {epochs:.0f} epochs trained; {elapsed}"
        if done // self._every > self._told // self._every:
            self._tell()

    def _tell(self) -> None:
        self._told = self._done
        self._say(self._line)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done > self._told:
            self._tell()
