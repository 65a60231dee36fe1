"""A sweep: accuracy over compression, method by method, as ShrinkBench asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

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
from autoprune.report.experiments import caveats, compared, csv_text, points, replicates
from autoprune.report.figures import SOFT
from autoprune.report.tables import _cells, _numbers, _table
from autoprune.report.words import NONE, TIMES, Entry, Summary, count, percent, plus_minus

SHRINKBENCH_COLUMNS = (
    *("dataset", "model", "strategy", "compression", "size", "size_nz", "real_compression"),
    *("flops", "flops_nz", "speedup", "pre_acc1", "pre_acc5", "post_acc1", "post_acc5", "seed"),
    *("batch_size", "epochs", "optim", "lr", "completed_epochs", "path"),
)
OUR_COLUMNS = (
    *("allocation", "lr_schedule", "sparsity", "val_acc1", "train_acc1", "distance"),
    *("distance_alive", "distance_pruned", "label_noise", "status"),
)
OUTCOMES = ("better", "within noise", "worse", "no interval")
PHASES = {"light": "#f1f3ee", "critical": "#f3dfd5", "sweet": "#dcebe3", "collapsed": "#e3e3e6"}
MAX_LABELS = 11
MOST_INSIDE = 5  # methods whose legend fits into the panel
TRAIN_STYLE = (0, (1.5, 1.2))


@dataclass(frozen=True)
class Fitting:
    """A table with many columns, cut into equal blocks of columns where it is too wide.

    Parameters
    ----------
    make : callable
        Makes the table of some of the columns, and of all that every block repeats.
    columns : sequence
        What may be cut.
    """

    make: Callable[[Sequence[Any]], Table]
    columns: Sequence[Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render as few blocks as the width allows."""
        for number in range(1, len(self.columns) + 1):
            ends = [round(i * len(self.columns) / number) for i in range(number + 1)]
            blocks = [self.make(self.columns[a:b]) for a, b in pairwise(ends)]
            unbound = options.update(max_width=10_000)
            widths = [Measurement.get(console, unbound, block).minimum for block in blocks]
            if max(widths) <= options.max_width or number == len(self.columns):
                yield from blocks
                return


def _ratio(compression: float) -> str:
    return f"{compression:.3g}{TIMES}" if compression < 999.5 else f"{compression:.0f}{TIMES}"


def _counts(summary: Summary) -> list[int]:
    return [point["n"] for curve in summary["curves"] for point in curve["points"]]


def _setting(summary: Summary) -> str:
    noise = summary["label_noise"]
    noisy = f", {percent(noise, 0)} % label noise in training" if noise else ""
    return f"{summary['model']} on {summary['data']}, {summary['epochs']:g} epochs{noisy}"


def _dense(summary: Summary) -> str:
    dense = summary["dense"]
    return (
        f"dense {percent(dense.get('test_accuracy'))} % test, {count(dense.get('params'))} "
        f"parameters, {count(dense.get('macs'))} MACs"
    )


def _bad_runs(summary: Summary) -> str:
    """Say how many runs did not end well, and how; empty if all did."""
    found = Counter(row["status"] for row in summary["rows"])
    bad = {status: number for status, number in sorted(found.items()) if status != "ok"}
    if not bad:
        return ""
    kinds = ", ".join(f"{number} {status}" for status, number in bad.items())
    return f"{sum(bad.values())} of {found.total()} runs did not end well: {kinds}"


def _by_ratio(curve: Entry) -> dict[float, Entry]:
    return {point["compression"]: point for point in curve["points"]}


def sweep_table(summary: Summary) -> RenderableType:
    """Return test accuracy over compression, a row per method, the best of a column bold.

    Parameters
    ----------
    summary : mapping
        What a sweep leaves; accuracies and sparsities are fractions, a compression ratio is the
        original size over the size left.

    Returns
    -------
    RenderableType
        Cut into blocks of ratios where the terminal is too narrow for all.
    """
    curves = [(curve["method"], _by_ratio(curve)) for curve in summary["curves"]]
    ratios = sorted({ratio for _, found in curves for ratio in found})
    if not ratios:
        return Text(f"{summary['study']}: no run is finished yet")

    title = f"{summary['study']}: test accuracy at compression ratios, "
    title += replicates(_counts(summary))

    def make(shown: Sequence[float]) -> Table:
        table = _table(title if shown[0] == ratios[0] else "")
        table.add_column("method", overflow="fold", min_width=10)
        columns = [[found.get(ratio) for _, found in curves] for ratio in shown]
        cells = [_accuracies(column) for column in columns]
        for ratio, column, texts in zip(shown, columns, cells, strict=True):
            sparsity = next(point["sparsity"] for point in column if point is not None)
            heading = f"{_ratio(ratio)}\n{percent(sparsity)} %"
            widest = max(len(text) for text in texts)
            table.add_column(heading, justify="right", no_wrap=True, min_width=widest)
        for (name, _), row in zip(curves, zip(*cells, strict=True), strict=True):
            table.add_row(*_cells(name), *row)
        return table

    return Group(Fitting(make, ratios), Text(_sweep_caption(summary), style="dim"))


def _sweep_caption(summary: Summary) -> str:
    parts = [
        _setting(summary),
        _dense(summary),
        "below the ratio: sparsity; accuracies in %, mean ± 95 %",
        "bold: best mean of its column, noise or not",
        _bad_runs(summary),
    ]
    return "; ".join(part for part in parts if part)


def _accuracies(column: Sequence[Entry | None]) -> list[Text]:
    """Return a column's cells, the best bold."""
    found = [None if point is None else point["accuracy"] for point in column]
    best = max((accuracy for accuracy in found if accuracy is not None), default=None)
    return [
        Text(NONE)
        if point is None or accuracy is None
        else Text(plus_minus(accuracy, point.get("ci95")), "bold" if accuracy == best else "")
        for point, accuracy in zip(column, found, strict=True)
    ]


def _verdicts(summary: Summary) -> list[str]:
    """Count the outcomes of each pair over the ratios, and say the highest ratio in full."""
    pairs: dict[tuple[str, str], list[Entry]] = {}
    for found in summary["comparisons"]:
        pairs.setdefault((found["method"], found["against"]), []).append(found)
    said = []
    for (one, other), group in pairs.items():
        group = sorted(group, key=lambda c: float(c["compression"]))
        if len(group) > 1:
            parts = []
            for outcome in OUTCOMES:
                where = [_ratio(c["compression"]) for c in group if c["outcome"] == outcome]
                parts += [f"{outcome} at {', '.join(where)}"] if where else []
            said.append(f"{one} against {other}: {'; '.join(parts)}.")
        at = _ratio(group[-1]["compression"])
        said.append(f"At {at}, {compared(group[-1], one, other)}.")
    return said


def _noise_words(summary: Summary) -> list[str]:
    noise = summary["label_noise"]
    if not noise:
        return []
    return [
        f"Training labels carry {percent(noise, 0)} % noise, test labels none: train accuracy "
        "counts the noisy labels."
    ]


def phases_words(summary: Summary) -> list[str]:
    """Say each method's phases under label noise, and what makes them doubtful."""
    said = []
    for method, found in (summary.get("phases") or {}).items():
        text = str(found["text"]).removesuffix(".")
        said.append(f"{method}: {text[:1].lower()}{text[1:]}.")
        if not found["reliable"]:
            notes = "; ".join(str(note).removesuffix(".") for note in found.get("notes", ()))
            said.append(f"{method}: do not rely on these phases{': ' if notes else ''}{notes}.")
    return said


def _checklist_words(summary: Summary) -> list[str]:
    items = summary.get("checklist") or []
    if not items:
        return []
    unmet = [item["item"] for item in items if item["met"] is False]
    unknown = [item["item"] for item in items if item["met"] is None]
    text = f"{len(items) - len(unmet) - len(unknown)} of {len(items)} items of the reporting "
    text += "checklist are met"
    text += f"; not met: {', '.join(unmet)}" if unmet else ""
    text += f"; cannot be told from one study: {', '.join(unknown)}" if unknown else ""
    return [text + "."]


def sweep_words(summary: Summary) -> list[str]:
    """Say in plain sentences what a sweep found and what it cannot tell.

    Parameters
    ----------
    summary : mapping
        What a sweep leaves.
    """
    if not summary["curves"]:
        return [*caveats(summary), "No run is finished yet."]
    bad = _bad_runs(summary)
    return [
        *caveats(summary),
        *_noise_words(summary),
        *_verdicts(summary),
        *phases_words(summary),
        *([f"{bad}."] if bad else []),
        *_checklist_words(summary),
        "Accuracies are read on the test split. The speed-up is theoretical, dense "
        "multiply-adds over those with a non-zero weight: dense kernels gain nothing from it.",
    ]


def checklist_table(summary: Summary) -> RenderableType:
    """Return which items of the reporting checklist the sweep meets."""
    items = summary.get("checklist") or []
    if not items:
        return Text("no checklist")
    met = sum(item["met"] is True for item in items)
    table = _table(
        f"{summary['study']}: {met} of {len(items)} items of the reporting checklist are met",
        "after Blalock et al., MLSys 2020, arXiv 2003.03033",
    )
    table.add_column("item", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=3)
    table.add_column("here", overflow="fold", ratio=2)
    for item in items:
        answer = {True: "yes", False: "no"}.get(item["met"])
        table.add_row(*_cells(item["item"], answer, item["text"], item.get("note") or " "))
    return table


def _sparsity(place: Any) -> float | None:
    """Return the sparsity of a place on the curve: a number, or a mapping that holds it."""
    found: float | None = place["sparsity"] if isinstance(place, Mapping) else place
    return found


def _place(place: Any) -> str:
    """Write a place on the curve: its sparsity, and its accuracy if it has one."""
    sparsity = _sparsity(place)
    if sparsity is None:
        return NONE
    text = f"{percent(sparsity)} %"
    if isinstance(place, Mapping) and place.get("accuracy") is not None:
        return f"{percent(place['accuracy'])} @ {text}"
    return text


def phases_table(summary: Summary) -> RenderableType:
    """Return where each method's accuracy dips and peaks under label noise."""
    phases = summary.get("phases") or {}
    if not phases:
        return Text(f"{summary['study']}: no phases were looked for")
    table = _table(
        f"{summary['study']}: phases over sparsity, {replicates(_counts(summary))}",
        "dip, peak: test accuracy in % @ sparsity; depth: dense minus dip, gain: peak minus "
        "dense, in points",
    )
    table.add_column("method", overflow="fold", min_width=10)
    table.add_column("verdict", overflow="fold", min_width=8)
    _numbers(table, "dip", "peak", "train acc\nfalls at", "depth", "gain")
    for method, found in phases.items():
        table.add_row(
            *_cells(
                method,
                found["verdict"] + ("" if found["reliable"] else ", not reliable"),
                _place(found["dip"]),
                _place(found["peak"]),
                _place(_sparsity(found["interpolation_threshold"])),
                points(found.get("depth")),
                points(found.get("gain")),
            )
        )
    notes = [
        Text(f"{method}: {note}", style="dim")
        for method, found in phases.items()
        for note in found.get("notes", ())
    ]
    return Group(table, *notes) if notes else table


def sweep_csv(summary: Summary) -> str:
    """Return the runs as ShrinkBench's results table, with further columns after its own.

    Parameters
    ----------
    summary : mapping
        What a sweep leaves.

    Returns
    -------
    str
        CSV with `SHRINKBENCH_COLUMNS`, then `OUR_COLUMNS`. ``strategy`` is the method with its
        allocation, ``compression`` the target, accuracies are fractions, ``flops`` are
        multiply-adds.

    References
    ----------
    D. Blalock, J. J. Gonzalez Ortiz, J. Frankle, J. Guttag, "What is the State of Neural Network
    Pruning?", MLSys 2020, arXiv 2003.03033.
    """
    columns = (*SHRINKBENCH_COLUMNS, *OUR_COLUMNS)
    rows = []
    for row in summary["rows"]:
        own = {
            "strategy": row["method"],
            "compression": row["target_compression"],
            "label_noise": summary["label_noise"],
        }
        rows.append({name: own.get(name, row.get(name)) for name in columns})
    return csv_text(columns, rows)


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
    axes.set_xticks(ticks, [_ratio(tick) for tick in ticks])
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
        _setting(summary),
        f"test accuracy, mean of {replicates(_counts(summary))}; bars: 95 % interval",
        _dense(summary),
        _bad_runs(summary),
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
