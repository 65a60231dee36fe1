"""The doctor's findings and latencies, reworded for tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core.errors import few
from autoprune.report.words import TIMES, count, percent
from autoprune.search.engine import by_reason

Row = dict[str, Any]


def latency_rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return rows of `RuntimeReport` with medians and, in brackets, 90th percentiles."""
    return [_latency(row) for row in rows]


def _latency(row: Mapping[str, Any]) -> Row:
    said: Row = {
        "runtime": f"{row['runtime']} {row['device']}",
        "threads": row["threads"],
        "batch": row["batch"],
    }
    for model in ("dense", "pruned"):
        if f"{model}_p50_ms" in row:
            times = (row[f"{model}_p50_ms"], row[f"{model}_p90_ms"])
            said[f"{model} ms (p90)"] = f"{times[0]:.3g} ({times[1]:.3g})"
    if "speedup" in row:
        said["speed-up"] = f"{row['speedup']:.2f}{TIMES}"
    return said


def readable(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `examine` found as sections of short texts and rows."""
    said = dict(found)
    for key, word in _SECTIONS.items():
        if key in said:
            said[key] = word(said[key])
    renamed = {_TITLES.get(key, key): value for key, value in said.items()}
    return {key: value for key, value in renamed.items() if value not in ([], {}, "")}


def _task(task: Mapping[str, Any]) -> Row:
    """Leave out what has a table of its own, and the count of warnings that there are not."""
    return {k: v for k, v in task.items() if k != "reach" and v not in ([], None)}


def _layers(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        {
            "layer": row["name"],
            "shape": "x".join(map(str, row["shape"])),
            "kind": row["kind"],
            "weights": row["weights"],
            "MACs": count(row["macs"]),
        }
        for row in rows
    ]


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        {"made by": few(row["make"]), "units": row["units"], "read by": few(row["read"])}
        for row in rows
    ]


def _stay(reasons: Mapping[str, str]) -> list[Row]:
    return [
        {"why": reason, "layers": ", ".join(names)} for reason, names in by_reason(reasons).items()
    ]


def _rank_stays(names: Sequence[str]) -> list[Row]:
    return [{"layers": ", ".join(names)}] if names else []


def _removable(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    none = "no limit of the model's"
    return [
        {
            "kind": str(row["kind"]).replace("_", " "),
            "sparsity": none if row["sparsity"] is None else f"{percent(row['sparsity'])} %",
            "MACs removed": f"{percent(row['macs_removed'])} %",
        }
        for row in rows
    ]


def _tied(names: Sequence[Sequence[str]]) -> list[Row]:
    return [{"one tensor": " = ".join(group)} for group in names]


def _not_prunable(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [{"what": row["what"], "parameters": row["params"]} for row in rows]


_SECTIONS: dict[str, Any] = {
    "task": _task,
    "layers": _layers,
    "groups": _groups,
    "units_stay": _stay,
    "rank_stays": _rank_stays,
    "tied": _tied,
    "not_prunable": _not_prunable,
    "removable": _removable,
    "latency": latency_rows,
}

_TITLES = {
    "groups": "units that can be removed (coupled layers lose theirs together)",
    "units_stay": "units that stay",
    "rank_stays": "never factorised",
    "tied": "tied weights (counted and pruned once)",
    "attention": "attention",
    "not_prunable": "parameters that no method removes by themselves",
    "removable": "the most that each kind of pruning can remove",
    "latency": "latency of the dense model",
    "latency_left_out": "latency not measured",
}
