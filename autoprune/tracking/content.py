"""What the mirror shows, as plain values: pure functions of a journal and its summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.core.canonical import digest
from autoprune.search.journal import Event
from autoprune.search.state import SEARCH

Summary = Mapping[str, Any]

MAX_CHILDREN = 90
"""MLflow's compare view fails above 100 runs."""

_FIGURES = (
    *("trials", "jobs", "failed", "epochs_trained", "epochs_reused", "wall_s"),
    "confirmed_hypervolume",
)
_TABLE = (
    *("trial", "sparsity", "val_accuracy", "pareto_rank", "on_front", "method", "allocation"),
    *("lr_schedule", "epochs", "status", "kind", "macs_effective", "job"),
)


@dataclass(frozen=True)
class Value:
    """One point of a metric; `time_s` counts from the start of the study."""

    key: str
    value: float
    step: int
    time_s: float


@dataclass(frozen=True)
class Child:
    """One trial as a child run."""

    key: str
    name: str
    start_s: float
    end_s: float
    failed: bool
    values: tuple[Value, ...]
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Hash of what the run shows; when it was written does not count."""
        values = [(value.key, value.value, value.step) for value in self.values]
        return digest([self.name, values, self.tags, self.params])[:16]


def study_params(summary: Summary) -> dict[str, str]:
    """Return the study's parameters: its options, its objectives and what it runs on."""
    task = summary["task"]
    values = {
        **summary["options"],
        "seed": summary["seed"],
        "objectives": ",".join(summary["objectives"]),
        "num_train": task["num_train"],
        "dense_params": task["params"],
        "dense_macs": task["macs"],
    }
    return {key: str(value) for key, value in values.items()}


def figures(summary: Summary) -> dict[str, float]:
    """Return the study's own metrics as they stand."""
    found = {name: summary.get(name) for name in _FIGURES}
    dense = summary["dense"]
    found |= {f"dense_{name}": dense.get(name) for name in ("val_accuracy", "test_accuracy")}
    found["front_points"] = len(summary["front"])
    return finite(found)


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a finite number, as floats."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def hypervolume_values(events: Sequence[Event], summary: Summary) -> list[Value]:
    """Return the hypervolume after every search job; the step is the epochs spent so far."""
    purposes = {e["job"]["number"]: e["job"]["purpose"] for e in events if e["event"] == "job"}
    times = [
        e["time"]
        for e in events
        if e["event"] == "result" and purposes[e["result"]["job"]] in SEARCH
    ]
    return [
        Value("hypervolume", float(volume), int(epochs), time)
        for (epochs, volume), time in zip(summary["hypervolume_curve"], times, strict=True)
    ]


def children(events: Sequence[Event], summary: Summary, study_key: str) -> list[Child]:
    """Return the best trials, at most `MAX_CHILDREN`: the front first, then by Pareto rank."""
    ends = {
        e["result"]["job"]: (e["time"], e["result"]["wall_s"])
        for e in events
        if e["event"] == "result"
    }
    front = {entry["trial"]: entry for entry in summary["front"]}
    trials: dict[str, list[dict[str, Any]]] = {}
    for row in summary["records"]:
        trials.setdefault(row["trial"], []).append(row)
    for rows in trials.values():
        rows.sort(key=lambda row: (row["epochs"], row["job"]))
    ordered = sorted(trials.values(), key=lambda rows: _order(rows[-1], front))
    now_s = events[-1]["time"]
    confirmed = front if summary["status"] == "complete" else {}
    return [
        _child(rows, front, ends, study_key, now_s, _confirmed(confirmed.get(rows[-1]["trial"])))
        for rows in ordered[:MAX_CHILDREN]
    ]


def _order(row: Mapping[str, Any], front: Mapping[str, Any]) -> tuple[bool, float, float, int]:
    rank = row["pareto_rank"]
    return (
        row["trial"] not in front,
        math.inf if rank is None else rank,
        -row["epochs"],
        row["job"],
    )


def _child(
    rows: Sequence[Mapping[str, Any]],
    front: Mapping[str, Any],
    ends: Mapping[int, tuple[float, float]],
    study_key: str,
    now_s: float,
    confirmed: Mapping[str, Any],
) -> Child:
    """Return a trial's run.

    A metric of MLflow cannot be taken back, so what the search may still change stands at step 0,
    where the last value counts, and confirmed means are told once the confirmation is over: a
    study that was cut and copied at any moment ends as one that was copied once.
    """
    last, entry = rows[-1], front.get(rows[-1]["trial"])
    ranks = [row["pareto_rank"] for row in rows if row["pareto_rank"] is not None]
    values = [value for row in rows for value in _row_values(row, ends[row["job"]][0])]
    end_s = max(ends[row["job"]][0] for row in rows)
    standing = {"pareto_rank": ranks[-1] if ranks else None, **confirmed}
    values += [Value(key, value, 0, now_s) for key, value in finite(standing).items()]
    tags = {
        "autoprune.pareto": "true" if entry else "false",
        "autoprune.trial": last["trial"],
        "autoprune.status": last["status"],
        **{key: str(last[key]) for key in ("method", "kind", "lr_schedule", "allocation")},
    }
    if last.get("error"):
        tags["autoprune.error"] = str(last["error"])[:5000]
    return Child(
        key=f"{study_key}/{last['trial']}",
        name=f"{last['method']} {100 * last['sparsity']:.1f}% {last['trial'][:4]}",
        start_s=max(0.0, min(ends[row["job"]][0] - ends[row["job"]][1] for row in rows)),
        end_s=end_s,
        failed=last["status"] == "failed",
        values=tuple(values),
        tags=tags,
        params=trial_params(last["config"]),
    )


def _row_values(row: Mapping[str, Any], time_s: float) -> Iterable[Value]:
    """Yield what one job measured; a promoted trial has several steps."""
    found = finite({key: row.get(key) for key in ("val_accuracy", "macs_effective", "epochs")})
    if row["val_accuracy"] is not None:
        found |= {"sparsity": row["sparsity"], "log10_density": math.log10(1 - row["sparsity"])}
    return [Value(key, value, int(row["epochs"]), time_s) for key, value in found.items()]


def _confirmed(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a confirmed point's means over fresh seeds."""
    if entry is None or entry["test_accuracy"] is None:
        return {}
    return {
        "confirmed_val_accuracy": entry["val_accuracy"],
        "test_accuracy": entry["test_accuracy"],
        "confirmed_seeds": entry["seeds"],
    }


def trial_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the search chose of a trial, flat: ``lr.peak``, ``recipe.distill``, ..."""
    parts = {
        "": {"method": config["method"], "sparsity_target": config["sparsity"], **config["params"]},
        "lr.": {"schedule": config["lr"]["name"], **config["lr"]["params"]},
        "recipe.": {k: v for k, v in config["recipe"].items() if v is not None},
    }
    if config.get("stop_round") is not None:
        parts[""]["stop_round"] = config["stop_round"]
    return {
        f"{prefix}{key}": str(value)
        for prefix, part in parts.items()
        for key, value in part.items()
    }


def trials_table(summary: Summary) -> dict[str, Any]:
    """Return every finished search job, in the form MLflow's table viewer reads."""
    rows = [[row.get(column) for column in _TABLE] for row in summary["records"]]
    return {"columns": list(_TABLE), "data": rows}


def note(summary: Summary, home: str) -> str:
    """Return the description of the study's run: where it stands, its front, what to type next."""
    confirmed = any(entry["test_accuracy"] is not None for entry in summary["front"])
    state = "confirmed on fresh seeds" if confirmed else "not confirmed yet: one seed, no test"
    study = summary["study"]
    lines = [
        f"**{study}** ({summary['status']}): {summary['trials']} trials, "
        f"{summary['epochs_trained']:.0f} epochs trained, {summary['epochs_reused']:.0f} reused, "
        f"hypervolume {summary['hypervolume']:.4f}. "
        "Artifacts: `pareto.html` is the interactive front, `trials.json` lists every job.",
        "",
        f"Export the best trade-off: `autoprune export {study} --home {home} --out exported`, "
        "or one row of the table with `--trial TRIAL`.",
        "",
        f"### Front, {state}",
        "",
        "| sparsity | validation accuracy | test accuracy | method | allocation | LR schedule "
        "| trial |",
        "|---:|---:|---:|---|---|---|---|",
        *(_note_row(entry) for entry in [*_dense_rows(summary["dense"]), *summary["front"]]),
    ]
    return "\n".join(lines)


def _dense_rows(dense: Mapping[str, Any]) -> list[dict[str, Any]]:
    if dense.get("val_accuracy") is None:
        return []
    return [{**dense, "sparsity": 0.0, "method": "dense"}]


def _note_row(entry: Mapping[str, Any]) -> str:
    cells = [
        f"{100 * entry['sparsity']:.1f} %",
        *(_accuracy(entry, split) for split in ("val", "test")),
        *(str(entry.get(key) or "") for key in ("method", "allocation", "lr_schedule")),
        f"`{entry['trial']}`" if "trial" in entry else "",
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(entry: Mapping[str, Any], split: str) -> str:
    mean, interval = entry.get(f"{split}_accuracy"), entry.get(f"{split}_ci95")
    if mean is None:
        return ""
    shown = f"{100 * mean:.2f} %"
    return f"{shown} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else shown
