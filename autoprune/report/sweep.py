"""A sweep: accuracy over compression, method by method, as ShrinkBench asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from autoprune.report.experiments import caveats, compared, csv_text, points, replicates
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


def ratio_words(compression: float) -> str:
    """Word a compression ratio."""
    return f"{compression:.3g}{TIMES}" if compression < 999.5 else f"{compression:.0f}{TIMES}"


def run_counts(summary: Summary) -> list[int]:
    """Return how many runs stand behind each point."""
    return [point["n"] for curve in summary["curves"] for point in curve["points"]]


def sweep_setting(summary: Summary) -> str:
    """Say what was run."""
    noise = summary["label_noise"]
    noisy = f", {percent(noise, 0)} % label noise in training" if noise else ""
    return f"{summary['model']} on {summary['data']}, {summary['epochs']:g} epochs{noisy}"


def dense_words(summary: Summary) -> str:
    """Say what the dense net holds and scores."""
    dense = summary["dense"]
    return (
        f"dense {percent(dense.get('test_accuracy'))} % test, {count(dense.get('params'))} "
        f"parameters, {count(dense.get('macs'))} MACs"
    )


def bad_runs(summary: Summary) -> str:
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
    title += replicates(run_counts(summary))

    def make(shown: Sequence[float]) -> Table:
        table = _table(title if shown[0] == ratios[0] else "")
        table.add_column("method", overflow="fold", min_width=10)
        columns = [[found.get(ratio) for _, found in curves] for ratio in shown]
        cells = [_accuracies(column) for column in columns]
        for ratio, column, texts in zip(shown, columns, cells, strict=True):
            sparsity = next(point["sparsity"] for point in column if point is not None)
            heading = f"{ratio_words(ratio)}\n{percent(sparsity)} %"
            widest = max(len(text) for text in texts)
            table.add_column(heading, justify="right", no_wrap=True, min_width=widest)
        for (name, _), row in zip(curves, zip(*cells, strict=True), strict=True):
            table.add_row(*_cells(name), *row)
        return table

    return Group(Fitting(make, ratios), Text(_sweep_caption(summary), style="dim"))


def _sweep_caption(summary: Summary) -> str:
    parts = [
        sweep_setting(summary),
        dense_words(summary),
        "below the ratio: sparsity; accuracies in %, mean ± 95 %",
        "bold: best mean of its column, noise or not",
        bad_runs(summary),
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
                where = [ratio_words(c["compression"]) for c in group if c["outcome"] == outcome]
                parts += [f"{outcome} at {', '.join(where)}"] if where else []
            said.append(f"{one} against {other}: {'; '.join(parts)}.")
        at = ratio_words(group[-1]["compression"])
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
    bad = bad_runs(summary)
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
        f"{summary['study']}: phases over sparsity, {replicates(run_counts(summary))}",
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
