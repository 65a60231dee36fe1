"""The picture of an Oracle study: peaks, accuracies and the grid over the cycles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.report.drawing import (
    DASHED,
    bars,
    canvas,
    dress,
    frame,
    legend,
    numbers,
    window,
)
from autoprune.report.experiments import (
    rate,
)
from autoprune.report.figures import ACCENT, INK, SOFT
from autoprune.report.oracle import finished, oracle_setting, tolerance_words
from autoprune.report.words import Entry, Summary, percent

COLOURS = {  # name: colour, line style, mark
    "oracle": (INK, "-", "o"),
    "silo": (ACCENT, "-", "s"),
    "silo_fitted": ("#4fa58b", (0, (4, 2)), "D"),
    "fixed_peak": ("#a8845c", "-", "^"),
    "cosine": ("#4f77a8", "-", "v"),
    "one_cycle": ("#8d6fa8", "-", "P"),
    "lrw": ("#b5656b", "-", "X"),
    "allr": ("#7f8c3f", "-", "p"),
}
OTHER = ("#8a8f8c", "-", "x")
PEAKS_SHOWN = ("oracle", "silo", "silo_fitted", "fixed_peak")


def _line_looks(name: str) -> dict[str, Any]:
    colour, style, mark = COLOURS.get(name, OTHER)
    strong = name in ("oracle", "silo")
    return {
        "color": colour,
        "linestyle": style,
        "marker": mark,
        "linewidth": 2.0 if strong else 1.2,
        "markersize": 5.5 if strong else 4,
        "zorder": 4 if strong else 3,
    }


def _draw_peaks(axes: Any, summary: Summary) -> None:
    cycles = summary["cycles"]
    where = [cycle["cycle"] for cycle in cycles]
    low, high = zip(*(cycle["interval"] for cycle in cycles), strict=True)
    axes.fill_between(
        where,
        low,
        high,
        color=INK,
        alpha=0.11,
        linewidth=0,
        zorder=1,
        label=f"the Oracle's interval\n({tolerance_words(summary)})",
    )
    by_name = {s["name"]: s for s in summary["schedules"]}
    for name in PEAKS_SHOWN:
        if name == "oracle":
            peaks = [cycle["oracle_peak"] for cycle in cycles]
        else:
            peaks = by_name.get(name, {}).get("peaks", [])
        if any(peak is not None for peak in peaks):
            label = by_name.get(name, {}).get("label", name)
            found = numbers(peaks)
            axes.plot(where[: len(found)], found, label=label, **_line_looks(name))
    axes.set_yscale("log")
    _rate_ticks(axes, summary["peaks"])
    dress(axes, "the peak of every cycle", y="learning rate")


def _rate_ticks(axes: Any, grid: Sequence[float]) -> None:
    """Label round rates, and mark the rates that were tried."""
    rounds = [d * 10.0**e for e in range(-6, 2) for d in (1, 3)]
    major = [r for r in rounds if grid[0] * 0.95 <= r <= grid[-1] * 1.05]
    axes.set_yticks(major or grid, [f"{r:g}" for r in major or grid])
    axes.set_yticks(grid, [""] * len(grid), minor=True)


def _draw_accuracies(axes: Any, summary: Summary) -> int:
    """Draw test accuracy over the cycles; return how many points lie below the view."""
    where = numbers(cycle["cycle"] for cycle in summary["cycles"])
    schedules = finished(summary)
    half = min(0.18, 0.015 * len(where))
    shifts = np.linspace(-half, half, max(len(schedules), 2))
    everything, halves = [], [0.0]
    for shift, schedule in zip(shifts, schedules, strict=False):
        accuracy = 100 * numbers(schedule["test_accuracy"])
        ends = [pair and [100 * end for end in pair] for pair in schedule["test_ci95"]]
        axes.errorbar(
            where[: len(accuracy)] + shift,
            accuracy,
            bars(accuracy, ends),
            label=schedule["label"],
            elinewidth=0.9,
            capsize=0,
            **_line_looks(schedule["name"]),
        )
        everything.append(accuracy)
        halves += [(pair[1] - pair[0]) / 2 for pair in ends if pair]
    level = summary["dense"].get("test_accuracy")
    if level is not None:
        axes.axhline(100 * level, color=SOFT, linewidth=1, linestyle=DASHED, label="dense")
    dress(axes, "accuracy on the test split", y="accuracy, %")
    values = np.concatenate(everything) if everything else np.array([])
    low, high, below = window(values, None if level is None else 100 * level)
    # So wide that a typical interval is seen whole: lines that cross inside it are noise.
    room = float(np.median(halves))
    axes.set_ylim(low - room, min(high + room, 100.5))
    return below


def _losses(summary: Summary) -> np.ndarray:
    """Return validation accuracy minus the cycle's best, in points, ``(peaks, cycles)``."""
    grid = summary["peaks"]
    found = np.full((len(grid), len(summary["cycles"])), np.nan)
    for column, cycle in enumerate(summary["cycles"]):
        for cell in cycle["grid"]:
            if cell.get("val_accuracy") is not None and cell["peak"] in grid:
                found[grid.index(cell["peak"]), column] = cell["val_accuracy"]
    best = np.array([np.nanmax(c) if np.isfinite(c).any() else np.nan for c in found.T])
    losses: np.ndarray = 100 * (found - best)
    return losses


def _draw_grid(axes: Any, summary: Summary) -> None:
    """Draw how far below its cycle's best each tried peak stayed, with the choices on top."""
    from matplotlib.colors import LinearSegmentedColormap

    cycles, grid = summary["cycles"], summary["peaks"]
    losses = _losses(summary)
    deepest = float(np.nan_to_num(losses).min())
    limit = max(min(1000 * summary["tolerance"], -deepest), 1.0)  # ten tolerances
    shades = LinearSegmentedColormap.from_list("loss", ["#f6f4ee", "#b9d3c6", ACCENT])
    edges = np.arange(len(cycles) + 1) + cycles[0]["cycle"] - 0.5
    rows = np.arange(len(grid) + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, losses, cmap=shades, vmin=-limit, vmax=0)
    row, column = np.nonzero(np.isnan(losses))
    axes.scatter(
        column + cycles[0]["cycle"], row, marker="x", s=14, color="#8a8f8c", linewidths=0.8
    )
    where = [cycle["cycle"] for cycle in cycles]
    index = np.arange(len(grid))
    for key, name in (("oracle_peak", "oracle"), ("silo_peak", "silo")):
        peaks = numbers(cycle.get(key) for cycle in cycles)
        looks = _line_looks(name) | {"linewidth": 0, "markeredgecolor": "white"}
        axes.plot(where, np.interp(np.log(peaks), np.log(grid), index), **looks)
    step = 1 + (len(grid) - 1) // 6
    axes.set_yticks(index[::step], [rate(peak) for peak in grid[::step]])
    dress(axes, "validation accuracy of every peak that was tried", y="peak")
    axes.grid(False)
    bar = axes.figure.colorbar(
        mesh,
        cax=axes.inset_axes((1.02, 0, 0.022, 1)),
        extend="min" if -deepest > limit else "neither",
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelsize=8, length=0)
    bar.set_label("points below the cycle's best", color=SOFT, fontsize=8)


def _cycle_ticks(axes: Any, cycles: Sequence[Entry]) -> None:
    """Label the cycles, with the sparsity below the number."""
    step = 1 + (len(cycles) - 1) // 14
    shown = cycles[::-1][::step][::-1]
    axes.set_xticks(
        [cycle["cycle"] for cycle in shown],
        [f"{c['cycle']}\n{percent(c['sparsity'], int(c['sparsity'] > 0.95))} %" for c in shown],
    )
    axes.set_xlim(cycles[0]["cycle"] - 0.5, cycles[-1]["cycle"] + 0.5)


def oracle_picture(summary: Summary, path: Path) -> None:
    """Draw peaks, test accuracies and the grid over the cycles into a PNG file.

    Parameters
    ----------
    summary : mapping
        What an Oracle study leaves.
    path : Path
        The file to write; about 1800 x 1800 pixels.
    """
    _figure(summary).savefig(path, format="png")


def _figure(summary: Summary) -> Any:
    figure = canvas(9, 9)
    title, caption = f"{summary['study']}: the Oracle and SILO", f"{oracle_setting(summary)}; "
    cycles = summary["cycles"]
    if not cycles:
        frame(figure, title, f"{caption}no cycle is finished yet")
        return figure
    peaks, accuracy, grid = figure.subplots(3, 1, height_ratios=(3, 3.6, 2.4))
    _draw_peaks(peaks, summary)
    below = _draw_accuracies(accuracy, summary)
    _draw_grid(grid, summary)
    for axes in (peaks, accuracy, grid):
        _cycle_ticks(axes, cycles)
    grid.set_xlabel("cycle, and the sparsity it trains at", color=SOFT, fontsize=9)
    figure.align_ylabels()
    for axes in (peaks, accuracy):
        legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.03))
    caption += (
        f"interval and grid: mean validation accuracy; bars: 95 % interval of the mean test "
        f"accuracy; ticks and rows: the {len(summary['peaks'])} peaks tried, x: no result"
    )
    caption += f"; {below} points below the view" if below else ""
    frame(figure, title, caption)
    return figure
