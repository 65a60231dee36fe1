"""A search as it runs: a live panel on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoprune.report.words import duration, percent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveState:
    """What a person wants to know of a running search.

    Attributes
    ----------
    spent : float
        Budget used, in the unit `LiveProgress` was given.
    running, done, failed : int
        Jobs being computed, finished, and ended in an exception.
    stages_reused, stages_total : int
        Stages taken from the store, of all stages so far.
    best : mapping of float to float
        Best validation accuracy (fraction) at or above each sparsity band (fraction).
    hypervolume : float or None
        Of the search's front so far.
    elapsed_s : float
        Since the command started.
    last : str
        The last finished job in a few words.
    phase : str
        What is going on: ``baselines``, ``search``, ``confirmation``.
    """

    spent: float
    running: int
    done: int
    failed: int
    elapsed_s: float
    stages_reused: int = 0
    stages_total: int = 0
    best: Mapping[float, float] = field(default_factory=dict)
    hypervolume: float | None = None
    last: str = ""
    phase: str = "search"


def _spent(state: LiveState, total: float, unit: str) -> str:
    left = max(total - state.spent, 0.0)
    if unit == "s":
        return f"{duration(state.spent)} of {duration(total)} spent, {duration(left)} left"
    return f"{state.spent:.0f} of {total:.0f} {unit} spent, {left:.0f} left"


def _jobs(state: LiveState) -> str:
    failed = f", {state.failed} failed" if state.failed else ""
    return f"{state.done} done, {state.running} running{failed}"


def _reuse(state: LiveState) -> str:
    share = state.stages_reused / state.stages_total if state.stages_total else 0.0
    return f"{state.stages_reused} of {state.stages_total} stages reused ({percent(share, 0)} %)"


def _bands(best: Mapping[float, float]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("sparsity", style="dim", header_style="dim")
    for band in sorted(best):
        table.add_column(f">= {percent(band, 0)} %", justify="right", no_wrap=True)
    table.add_row("best val acc", *(percent(best[band]) for band in sorted(best)))
    return table


def panel(state: LiveState, total: float, unit: str) -> RenderableType:
    """Return the live view of a state: at most ten lines, within 80 columns."""
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="ellipsis", no_wrap=True)
    head.add_row("budget", Text(_spent(state, total, unit)))
    head.add_row("", ProgressBar(total=max(total, 1e-9), completed=state.spent, width=48))
    head.add_row("jobs", Text(_jobs(state)))
    head.add_row("shared", Text(_reuse(state)))
    if state.hypervolume is not None:
        head.add_row("hypervolume", Text(f"{state.hypervolume:.4f}"))
    if state.last:
        head.add_row("last", Text(state.last))
    title = Text.assemble((state.phase, "bold"), (f"  {duration(state.elapsed_s)}", "dim"))
    return Group(title, head, *([_bands(state.best)] if state.best else []))


def line(state: LiveState, total: float, unit: str) -> str:
    """Return the same as one plain line, for logs and pipes."""
    parts = [f"{state.phase}: {_spent(state, total, unit)}", _jobs(state), _reuse(state)]
    if state.best:
        best = ", ".join(f"{percent(b, 0)} %: {percent(state.best[b])}" for b in sorted(state.best))
        parts.append(f"best val acc at {best}")
    if state.hypervolume is not None:
        parts.append(f"hypervolume {state.hypervolume:.4f}")
    return "; ".join([*parts, duration(state.elapsed_s)])


class LiveProgress:
    """Shows `LiveState` values while a search runs; a context manager.

    Parameters
    ----------
    console : Console
        Where to draw (standard error). Unless it is a terminal, nothing is drawn and `say` gets
        a line for the first job, for every `every`-th and for the last state.
    total : float
        The budget.
    unit : str
        What the budget counts: ``jobs``, ``ep``, or ``s`` for seconds.
    every : int
        Finished jobs between two plain lines, at least 1.
    say : Callable, optional
        Takes a plain line; this module's logger at level INFO by default.
    """

    def __init__(
        self,
        console: Console,
        total: float,
        unit: str,
        *,
        every: int = 10,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self._total, self._unit, self._every, self._say = total, unit, every, say
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        self._state: LiveState | None = None
        self._said: LiveState | None = None

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def update(self, state: LiveState) -> None:
        """Show a newer state."""
        self._state = state
        if self._live is not None:
            self._live.update(panel(state, self._total, self._unit), refresh=True)
        elif self._due(state):
            self._tell(state)

    def _due(self, state: LiveState) -> bool:
        if self._said is None:
            return state.done > 0
        return state.done // self._every > self._said.done // self._every

    def _tell(self, state: LiveState) -> None:
        self._said = state
        self._say(line(state, self._total, self._unit))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._state is not None and self._state != self._said:
            self._tell(self._state)
