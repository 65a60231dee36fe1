"""Draw every learning-rate schedule over three cycles: python -m benchmarks.lr_schedules.

Each panel is a schedule with its default parameters (`listed` with three peaks), drawn by the
library's own classes. The trial around it is made up: a stepped dense run, three cycles half as
long that remove the same share each and end at 83 % sparsity, and a loss of norm that grows from
cycle to cycle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoprune.training.lr.base import CycleInfo
from autoprune.training.registry import LR_SCHEDULES

NUM_CYCLES, NUM_STEPS = 3, 200
SHARE = 0.45  # of the remaining weights, in every cycle
NORMS_LOST = (0.25, 0.42, 0.58)
DENSE = [0.1] * 200 + [0.01] * 100 + [0.001] * 100
OUT = Path(__file__).parents[1] / "docs" / "img" / "lr_schedules.png"

TITLES = {
    "constant": "Constant",
    "step": "Two drops",
    "cosine": "Cosine",
    "linear": "Linear",
    "one_cycle": "One cycle",
    "cyclical": "Triangle",
    "warmup": "Warm-up",
    "ft": "Fine-tuning",
    "lrw": "LR rewinding",
    "slr": "Scaled restart",
    "clr": "Cyclic restart",
    "llr": "Linear restart",
    "allr": "Adaptive restart",
    "silo": "SILO",
    "fixed_peak": "Fixed peak",
    "listed": "Listed peaks",
}
PARAMS = {"listed": {"peaks": "0.04,0.06,0.1"}}
"""What is not a default: a list of one peak would be a fixed peak."""
INK, SOFT, GRID = "#1b1d1c", "#5c635f", "#e3e6e4"
ACCENT = "#0b6b53"


def cycles() -> list[CycleInfo]:
    """Return the three cycles of the made-up trial."""
    return [
        CycleInfo(
            index=k,
            count=NUM_CYCLES,
            sparsity=1 - (1 - SHARE) ** k,
            round_share=SHARE,
            norm_lost=lost,
            length_ratio=NUM_STEPS / len(DENSE),
            dense_curve=DENSE,
            num_steps=NUM_STEPS,
        )
        for k, lost in enumerate(NORMS_LOST, start=1)
    ]


def rates(name: str) -> list[list[float]]:
    """Return a schedule's rate at every step of the three cycles."""
    schedule = LR_SCHEDULES.get(name)(**PARAMS.get(name, {}))
    return [[schedule(step / NUM_STEPS, c) for step in range(NUM_STEPS)] for c in cycles()]


def draw(path: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = LR_SCHEDULES.names()
    columns = 4
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(12.5, 2.0 * rows + 0.7),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, name)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("cycle", color=SOFT, fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("learning rate", color=SOFT, fontsize=10)
    figure.get_layout_engine().set(wspace=0.06, hspace=0.04, w_pad=0.08)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _panel(axes: Any, name: str) -> None:
    for number, values in enumerate(rates(name)):
        steps = [number + step / NUM_STEPS for step in range(NUM_STEPS)]
        axes.plot(steps, values, color=ACCENT, linewidth=1.6, solid_joinstyle="round")
        peak = max(values)
        axes.annotate(
            f"{peak:.2g}",
            (number + values.index(peak) / NUM_STEPS, peak),
            xytext=(2, 3),
            textcoords="offset points",
            fontsize=8.5,
            color=SOFT,
        )
    for border in range(1, NUM_CYCLES):
        axes.axvline(border, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_title(f"{TITLES.get(name, name)}", loc="left", fontsize=11, color=INK)
    axes.set_title(name, loc="right", fontsize=9, color=SOFT, family="monospace")
    axes.set_xlim(0, NUM_CYCLES)
    axes.set_ylim(0, 0.125)
    axes.set_xticks([k + 0.5 for k in range(NUM_CYCLES)], [str(k + 1) for k in range(NUM_CYCLES)])
    axes.set_yticks([0, 0.05, 0.1], ["0", "0.05", "0.1"])
    axes.tick_params(length=0, labelsize=9, colors=SOFT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(SOFT)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lr_schedules", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    draw(given.out)
    print(given.out)


if __name__ == "__main__":
    main()
