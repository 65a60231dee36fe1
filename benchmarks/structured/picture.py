"""Draw accuracies at equal multiply-adds, DropNet's rounds, and i-SpaSP's residual."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from benchmarks.methods.catalogue import Setting
from benchmarks.methods.pool import Results
from benchmarks.structured.catalogue import RULES, Scale
from benchmarks.structured.expected import rounds_of
from benchmarks.structured.found import Found

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7f7f7f")
MARGIN = 6.0
"""Points that are shown beyond the means."""
TICKS = (0.8, 0.6, 0.4, 0.3, 0.2, 0.15)
"""Shares of units that are named."""


def picture(scale: Scale, results: Results, path: Path) -> None:
    """Draw what there is; a panel without numbers stays empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    for panel, setting in zip(panels[0], scale.tables, strict=False):
        _lines(panel, setting, Found.of(results, setting))
    _rounds(panels[1][0], scale, Found.of(results, scale.drops))
    _residual(panels[1][1], results.rows.get(f"pursuit/{scale.draws}"))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _lines(panel: Any, setting: Setting, found: Found) -> None:
    """One line a method: its paired difference to the dense net at each target."""
    panel.set_title(
        f"{setting.task.model}, {setting.task.data}: test accuracy less the dense net's"
    )
    labels = found.lines
    means = [0.0]
    for place, target in enumerate(setting.sparsities):
        shown = found.at(target)
        gaps = [found.less_dense(label, target) for label in shown]
        kept = [(x, gap) for x, gap in zip(shown, gaps, strict=True) if gap is not None]
        means += [gap.mean for _, gap in kept]
        panel.errorbar(
            [gap.mean for _, gap in kept],
            [labels.index(x) + 0.3 * place - 0.15 for x, _ in kept],
            xerr=[gap.half if math.isfinite(gap.half) else 0.0 for _, gap in kept],
            fmt="os"[place % 2],
            color=COLOURS[place],
            capsize=2,
            label=f"{1 / (1 - target):.2g}x fewer multiply-adds",
        )
    panel.set_yticks(range(len(labels)), labels)
    panel.invert_yaxis()
    panel.axvline(0.0, color="#bbbbbb", linewidth=1)
    # One line of great spread would squeeze all others.
    panel.set_xlim(min(means) - MARGIN, max(means) + MARGIN)
    panel.set_xlabel("points, with 95 % interval (cut at the edges)")
    if labels:
        panel.legend()


def _rounds(panel: Any, scale: Scale, found: Found) -> None:
    panel.set_title("DropNet: which units go, rewound every round")
    target = scale.drops.sparsities[0]
    for colour, rule in zip(COLOURS, RULES, strict=False):
        if all(found.table.has(one, target) for one in RULES):  # as on the page
            points = rounds_of(found, rule)
            for seed in range(min(len(values) for _, values in points)):
                panel.plot(
                    [alive for alive, _ in points],
                    [100 * values[seed] for _, values in points],
                    color=colour,
                    alpha=0.3,
                    linewidth=1,
                )
            means = [100 * statistics.fmean(values) for _, values in points]
            panel.plot([alive for alive, _ in points], means, "o-", color=colour, label=rule)
            panel.legend()
    panel.set_xscale("log")
    panel.set_xticks(TICKS, [f"{share:g}" for share in TICKS])
    panel.minorticks_off()
    panel.invert_xaxis()
    panel.set_xlabel("share of units left")
    panel.set_ylabel("test accuracy, %")


def _residual(panel: Any, row: dict[str, Any] | None) -> None:
    panel.set_title("Two random layers: what is missing of the output")
    panel.set_xlabel("units kept of 100")
    panel.set_ylabel("squared residual / squared output")
    if row is None:
        return
    for colour, (rule, by) in zip(COLOURS, row["residuals"].items(), strict=False):
        means = [statistics.fmean(draws) for draws in by]
        panel.plot(row["kept"], means, "o-", color=colour, label=rule)
    panel.axvline(50, color="#bbbbbb", linewidth=1, linestyle="--")
    panel.legend()
