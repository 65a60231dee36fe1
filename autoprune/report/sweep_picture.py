"""The pictures of a sweep: accuracy over compression, and over sparsity with its phases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    looks,
    numbers,
    window,
)
from autoprune.report.experiments import replicates
from autoprune.report.figures import SOFT
from autoprune.report.sweep import bad_runs, dense_words, ratio_words, run_counts, sweep_setting
from autoprune.report.words import Entry, Summary, percent

PHASES = {"light": "#f1f3ee", "critical": "#f3dfd5", "sweet": "#dcebe3", "collapsed": "#e3e3e6"}
MAX_LABELS = 11
MOST_INSIDE = 5  # methods whose legend fits into the panel
TRAIN_STYLE = (0, (1.5, 1.2))


def _drawn(curve: Entry, *keys: str) -> list[Entry]:
    """Return a curve's points that hold all of `keys`, by sparsity."""
    found = [p for p in curve["points"] if all(p.get(key) is not None for key in keys)]
    return sorted(found, key=lambda p: float(p["sparsity"]))


def _draw_curve(axes: Any, curve: Entry, x_key: str, look: tuple[str, str]) -> np.ndarray:
    """Draw a method's accuracy with its intervals; return it in percent, ``(n,)``."""
    shown = _drawn(curve, x_key, "accuracy")
    accuracy = 100 * numbers(p["accuracy"] for p in shown)
    ends = [pair and [100 * end for end in pair] for pair in (p.get("ci95") for p in shown)]
    colour, mark = look
    axes.errorbar(
        numbers(p[x_key] for p in shown),
        accuracy,
        bars(accuracy, ends),
        color=colour,
        marker=mark,
        markersize=5,
        linewidth=1.4,
        elinewidth=1.1,
        capsize=3,
        label=curve["method"],
        zorder=3,
    )
    return accuracy


def _double_ticks(axes: Any, found: Iterable[float]) -> None:
    """Label an axis at the powers of two within its values."""
    values = [value for value in found if value]
    axes.set_xscale("log", base=2)
    top = int(np.ceil(np.log2(max(values, default=2)) - 0.01))
    ticks = [2**e for e in range(top + 1)]
    axes.set_xticks(ticks, [ratio_words(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def _level(axes: Any, summary: Summary) -> float | None:
    """Draw the dense model's test accuracy; return it in percent."""
    level = summary["dense"].get("test_accuracy")
    if level is None:
        return None
    axes.axhline(100 * level, color=SOFT, linewidth=1, linestyle=DASHED, zorder=1, label="dense")
    return 100 * float(level)


def _caption(summary: Summary) -> str:
    parts = (
        sweep_setting(summary),
        f"test accuracy, mean of {replicates(run_counts(summary))}; bars: 95 % interval",
        dense_words(summary),
        bad_runs(summary),
    )
    return "; ".join(part for part in parts if part)


def sweep_picture(summary: Summary, path: Path) -> None:
    """Draw accuracy over compression ratio and over theoretical speed-up into a PNG file.

    Parameters
    ----------
    summary : mapping
        What a sweep leaves.
    path : Path
        The file to write; about 2000 x 1000 pixels.
    """
    _sweep_figure(summary).savefig(path, format="png")


def _sweep_figure(summary: Summary) -> Any:
    figure = canvas(10, 5)
    curves = summary["curves"]
    panels = figure.subplots(1, 2, sharey=True)
    found = looks(curve["method"] for curve in curves)
    heads = {
        "real_compression": ("compression ratio", "parameters / those left (log scale)"),
        "speedup": ("theoretical speed-up", "multiply-adds / those left (log scale)"),
    }
    caption = _caption(summary)
    for axes, (key, (heading, x)) in zip(panels, heads.items(), strict=True):
        level = _level(axes, summary)
        drawn = [_draw_curve(axes, curve, key, found[curve["method"]]) for curve in curves]
        _double_ticks(axes, (p.get(key) for curve in curves for p in curve["points"]))
        dress(axes, heading, x=x)
    panels[0].set_ylabel("test accuracy, %", color=SOFT, fontsize=9)
    low, high, below = window(np.concatenate(drawn) if drawn else np.array([]), level)
    panels[0].set_ylim(low, high)
    if len(curves) <= MOST_INSIDE:
        legend(panels[0], loc="lower left")
    else:
        legend(panels[1], loc="upper left", bbox_to_anchor=(1.0, 1.03))
    caption += f"; {below} points below the view" if below else ""
    frame(figure, f"{summary['study']}: accuracy over compression", caption)
    return figure


def _depth(sparsity: np.ndarray) -> np.ndarray:
    depth: np.ndarray = -np.log10(np.maximum(1 - sparsity, 1e-6))
    return depth


def _spans(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return runs of equal labels as label, first and last index."""
    starts = [i for i, name in enumerate(labels) if i == 0 or labels[i - 1] != name]
    ends = [*(i - 1 for i in starts[1:]), len(labels) - 1]
    return [(labels[a], a, b) for a, b in zip(starts, ends, strict=True)]


def _shade(panels: Sequence[Any], depth: np.ndarray, labels: Sequence[str]) -> float:
    """Shade the phases behind all panels, from halfway to halfway, and name them in the first.

    Returns the share of the first panel's height that the names take.
    """
    height = 0.05
    halves = (depth[1:] + depth[:-1]) / 2
    edges = np.array([depth[0], *halves, depth[-1]])
    edges[0] -= 0.5 * (edges[1] - edges[0])
    edges[-1] += 0.5 * (edges[-1] - edges[-2])
    for name, first, last in _spans(labels[: len(depth)]):
        left, right = edges[first], edges[last + 1]
        for axes in panels:
            axes.axvspan(left, right, color=PHASES.get(name.lower(), "white"), zorder=0)
        narrow = (right - left) < 0.009 * len(name) * (edges[-1] - edges[0])
        height = 0.18 if narrow else height
        panels[0].annotate(
            name.lower(),
            ((left + right) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            rotation=90 if narrow else 0,
            fontsize=8.5,
            color=SOFT,
        )
    panels[0].set_xlim(edges[0], edges[-1])
    return height


def _level_ticks(axes: Any, sparsities: Sequence[float]) -> None:
    """Label the sparsity levels in percent, thinned out to what fits."""
    step = 1 + (len(sparsities) - 1) // MAX_LABELS
    shown = sparsities[::step]
    axes.set_xticks(_depth(np.array(shown)), [f"{percent(s)}" for s in shown])


def _draw_train(axes: Any, curve: Entry, look: tuple[str, str]) -> None:
    shown = _drawn(curve, "train_accuracy")
    axes.plot(
        _depth(numbers(p["sparsity"] for p in shown)),
        100 * numbers(p["train_accuracy"] for p in shown),
        color=look[0],
        linewidth=1.2,
        linestyle=TRAIN_STYLE,
        zorder=2,
    )


def _draw_distance(axes: Any, curve: Entry, look: tuple[str, str]) -> None:
    shown = _drawn(curve, "distance")
    axes.plot(
        _depth(numbers(p["sparsity"] for p in shown)),
        numbers(p["distance"] for p in shown),
        color=look[0],
        marker=look[1],
        markersize=3.5,
        linewidth=1.2,
    )


def _split_keys(summary: Summary) -> list[Any]:
    """Return legend entries for the two kinds of line."""
    from matplotlib.lines import Line2D

    clean, noisy = (", clean labels", ", noisy labels") if summary["label_noise"] else ("", "")
    styles = {f"test{clean}": "-", f"train{noisy}": TRAIN_STYLE}
    return [
        Line2D([], [], color=SOFT, linewidth=1.3, linestyle=style, label=label)
        for label, style in styles.items()
    ]


def descent_picture(summary: Summary, path: Path) -> None:
    """Draw test and train accuracy and learning distance over sparsity into a PNG file.

    Parameters
    ----------
    summary : mapping
        What a sweep leaves whose points are many levels of sparsity, with label noise or without.
    path : Path
        The file to write; about 1800 x 1500 pixels.

    Notes
    -----
    Sparsities stand at minus the log of their density, where levels that each remove the same
    share of what is left are evenly spaced.
    """
    _descent_figure(summary).savefig(path, format="png")


def _descent_figure(summary: Summary) -> Any:
    curves = summary["curves"]
    far = any(_drawn(curve, "distance") for curve in curves)
    figure = canvas(9, 7.2 if far else 5)
    heights = (2.2, 1) if far else (1,)
    panels = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, height_ratios=heights
    ).ravel()
    found = looks(curve["method"] for curve in curves)
    for curve in curves:
        look = found[curve["method"]]
        deep = [p | {"depth": _depth(np.array(p["sparsity"]))} for p in curve["points"]]
        _draw_curve(panels[0], {**curve, "points": deep}, "depth", look)
        _draw_train(panels[0], curve, look)
        if far:
            _draw_distance(panels[1], curve, look)
    _level(panels[0], summary)
    caption = _caption(summary)
    if curves:
        levels = [p["sparsity"] for p in _drawn(curves[0], "accuracy")]
        _level_ticks(panels[0], levels)
        phases = (summary.get("phases") or {}).get(curves[0]["method"])
        if phases is not None:
            height = _shade(panels, _depth(np.array(levels)), phases["labels"])
            low, high = panels[0].get_ylim()
            top = high + height * (high - low)
            panels[0].set_yticks([t for t in panels[0].get_yticks() if t <= 100])
            panels[0].set_ylim(low, top)
            caption += f"; shaded: phases of {curves[0]['method']}"
            caption += "" if phases["reliable"] else ", not reliable"
    dress(panels[0], "accuracy", y="accuracy, %")
    if far:
        dress(panels[1], "learning distance of the prunable weights", y="L2 norm")
    panels[-1].set_xlabel("sparsity of the prunable weights, % (density on a log scale)")
    handles = [*_split_keys(summary), *panels[0].get_legend_handles_labels()[0]]
    legend(panels[0], handles, loc="lower left")
    figure.align_ylabels()
    frame(figure, f"{summary['study']}: accuracy over sparsity", caption)
    return figure
