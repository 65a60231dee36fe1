"""Every number behind the page, one a line: part, setting, label, target, seed, what, value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.methods.pool import Results
from benchmarks.methods.table import Row
from benchmarks.structured.catalogue import Scale
from benchmarks.structured.found import Found

Line = list[Any]
METRICS = (
    "before_test_accuracy", "val_accuracy", "test_accuracy", "macs", "params", "size_bytes",
    "dense_size_bytes", "sparsity", "log/i_spasp_degenerate",
)  # fmt: skip


def every_number(scale: Scale, results: Results) -> Iterator[Line]:
    """Yield what there is; a latency's repetition and a draw stand where a seed does."""
    parts = [*(("A", s) for s in scale.tables), ("B", scale.drops), ("D", scale.wide)]
    for part, setting in parts:
        found = Found.of(results, setting)
        for row in found.rows:
            place = [part, setting.name, row["label"], row["target"], row["seed"]]
            yield from ([*place, what, value] for what, value in _trial(row))
        yield from ([part, setting.name, *line] for line in _times(found))
    yield from _pursuit(results.rows.get(f"pursuit/{scale.draws}"))
    row = results.rows.get(f"counts/{scale.deep}", {"found": []})
    for one in row["found"]:
        place = ["C", row["net"], "lrpet", one["share"], ""]
        yield from ([*place, what, one[what]] for what in ("macs", "weights"))


def _trial(row: Row) -> Iterator[tuple[str, Any]]:
    yield "status", row["status"]
    yield from ((name, row["metrics"][name]) for name in METRICS if name in row["metrics"])
    if row["rounds"]:
        for number, metrics in enumerate([*row["rounds"], row["metrics"]], start=1):
            if "test_accuracy" in metrics:
                yield f"test_accuracy/{number}", metrics["test_accuracy"]
        yield from ((f"alive/{n}", share) for n, share in enumerate(row.get("alive", []), start=1))


def _times(found: Found) -> Iterator[Line]:
    for target, times in found.times.items():
        nets = {label: found.net(label, target) for label in found.at(target)}
        for label, net in {"dense": "dense", **nets}.items():
            for one in (t for t in times if t["net"] == net):
                place = [label, target, one["repeat"]]
                yield from ([*place, f"{p}/{one['batch']}", one[p]] for p in ("p50_ms", "p90_ms"))


def _pursuit(row: dict[str, Any] | None) -> Iterator[Line]:
    for rule, by in row["residuals"].items() if row else ():
        for count, draws in zip(row["kept"], by, strict=True) if row else ():
            place = ["B", "pursuit", rule, count]
            yield from ([*place, n, "residual", value] for n, value in enumerate(draws))
    for p, slopes in row["falls"].items() if row else ():
        place = ["B", "pursuit", "i_spasp", p]
        yield from ([*place, n, "fall", value] for n, value in enumerate(slopes))
