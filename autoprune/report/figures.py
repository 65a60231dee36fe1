"""The front as a picture, for a README, a note or an artifact list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from autoprune.report.verdict import NAMES
from autoprune.report.words import Entry, Summary, any_config, measured

TICKS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MARKERS = {"weights": "o", "units": "s", "low_rank": "D"}
BASELINES = {
    "magnitude": ("^", "#8a8f8c"),
    "scratch_e": ("v", "#a8845c"),
    "random": ("x", "#8a8f8c"),
}
INK, ACCENT, SOFT = "#1b1d1c", "#0b6b53", "#5c635f"


def _depth(entries: Sequence[Entry]) -> np.ndarray:
    depth: np.ndarray = -np.log10(
        np.maximum(1 - np.array([e["sparsity"] for e in entries], float), 1e-6)
    )
    return depth


def _values(entries: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracies ``(n,)`` and error-bar lengths ``(2, n)``, in percent."""
    found = [measured(entry) for entry in entries]
    centre = np.array([accuracy for accuracy, _, _ in found])
    ends = np.array([interval or (accuracy, accuracy) for accuracy, interval, _ in found])
    bars = np.abs(ends.reshape(-1, 2).T - centre)
    return 100 * centre, 100 * bars


def _draw_front(axes: Any, front: Sequence[Entry]) -> None:
    depth, (accuracy, bars) = _depth(front), _values(front)
    best = np.maximum.accumulate(accuracy[::-1])[::-1]
    axes.step(depth, best, where="pre", color=ACCENT, linewidth=1.4, zorder=3)
    for kind, marker in MARKERS.items():
        rows = [i for i, entry in enumerate(front) if entry["kind"] == kind]
        if rows:
            axes.errorbar(
                depth[rows],
                accuracy[rows],
                bars[:, rows],
                fmt=marker,
                color=ACCENT,
                markersize=6,
                capsize=3,
                elinewidth=1.1,
                zorder=4,
                label=f"front, {kind.replace('_', ' ')}",
            )


def _draw_baselines(axes: Any, baselines: Sequence[Entry]) -> None:
    for name, (marker, colour) in BASELINES.items():
        rows = [entry for entry in baselines if entry["baseline"] == name]
        if rows:
            accuracy, bars = _values(rows)
            axes.errorbar(
                _depth(rows),
                accuracy,
                bars,
                fmt=marker,
                color=colour,
                markerfacecolor="none",
                markersize=7,
                capsize=3,
                elinewidth=1,
                label=NAMES[name],
            )


def _dense_level(summary: Summary) -> float | None:
    """Return the dense model's accuracy, on test where it was read."""
    dense = summary["dense"]
    test: float | None = dense.get("test_accuracy")
    value: float | None = dense["val_accuracy"] if test is None else test
    return value


def _draw_dense(axes: Any, summary: Summary) -> None:
    level = _dense_level(summary)
    if level is None:
        return
    axes.axhline(100 * level, color=SOFT, linewidth=1, linestyle=(0, (6, 4)), zorder=1)
    axes.annotate(
        f"dense {100 * level:.1f} %",
        (1, 100 * level),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=SOFT,
    )


def _scale(axes: Any, summary: Summary, shown: Sequence[Entry]) -> int:
    """Set the axes so that no collapsed tail flattens the rest; count what lies below the view."""
    depth = _depth(shown)
    low, high = depth.min() - 0.06, depth.max() + 0.06
    ticks = [t for t in TICKS if low <= -np.log10(1 - t) <= high]
    axes.set_xlim(low, high)
    axes.set_xticks([-np.log10(1 - t) for t in ticks], [f"{100 * t:g} %" for t in ticks])
    level = _dense_level(summary)
    centre, bars = _values(shown)
    values = np.array([*([] if level is None else [100 * level]), *centre])
    top = values.max()
    floor = max(values.min(), top - 4 * max(top - float(np.quantile(values, 0.25)), 2.0))
    inside = centre >= floor
    low = min(float((centre - bars[0])[inside].min()), floor)
    high = max(float((centre + bars[1]).max()), top)
    axes.set_ylim(low - 0.05 * (high - low) - 0.1, min(high + 0.06 * (high - low) + 0.1, 100.5))
    return int((~inside).sum())


def caption(summary: Summary) -> str:
    """Return the line under the picture: split, n, spread and cost."""
    task = any_config(summary).get("task", {})
    what = f"{task.get('model', '?')} on {task.get('data', '?')}"
    cost = f"{summary['trials']} trials, {summary['epochs_trained']:.0f} epochs trained"
    front = summary["front"]
    if not front:
        return f"{what}; no front yet; {cost}"
    if any(entry.get("test_accuracy") is None for entry in front):
        return f"{what}; validation accuracy, not confirmed; {cost}"
    seeds = sorted({entry["seeds"] for entry in front})
    number = " or ".join(map(str, seeds))
    images = summary.get("task", {}).get("num_test")
    size = f" of {images:,} images" if images else ""
    return (
        f"{what}; test accuracy{size}, mean of n = {number} seeds; "
        f"bars: 95 % interval (seeds and test set); {cost}"
    )


def front_png(summary: Summary, path: Path) -> None:
    """Draw the front with its intervals, the baselines and the dense level into a PNG file.

    Parameters
    ----------
    summary : mapping
        What `autoprune.search.summary.summarize` returns.
    path : Path
        The file to write; about 1600 x 960 pixels.
    """
    from matplotlib.figure import Figure

    front = sorted(summary["front"], key=lambda e: float(e["sparsity"]))
    baselines = [b for b in summary["baselines"] if b["baseline"] != "dense"]
    figure = Figure(figsize=(8, 4.8), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    _draw_dense(axes, summary)
    _draw_baselines(axes, baselines)
    if front:
        _draw_front(axes, front)
    shown = [*front, *baselines]
    line = caption(summary)
    if shown:
        below = _scale(axes, summary, shown)
        line += f"; {below} below the view" if below else ""
        axes.legend(
            loc="lower left", facecolor="white", framealpha=0.85, edgecolor="none", fontsize=8.5
        )
    axes.set_title(summary["study"], loc="left", fontsize=12, fontweight="bold", parse_math=False)
    axes.set_xlabel("sparsity of the prunable weights (density on a log scale)", color=SOFT)
    axes.set_ylabel("accuracy, %", color=SOFT)
    axes.grid(color="#e2e5e1", linewidth=0.7)
    axes.tick_params(colors=SOFT, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c6ccc8")
    figure.supxlabel(fill(line, 140), fontsize=7.5, color=SOFT, x=0.01, ha="left")
    figure.savefig(path, format="png")
