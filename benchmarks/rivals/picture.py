"""Draw hypervolume over epochs: medians over seeds, and the band between their quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.curves import Runs, quartiles

COLOURS = (
    "#000000", "#0072b2", "#d55e00", "#e69f00", "#cc79a7", "#7f7f7f", "#56b4e9", "#009e73",
    "#8c564b",
)  # fmt: skip
STYLES = ("-", "--")
"""Beyond the colours, they come again dashed."""
LOWEST = 0.85
"""Share of the greatest value at which the axis begins."""


def picture(runs: Runs, main: Sequence[str], ablations: Sequence[str], path: Path) -> None:
    """Draw what there is: the arms on the left, the ablations beside ours on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    _panel(panels[0], runs, [arm for arm in main if arm in runs.arms], "Arms")
    beside = [arm for arm in (main[0], *ablations) if arm in runs.arms]
    _panel(panels[1], runs, beside, "Ablations")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _panel(panel: Any, runs: Runs, arms: Sequence[str], title: str) -> None:
    panel.set_title(f"{title}: median over seeds, band between the quartiles")
    panel.set_xlabel("epochs charged")
    panel.set_ylabel("hypervolume, test split")
    grid = np.linspace(0.0, runs.budget, 271) if runs.budget else np.zeros(1)
    most = 0.0
    looks = [(colour, style) for style in STYLES for colour in COLOURS]
    for (colour, style), arm in zip(looks[: len(arms)], arms, strict=True):
        least = min(runs.finished[arm, seed].about["epochs"] for seed in runs.seeds(arm))
        xs = grid[grid <= least]
        bands = np.array([quartiles(runs.at(arm, float(epochs))) for epochs in xs])
        label = f"{arm} (n = {len(runs.seeds(arm))})"
        panel.plot(
            xs, bands[:, 1], style, color=colour, label=label, drawstyle="steps-post", zorder=3
        )
        panel.fill_between(
            xs, bands[:, 0], bands[:, 2], color=colour, alpha=0.12, step="post", linewidth=0
        )
        most = max(most, float(bands.max()))
    if arms:
        panel.set_ylim(LOWEST * most, None)
        panel.legend(loc="lower right")
