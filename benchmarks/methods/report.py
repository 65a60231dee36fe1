"""Write the report: tables with spread and cost, and every expected effect with its number."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoprune.methods.base import METHODS
from benchmarks.common import environment
from benchmarks.methods import catalogue
from benchmarks.methods.catalogue import SEEDS, Entry, Setting
from benchmarks.methods.effects import EFFECTS, Finding
from benchmarks.methods.pool import Results
from benchmarks.methods.table import Row, Table

COLUMNS = ("label", "model", "method", "target", "peak", "seed", "status", "epochs", "wall_s")
METRICS = (
    "val_accuracy", "test_accuracy", "sparsity", "macs_effective", "log/train_macs",
    "log/score_passes",
)  # fmt: skip


def chosen_peaks(
    setting: Setting, results: Results, entries: tuple[Entry, ...]
) -> dict[str, float]:
    """Return each method's peak of best validation accuracy; the lower one where they tie."""
    found: dict[str, dict[float, float]] = {}
    for entry, job in catalogue.choices(setting, entries):
        row = results.of(f"choose {entry.label}", job)
        if row is not None:
            accuracy = row["metrics"].get("val_accuracy", 0.0)
            found.setdefault(entry.label, {})[row["peak"]] = accuracy
    return {label: max(sorted(by), key=lambda p: by[p]) for label, by in found.items()}


def write(settings: list[Setting], results: Results, root: Path) -> None:
    """Write ``docs/results/methods.md`` and ``benchmarks/data/methods.csv`` below `root`."""
    blocks = [_head(settings)]
    rows: list[Row] = []
    for setting in settings:
        final = _finals(setting, results)
        rows += final
        if final:
            blocks.append("\n".join(_setting(setting, Table(final), final)))
        if setting.name == "lenet300" and final:
            blocks.append("\n".join(_effects(Table(final))))
    page = root / "docs" / "results" / "methods.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    _write_rows(rows, root / "benchmarks" / "data" / "methods.csv")


def _finals(setting: Setting, results: Results) -> list[Row]:
    """Return the rows that are reported; a retracted peak's rows stay out."""
    entries = catalogue.entries(setting)
    peaks = chosen_peaks(setting, results, entries)
    known = tuple(e for e in entries if (e.like or e.label) in peaks)
    wanted = [("dense", catalogue.dense_job(setting, seed)) for seed in SEEDS]
    wanted += [(e.label, job) for e, job in catalogue.finals(setting, known, peaks)]
    found = (results.of(label, job) for label, job in wanted)
    return [row for row in found if row is not None and row["metrics"]]


def _head(settings: list[Setting]) -> str:
    where = environment()
    lines = [
        "# The methods that remove single weights, at equal epochs",
        "",
        "Written by `python -m benchmarks.methods`; the raw rows are in "
        "`benchmarks/data/methods.csv`.",
        "",
        f"AutoPrune {where['autoprune']}, torch {where['torch']}, Python {where['python']}, "
        f"{where['cores']} cores ({where['processor']}), one thread a trial, float32. "
        f"n = {len(SEEDS)} seeds; a seed replaces initialisation, dense run, data order and "
        "scoring batch. Accuracies are test accuracies of the last epoch in percent, mean ± "
        "sample deviation. Differences are paired by seed, in points, with a 95 % interval "
        "(Student's t, n = 3, which is wide). Every trial trains for the same epochs in all: "
        "what starts from the dense net retrains, what starts from scratch trains for both "
        "parts together, what prunes in rounds divides the retraining among them.",
        "",
        "Each method has its default parameters and a linear schedule. Its peak, where several "
        "were tried, was chosen on validation with one seed at 95 %, and is the only thing that "
        "was tuned. The test split "
        "was read by the reported trials only. This is one small task in two forms: it shows "
        "that each method works and what it costs, not which is best on yours.",
        "",
    ]
    for s in settings:
        size = f"{s.task.train_size:,} images" if s.task.train_size else "all training images"
        width = "" if s.task.width == 1.0 else f" at {s.task.width:g} of its width"
        lines.append(
            f"- **{s.name}**: {s.task.data}, {s.task.model}{width}, {size}; {s.dense} dense + "
            f"{s.top} retraining epochs; dense peak {s.lr:g}, peaks tried "
            f"{', '.join(f'{p:g}' for p in s.peaks)}."
        )
    return "\n".join(lines)


def _setting(setting: Setting, table: Table, rows: list[Row]) -> Iterator[str]:
    yield f"## {setting.name}"
    yield ""
    if setting.note:
        yield setting.note
        yield ""
    dense = table.accuracies("dense", 0.0)
    yield f"Dense: {statistics.fmean(dense):.2f} ± {statistics.stdev(dense):.2f}."
    yield ""
    yield "Cost, at the highest sparsity, medians: epochs with the dense run's; multiply-adds of"
    yield "training where zeros cost nothing, relative to dense training for as many epochs;"
    yield "passes over a scoring set. No wall time is told: with dense kernels all of them take"
    yield "about what dense training takes, and the machine was not idle."
    yield ""
    heads = [f"{target:.0%}" for target in setting.sparsities]
    yield f"| method | peak | {' | '.join(heads)} | epochs | training MACs | passes |"
    yield "| --- " * (5 + len(heads)) + "|"
    labels = list(dict.fromkeys(row["label"] for row in rows))
    whole = _dense_macs(setting, table)
    for label in (x for x in labels if x != "dense"):
        yield _line(label, setting, table, whole)
    bad = [r for r in rows if r["status"] != "ok"]
    if bad:
        yield ""
        told = (f"{r['label']} {r['target']:.0%} seed {r['seed']}: {r['status']}" for r in bad)
        yield f"No usable model came out of {len(bad)} of {len(rows)} trials: {'; '.join(told)}."


def _dense_macs(setting: Setting, table: Table) -> float:
    """Multiply-adds of dense training for all epochs."""
    dense = table.metric("dense", 0.0, "log/train_macs")
    return dense * (setting.dense + setting.top) / setting.dense


def _line(label: str, setting: Setting, table: Table, whole: float) -> str:
    cells = []
    for target in setting.sparsities:
        if not table.has(label, target):
            cells.append("")
            continue
        values = table.accuracies(label, target)
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        cells.append(f"{statistics.fmean(values):.2f} ± {spread:.2f}")
    top = max(t for t in setting.sparsities if table.has(label, t))
    row = table.rows(label, top)[0]
    name = f"{label} (reconstruction)" if METHODS.get(row["method"]).reconstruction else label
    macs = table.metric(label, top, "log/train_macs") / whole if whole else float("nan")
    passes = table.metric(label, top, "log/score_passes")
    accuracies, epochs = " | ".join(cells), row["epochs"]
    return f"| {name} | {row['peak']:g} | {accuracies} | {epochs:.0f} | {macs:.2f} | {passes:.0f} |"


def _effects(table: Table) -> Iterator[str]:
    yield "## What the papers expect"
    yield ""
    yield "Differences of test accuracy in points on lenet300, paired by seed. *Seen* speaks of"
    yield "the sign of the mean over the sparsities named; where every interval holds 0 the line"
    yield "says so, and then neither verdict means much."
    yield ""
    yield "| card | expected | verdict | number |"
    yield "| --- | --- | --- | --- |"
    for effect in EFFECTS:
        try:
            found: Finding | None = effect.measure(table)
        except (KeyError, ValueError):
            found = None  # not measured yet
        verdict, text = ("not measured", "") if found is None else (found.verdict, found.text)
        yield f"| {effect.card} | {effect.expectation} | {verdict} | {text} |"


def _write_rows(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *METRICS])
        for row in rows:
            values: list[Any] = [row[name] for name in COLUMNS]
            writer.writerow(values + [row["metrics"].get(name, "") for name in METRICS])
