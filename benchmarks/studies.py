"""The studies behind docs/results: python -m benchmarks.studies run|report [NAME ...].

``run`` types the commands below, each of which goes on where it stopped; ``report`` writes pages,
pictures and tables from the answers in the home's folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.report.oracle import oracle_csv, oracle_words
from autoprune.report.oracle_picture import oracle_picture
from autoprune.report.sweep import sweep_csv, sweep_words
from autoprune.report.sweep_picture import descent_picture, sweep_picture
from benchmarks.common import environment

ROOT = Path(__file__).parents[1]
TASK = ("--data", "fashion_mnist", "--model", "lenet300")
LEVELS = (
    *("sweep", *TASK, "--levels", "21", "--epochs", "70"),
    *("--set", "task.train_size=5000", "--set", "train.epochs=70"),
    *("--set", "train.schedule=constant", "--set", "train.lr=0.1", "--set", "train.momentum=0"),
    *("--set", "train.nesterov=false", "--set", "train.weight_decay=0"),
    *("--set", "train.batch_size=64", "--lr", "constant", "--set", "lr.peak=0.1"),
)
COMMANDS = {
    "oracle": ("oracle", *TASK, "--cycles", "20", "--epochs", "1"),
    "sweep": ("sweep", *TASK, "--epochs", "3"),
    "noisy": (
        *LEVELS,
        *("--methods", "lottery_ticket:rewind=init,lottery_ticket:rewind=init+reinit"),
        *("--label-noise", "0.2"),
    ),
    "clean": (*LEVELS, "--methods", "lottery_ticket:rewind=init"),
}
Answer = dict[str, Any]


@dataclass(frozen=True)
class Paths:
    """Where answers are read from and pages are written to."""

    home: Path
    root: Path = ROOT

    def answer(self, name: str) -> Answer | None:
        """Return an answer, if its study is complete."""
        path = self.home / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() and path.stat().st_size else None

    @property
    def pages(self) -> Path:
        """Folder of the pages."""
        return self.root / "docs" / "results"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.root / "docs" / "img"

    @property
    def data(self) -> Path:
        """Folder of the tables."""
        return self.root / "benchmarks" / "data"


def run(names: Sequence[str], home: Path) -> None:
    """Type the commands, one after the other; keep what they print as JSON."""
    home.mkdir(parents=True, exist_ok=True)
    for name in names:
        command = [sys.executable, "-m", "autoprune", *COMMANDS[name], "--json"]
        done = subprocess.run(
            [*command, "--home", str(home)], stdout=subprocess.PIPE, text=True, check=True
        )
        (home / f"{name}.json").write_text(done.stdout)


def report(names: Sequence[str], paths: Paths) -> list[Path]:
    """Write the pages of the answers that are there."""
    written = []
    for folder in (paths.pages, paths.pictures, paths.data):
        folder.mkdir(parents=True, exist_ok=True)
    oracle, sweep = paths.answer("oracle"), paths.answer("sweep")
    noisy, clean = paths.answer("noisy"), paths.answer("clean")
    if "oracle" in names and oracle:
        oracle_picture(oracle, paths.pictures / "silo_vs_oracle.png")
        (paths.data / "silo_vs_oracle.csv").write_text(oracle_csv(oracle))
        written.append(_write(paths.pages / "silo_vs_oracle.md", _oracle_page(oracle)))
    if "sweep" in names and sweep:
        sweep_picture(sweep, paths.pictures / "sweep.png")
        (paths.data / "sweep.csv").write_text(sweep_csv(sweep))
        written.append(_write(paths.pages / "sweep.md", _sweep_page(sweep)))
    if {"noisy", "clean"} & set(names) and noisy:
        answers = {"noisy": noisy, **({"clean": clean} if clean else {})}
        for name, answer in answers.items():
            descent_picture(answer, paths.pictures / f"sparse_double_descent_{name}.png")
            (paths.data / f"sparse_double_descent_{name}.csv").write_text(sweep_csv(answer))
        page = paths.pages / "sparse_double_descent.md"
        written.append(_write(page, _descent_page(answers)))
    return written


def _write(path: Path, lines: Iterator[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _where(answer: Answer, *commands: str) -> Iterator[str]:
    """Say what was run, and on what."""
    where = environment()
    count = len(answer["seeds"])
    yield f"Written by `python -m benchmarks.studies run` and `report` (n = {count} seeds)."
    yield ""
    yield "```bash"
    for name in commands:
        yield f"autoprune {' '.join(COMMANDS[name])}"
    yield "```"
    yield ""
    yield (
        f"AutoPrune {where['autoprune']}, torch {where['torch']}, Python {where['python']}, "
        f"{where['cores']} cores ({where['processor']}), one thread a job, float32, last epoch."
    )
    yield ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table; numbers stand on the right."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join([' --- ', *[' ---: '] * (len(head) - 1)])}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _points(row: Answer) -> str:
    low, high = row["low"], row["high"]
    interval = "" if low is None else f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return f"{100 * row['difference']:+.2f}{interval}"


def _oracle_page(answer: Answer) -> Iterator[str]:
    yield "# SILO and the Oracle on Fashion-MNIST"
    yield ""
    yield from _where(answer, "oracle")
    yield "![Peaks, accuracies and the grid over the cycles](../img/silo_vs_oracle.png)"
    yield ""
    yield "## What was seen"
    yield ""
    for sentence in oracle_words(answer):
        yield f"- {sentence}"
    yield ""
    yield "## Every cycle"
    yield ""
    by_name = {row["name"]: row for row in answer["schedules"]}
    fixed = by_name["fixed_peak"]["test_accuracy"]
    rows = [
        [
            f"{row['cycle']}",
            f"{100 * row['sparsity']:.1f} %",
            f"{row['oracle_peak']:.3g}",
            f"{row['interval'][0]:.3g} to {row['interval'][1]:.3g}",
            f"{row['silo_peak']:.3g}",
            "yes" if row["inside"] else "no",
            _percent(row["oracle_accuracy"]),
            _percent(row["silo_accuracy"]),
            _percent(fixed[row["cycle"] - 1]),
        ]
        for row in answer["cycles"]
    ]
    head = ["cycle", "sparsity", "Oracle's peak", "interval", "SILO's peak", "inside"]
    yield from table(
        [*head, "Oracle %", "SILO %", f"best fixed ({answer['best_fixed']:.3g}) %"], rows
    )
    yield "Accuracies are on the test split, means over the seeds."
    yield ""
    yield "## Differences, paired by seed, in points"
    yield ""
    yield from table(
        ["", "cycle", "sparsity", "difference (95 %)", "verdict", "smallest that would show"],
        [
            [
                f"{row['name']} less {row['against']}",
                f"{row['cycle']}",
                f"{100 * row['sparsity']:.1f} %",
                _points(row),
                row["outcome"],
                "" if row["detectable"] is None else f"{100 * row['detectable']:.2f}",
            ]
            for row in answer["comparisons"]
        ],
    )
    yield "Every number is in `benchmarks/data/silo_vs_oracle.csv`."


def _sweep_page(answer: Answer) -> Iterator[str]:
    yield "# Accuracy over compression on Fashion-MNIST"
    yield ""
    yield from _where(answer, "sweep")
    yield "![Accuracy over compression ratio and theoretical speed-up](../img/sweep.png)"
    yield ""
    ratios = [point["compression"] for point in answer["curves"][0]["points"]]
    yield from table(
        ["method", *(f"{ratio:g}x" for ratio in ratios)],
        [[curve["method"], *map(_cell, curve["points"])] for curve in answer["curves"]],
    )
    yield "Test accuracy in percent, mean and half of its 95 % interval."
    yield ""
    for sentence in sweep_words(answer):
        yield f"- {sentence}"
    yield ""
    yield "ShrinkBench's table of every run is `benchmarks/data/sweep.csv`."


def _cell(point: Answer) -> str:
    low, high = point["ci95"]
    return f"{100 * point['accuracy']:.2f} ± {50 * (high - low):.2f}"


def _descent_page(answers: dict[str, Answer]) -> Iterator[str]:
    yield "# Sparse double descent on Fashion-MNIST"
    yield ""
    yield from _where(answers["noisy"], "noisy", "clean")
    yield (
        "Lottery tickets rewound to their start over 21 levels that remove 20 % each; 5,000 "
        "training images; with a fifth of their labels drawn anew over all classes (18 % are "
        "wrong), and without. With noise the same masks are trained from fresh weights, too. "
        "Validation and test labels are clean."
    )
    yield ""
    titles = {"noisy": "With noise", "clean": "Without noise"}
    for name, answer in answers.items():
        yield f"## {titles[name]}"
        yield ""
        file = f"sparse_double_descent_{name}.png"
        yield f"![Accuracy and learning distance over sparsity](../img/{file})"
        yield ""
        for sentence in sweep_words(answer):
            yield f"- {sentence}"
        yield ""
        yield from _levels(answer)
    yield "Every run is in `benchmarks/data/sparse_double_descent_noisy.csv` and `..._clean.csv`."


def _levels(answer: Answer) -> Iterator[str]:
    curves = answer["curves"]
    labels = answer["phases"][curves[0]["method"]]["labels"]
    head = ["sparsity", "phase", "tickets: test %", "train %", "distance"]
    head += ["re-initialised: test %", "train %", "distance"] if len(curves) > 1 else []
    points = zip(*(curve["points"] for curve in curves), strict=True)
    rows = []
    for label, level in zip(labels, points, strict=True):
        row = [f"{100 * level[0]['sparsity']:.2f} %", label]
        for point in level:
            train = _percent(point["train_accuracy"])
            row += [_cell(point), train, f"{point['distance']:.2f}"]
        rows.append(row)
    yield from table(head, rows)


def main(arguments: list[str]) -> int:
    """Run studies, or write their pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(COMMANDS)}; all by default")
    parser.add_argument("--home", type=Path, default=Path("studies-home"))
    parser.add_argument("--root", type=Path, default=ROOT)
    given = parser.parse_args(arguments)
    names = given.names or list(COMMANDS)
    if given.what == "run":
        run(names, given.home)
        return 0
    for path in report(names, Paths(given.home, given.root)):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
