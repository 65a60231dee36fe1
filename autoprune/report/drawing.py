"""How the pictures of ready-made studies look: the front's colours and type, in panels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

import numpy as np

from autoprune.report.figures import ACCENT, INK, SOFT

COLOURS = (ACCENT, "#a8845c", "#4f77a8", "#8d6fa8", "#b5656b", "#7f8c3f", "#5c635f", "#3d9a96")
MARKS = ("o", "s", "D", "^", "v", "P", "X", "p")
DASHED = (0, (6, 4))
GRID, EDGE = "#e2e5e1", "#c6ccc8"


def canvas(width: float, height: float) -> Any:
    """Return an empty figure; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def dress(axes: Any, heading: str = "", *, x: str = "", y: str = "") -> None:
    """Give a panel its heading, the names of its axes and the looks of the front's picture."""
    if heading:
        axes.set_title(heading, loc="left", fontsize=9.5, color=INK, parse_math=False)
    axes.set_xlabel(x, color=SOFT, fontsize=9)
    axes.set_ylabel(y, color=SOFT, fontsize=9)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=SOFT, labelsize=8.5)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)


def frame(figure: Any, title: str, caption: str) -> None:
    """Put the title above and the caption below."""
    width = figure.get_figwidth()
    figure.suptitle(
        title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False
    )
    figure.supxlabel(
        fill(caption, round(17 * width)), fontsize=7.5, color=SOFT, x=0.01, ha="left"
    ).set_parse_math(False)


def legend(axes: Any, handles: Sequence[Any] | None = None, **where: Any) -> None:
    """Draw a panel's legend on a veil, so that lines below it do not disturb."""
    found = axes.get_legend_handles_labels()[0] if handles is None else handles
    if found:
        box = axes.legend(
            handles=found,
            facecolor="white",
            framealpha=0.85,
            edgecolor="none",
            fontsize=8.5,
            **where,
        )
        for text in box.get_texts():
            text.set_parse_math(False)


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Give each name a colour and a mark, in order; they start again when used up."""
    return dict(zip(names, cycle(zip(COLOURS, MARKS, strict=True)), strict=False))


def numbers(values: Iterable[float | None]) -> np.ndarray:
    """Return values as an array ``(n,)`` in which what is missing is NaN."""
    return np.array([np.nan if value is None else value for value in values], float)


def bars(centre: np.ndarray, intervals: Iterable[Sequence[float | None] | None]) -> np.ndarray:
    """Return the lengths of error bars, ``(2, n)``; 0 where there is no interval.

    Parameters
    ----------
    centre : ndarray of shape (n,)
        What the intervals belong to, in their unit.
    intervals : iterable of [low, high] or None
        As many.
    """
    ends = [numbers(pair or (None, None)) for pair in intervals]
    lengths: np.ndarray = np.abs(np.array(ends).reshape(-1, 2).T - centre)
    lengths[np.isnan(lengths)] = 0.0
    return lengths


def window(values: np.ndarray, level: float | None) -> tuple[float, float, int]:
    """Choose the range of an accuracy axis so that no collapsed tail flattens the rest.

    Parameters
    ----------
    values : ndarray
        Accuracies in percent, of any shape; NaN where there is none.
    level : float or None
        The dense model's, in percent.

    Returns
    -------
    low, high : float
        Ends of the axis, in percent.
    below : int
        How many values lie below it.
    """
    found = values[np.isfinite(values)]
    whole = found if level is None else np.append(found, level)
    if not whole.size:
        return 0.0, 100.0, 0
    top = float(whole.max())
    spread = max(top - float(np.quantile(whole, 0.25)), 2.0)
    floor = max(float(whole.min()), top - 4 * spread)
    margin = 0.06 * (top - floor) + 0.15
    return floor - margin, min(top + margin, 100.5), int((found < floor - margin).sum())
