"""Write the page, its picture and its numbers from the journal."""

from __future__ import annotations

import csv
import os
import statistics
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoprune.methods.base import METHODS
from benchmarks.common import environment
from benchmarks.methods.catalogue import Setting
from benchmarks.methods.effects import Finding
from benchmarks.methods.pool import Results
from benchmarks.structured.catalogue import CHOOSER, RULES, Scale
from benchmarks.structured.counts import PAPER
from benchmarks.structured.expected import (
    EFFECTS,
    drop_findings,
    pursuit_findings,
    rounds_of,
    shared_seeds,
)
from benchmarks.structured.found import Found, spread
from benchmarks.structured.latency import BATCHES
from benchmarks.structured.numbers import every_number
from benchmarks.structured.picture import picture
from benchmarks.studies import table as markdown

LIMITS = {"filter_l1": 0.5}
"""Shares of the dense latency that were promised at a quarter of the multiply-adds."""
OTHERS = 0.6


def write(scale: Scale, results: Results, root: Path) -> list[Path]:
    """Write what there is below `root`; return the files."""
    pages, pictures, data = root / "docs/results", root / "docs/img", root / "benchmarks/data"
    for folder in (pages, pictures, data):
        folder.mkdir(parents=True, exist_ok=True)
    page = pages / "structured.md"
    page.write_text("\n".join(_page(scale, results)).rstrip() + "\n", encoding="utf-8")
    numbers = data / "structured.csv"
    with numbers.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "setting", "label", "target", "seed", "what", "value"])
        writer.writerows(every_number(scale, results))
    drawn = pictures / "structured.png"
    picture(scale, results, drawn)
    return [page, numbers, drawn]


def _page(scale: Scale, results: Results) -> Iterator[str]:
    yield from _head(scale)
    for setting in scale.tables:
        yield from _setting(setting, Found.of(results, setting))
    yield from _expected(scale, results)
    yield from _drops(scale, Found.of(results, scale.drops))
    yield from _pursuit(results.rows.get(f"pursuit/{scale.draws}"))
    yield from _counts(results.rows.get(f"counts/{scale.deep}"))
    yield from _latency(scale, Found.of(results, scale.wide))


def _head(scale: Scale) -> Iterator[str]:
    where = environment()
    yield "# The methods that remove whole units or rank, at equal multiply-adds"
    yield ""
    yield "Written by these commands; every number is in `benchmarks/data/structured.csv`."
    yield ""
    yield "```bash"
    yield "python -m benchmarks.structured run --data-dir DIR   # of CIFAR-10; goes on where it was"
    yield "python -m benchmarks.structured report"
    yield "```"
    yield ""
    yield (
        f"AutoPrune {where['autoprune']}, torch {where['torch']}, onnxruntime "
        f"{version('onnxruntime')}, Python {where['python']}, {where['cores']} cores "
        f"({_processor()}), one thread a trial, float32. n = {len(scale.seeds)} seeds, which "
        "replace initialisation, dense run, data order and scoring batch. Accuracies are test "
        "accuracies of the last epoch in percent, means with half of their 95 % interval "
        "(Student's t, wide for so few seeds); differences are paired by seed, in points."
    )
    yield ""
    yield (
        "Targets are shares of the dense net's multiply-adds, 2x half of them, 4x a quarter; what "
        "was reached stands in the table. Each method has its default parameters. One peak a "
        f"setting serves all that retrains: the one of best validation accuracy for {CHOOSER[0]} "
        f"at {CHOOSER[1]:.0%} with the first seed, among those named; what trains from scratch has "
        "the dense run's. *Before* is the net just before its last training: for what rewinds, "
        "untrained weights; batch-norm statistics are not estimated anew. What starts from "
        "scratch trains for the dense and the retraining epochs together and has no such number. "
        "*dropnet one shot* is DropNet's score without its rounds and its rewinding, *random "
        "units* its control."
    )
    yield ""
    yield (
        "Latency is the median call's share of the dense net's: exported to ONNX, one onnxruntime "
        f"thread, in turns in one process, {scale.calls} calls, {scale.repeats} repetitions, when "
        "nothing else ran. It was measured of the first seed's widths, each set of widths once: "
        "methods that keep as many units of every layer are the same net there."
    )
    yield ""
    yield "![Accuracies, DropNet's rounds, i-SpaSP's residual](../img/structured.png)"
    yield ""


def _processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


def _setting(setting: Setting, found: Found) -> Iterator[str]:
    task = setting.task
    yield f"## {task.model} on {task.data}"
    yield ""
    size = f"{task.train_size:,} images" if task.train_size else "all training images"
    peak = found.wanted.get("peak")
    yield (
        f"{task.width:g} of its width, {size}; {setting.dense} dense + {setting.top} retraining "
        f"epochs, batches of {setting.batch_size}; dense peak {setting.lr:g}; retraining peak "
        f"{'not chosen yet' if peak is None else f'{peak:g}'}, among "
        f"{', '.join(f'{p:g}' for p in setting.peaks)}."
    )
    yield ""
    if not found.table.has("dense", 0.0):
        yield "Not measured."
        yield ""
        return
    yield f"Dense: {spread(found.table.accuracies('dense', 0.0))}."
    yield ""
    for target in setting.sparsities:
        yield from _lines(target, found)
    for label, reason in found.refused.items():
        yield f"- Not here: {label} ({reason})"
    bad = [row for row in found.rows if row["status"] != "ok"]
    if bad:
        told = (f"{r['label']} {r['target']:.0%} seed {r['seed']}: {r['status']}" for r in bad)
        yield f"- No usable model: {'; '.join(told)}."
    if found.refused or bad:
        yield ""


def _lines(target: float, found: Found) -> Iterator[str]:
    yield f"### {1 / (1 - target):.2g}x"
    yield ""
    head = ["method", "before", "after", "less dense", "MACs", "parameters", "bytes"]
    head += [f"latency, batch {batch}" for batch in BATCHES]
    lines = found.at(target)
    yield from markdown(head, [_line(label, target, found) for label in lines])
    missing = [x for x in found.wanted.get("lines", []) if x not in lines]
    if missing:
        yield f"Not measured yet: {', '.join(missing)}."
        yield ""


def _line(label: str, target: float, found: Found) -> list[str]:
    row = found.table.rows(label, target)[0]
    method = METHODS.get(row["method"])
    before = found.before(label, target) if method.start == "dense" else []
    macs = f"{found.share(label, target, 'macs'):.3f}"
    gap = found.less_dense(label, target)
    return [
        f"{label} (reconstruction)" if method.reconstruction else label,
        spread(before) if before else "",
        spread(found.table.accuracies(label, target)),
        "" if gap is None else str(gap),
        f"{macs} (not reached)" if found.missed(label, target) else macs,
        f"{found.share(label, target, 'params'):.3f}",
        f"{found.share(label, target, 'size_bytes', 'dense_size_bytes'):.3f}",
        *(_median(found.ratios(label, target, batch)) for batch in BATCHES),
    ]


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else ""


def _expected(scale: Scale, results: Results) -> Iterator[str]:
    yield "## What the papers expect"
    yield ""
    yield "*Seen* speaks of the sign of the mean. Where every interval holds 0 the line says so,"
    yield "and then neither verdict means much."
    yield ""
    rows, against = [], []
    for setting in scale.tables:
        found = Found.of(results, setting)
        for card, words, measure in EFFECTS:
            try:
                seen: Finding | None = measure(found)
            except (KeyError, ValueError, statistics.StatisticsError):
                seen = None  # not measured, or not on this net
            verdict, text = ("not measured", "") if seen is None else (seen.verdict, seen.text)
            rows.append([card, setting.name, words, verdict, text])
            if seen is not None and not seen.seen:
                against.append(f"{words} ({setting.name}): {text}")
    yield "| card | net | expected | verdict | number |"
    yield "| --- | --- | --- | --- | --- |"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
    yield "Against the papers:" if against else "Nothing here is against the papers."
    yield ""
    yield from (f"- {line}" for line in against)
    yield ""


def _drops(scale: Scale, found: Found) -> Iterator[str]:
    setting = scale.drops
    yield "## DropNet over its rounds"
    yield ""
    if not all(found.table.has(rule, setting.sparsities[0]) for rule in RULES):
        yield "Not measured."
        yield ""
        return
    seeds = len(shared_seeds(found))
    short = "" if seeds >= 5 else " The card asks for five seeds or more: these are fewer."
    yield (
        f"{setting.task.model} at {setting.task.width:g} of its width, {scale.rounds} rounds to "
        f"{1 - setting.sparsities[0]:.0%} of the weights, rewound to its start before each, "
        f"{setting.top / scale.rounds:g} epochs a round; n = {seeds}.{short} Test accuracy in "
        "percent with half of its 95 % interval, and the share of units that is left."
    )
    yield ""
    head = ["round", *(column for rule in RULES for column in (f"{rule}: units", "%"))]
    columns = [rounds_of(found, rule) for rule in RULES]
    rows = []
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        row = [f"{number}"]
        for alive, accuracies in cells:
            row += [f"{alive:.3f}", spread([100 * a for a in accuracies])]
        rows.append(row)
    yield from markdown(head, rows)
    yield from _findings(drop_findings(found))


def _findings(findings: list[tuple[str, Finding]]) -> Iterator[str]:
    yield from (f"- {words}: {one.verdict}; {one.text}." for words, one in findings)
    yield ""


def _pursuit(row: dict[str, Any] | None) -> Iterator[str]:
    yield "## i-SpaSP on two random layers"
    yield ""
    if row is None:
        yield "Not measured."
        yield ""
        return
    draws = len(next(iter(row["residuals"].values()))[0])
    yield (
        f"100 hidden units, 10 outputs, {draws} draws, nothing trained: what is missing of the "
        "dense output, its squared norm over the output's, with half of its 95 % interval."
    )
    yield ""
    yield from markdown(
        ["units kept", *row["residuals"]],
        [
            [f"{count}", *(spread(by[place]) for by in row["residuals"].values())]
            for place, count in enumerate(row["kept"])
        ],
    )
    yield from _findings(pursuit_findings(row))


def _counts(row: dict[str, Any] | None) -> Iterator[str]:
    yield "## What LRPET's exports hold"
    yield ""
    if row is None:
        yield "Not measured."
        yield ""
        return
    yield f"{row['net']} with every convolution split, counted from the split net; no training."
    yield ""
    rows = []
    for one in row["found"]:
        paper = PAPER.get(one["share"]) if row["net"] == "resnet56" else None
        told = "" if paper is None else f"{paper[0] / 1e6:.2f} M, {paper[1] / 1e6:.3f} M"
        share = f"{one['share']:.2f}" if one["share"] else "dense"
        macs, weights = one["macs"] / 1e6, one["weights"] / 1e6
        rows.append([share, f"{macs:.2f} M", f"{weights:.3f} M", told])
    yield from markdown(["share of ranks gone", "MACs", "weights", "the authors'"], rows)


def _latency(scale: Scale, found: Found) -> Iterator[str]:
    setting = scale.wide
    yield f"## Latency at {1 - setting.sparsities[0]:g} of the multiply-adds"
    yield ""
    target = setting.sparsities[0]
    times = found.times.get(target, [])
    if not times:
        yield "Not measured."
        yield ""
        return
    yield (
        f"{setting.task.model}, {setting.task.width:g} of its width. {setting.note} Milliseconds "
        "are medians of the repetitions' p50 and p90; ratios are p50 over the dense net's, one "
        f"a repetition. Expected at the most: {LIMITS['filter_l1']:g} for {CHOOSER[0]}, uniform, "
        f"{OTHERS:g} for the others."
    )
    yield ""
    nets: dict[str, list[str]] = {"dense": ["dense"]}
    for label in found.at(target):
        nets.setdefault(found.net(label, target), []).append(label)
    head = ["method", "MACs"]
    for batch in BATCHES:
        head += [f"batch {batch}: p50 ms", "p90 ms", "ratios"]
    rows = []
    for net, labels in nets.items():
        row = [", ".join(labels)]
        row.append("1" if net == "dense" else f"{found.share(labels[0], target, 'macs'):.3f}")
        for batch in BATCHES:
            here = [t for t in times if t["net"] == net and t["batch"] == batch]
            row += [_median([t[p] for t in here]) for p in ("p50_ms", "p90_ms")]
            row.append(", ".join(f"{t['ratio']:.2f}" for t in here))
        rows.append(row)
    yield from markdown(head, rows)
    yield from _promises(found, target)


def _promises(found: Found, target: float) -> Iterator[str]:
    for label in found.at(target):
        limit = LIMITS.get(label, OTHERS)
        ratios = {batch: found.ratios(label, target, batch) for batch in BATCHES}
        over = {b: statistics.median(r) for b, r in ratios.items() if r}
        over = {batch: value for batch, value in over.items() if value > limit}
        if over:
            told = ", ".join(f"{value:.2f} at batch {batch}" for batch, value in over.items())
            yield f"- {label}: above {limit:g} ({told})."
    yield ""
