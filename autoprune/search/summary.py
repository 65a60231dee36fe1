"""From a journal to everything a reader wants to know; a pure function of the events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from autoprune.core.canonical import plain
from autoprune.core.config import TrialConfig
from autoprune.core.records import JobResult, TaskInfo
from autoprune.methods.reach import kind_of
from autoprune.metrics.statistics import accuracy_interval
from autoprune.search.front import (
    Point,
    front,
    hypervolume,
    nondominated,
    points,
    ranks,
    share_of_dense,
    values,
)
from autoprune.search.journal import Event
from autoprune.search.profile import profile
from autoprune.search.state import SEARCH, Record, State

_COUNTS = ("params", "params_nonzero", "macs", "macs_effective")
_DEPLOYED = ("latency_ms", "dense_latency_ms", "size_bytes", "dense_size_bytes")
_MEASURED = ("sparsity", "sparsity_total", *_COUNTS, *_DEPLOYED)


def summarize(events: Sequence[Event]) -> dict[str, Any]:
    """Summarise a study, finished or not.

    Parameters
    ----------
    events : sequence of dict
        The journal, header first.

    Returns
    -------
    dict
        The keys of ``search --json`` but for ``mlflow`` and ``home``, and ``latency`` (what
        ``latency_ms`` was measured with: runtime, device, threads, batch; or None), ``baselines,
        records, hypervolume_curve, confirmed_hypervolume, costs, num_classes, objectives, options,
        task, seed, error``. ``val_ci95`` and ``test_ci95`` are ``[low, high]`` or None. An entry
        also has ``layers`` (kept share by tensor), ``job`` and ``median_job`` (the confirmation run
        of median validation accuracy), ``seeds_used``, ``final_keys`` (store keys by seed),
        ``test_accuracies`` and ``reduction`` (1 - share of dense in the second objective). While
        nothing is confirmed the front is the search's own: seeds 1, no intervals, no test.
    """
    state = State(list(events))
    info = TaskInfo.from_json(state.header["task"])
    objectives = state.header["space"].get("objectives", ["accuracy", "sparsity"])
    found = points(state.searched, objectives, info)
    entries = _confirmed(state, objectives, info) or _unconfirmed(state, found, objectives, info)
    references = _baselines(state, objectives, info)
    done = [r.result for r in state.searched]
    confirmed = [e for e in entries if e["test_accuracy"] is not None]
    return {
        "study": state.header["name"],
        "status": state.status,
        "trials": len({r.trial for r in done if r.status != "failed"}),
        "jobs": len(done),
        "failed": sum(r.status == "failed" for r in done),
        "epochs_trained": state.epochs_trained,
        "epochs_reused": sum(r.result.epochs_reused for r in state.records),
        "wall_s": state.time_s,
        "hypervolume": hypervolume([p.values for p in found]),
        "dense": _dense(references, state, info),
        "latency": (state.header.get("settings") or {}).get("latency"),
        "front": entries,
        "profile": profile(confirmed),
        "baselines": references,
        "records": _records(state.searched, found),
        "hypervolume_curve": _curve(state, objectives, info),
        "confirmed_hypervolume": _confirmed_hypervolume(confirmed, objectives, info),
        "costs": _costs(state),
        "num_classes": info.num_classes,
        "objectives": list(objectives),
        "options": state.header["options"],
        "task": state.header["task"],
        "seed": state.header["seed"],
        "error": next((r.error for r in done if r.status == "failed"), ""),
    }


def _description(config: TrialConfig) -> dict[str, Any]:
    """Return what a configuration is, in an entry's keys."""
    return {
        "trial": config.trial_id,
        "method": config.method,
        "kind": kind_of(config),
        "lr_schedule": config.lr.name,
        "allocation": config.params.get("allocation"),
        "config": plain(config),
    }


def _measures(metrics: dict[str, float]) -> dict[str, Any]:
    """Return an entry's numbers other than accuracies."""
    kept = {name: metrics[name] for name in _MEASURED if name in metrics}
    return {n: round(v) if n in _COUNTS else v for n, v in kept.items()}


def entry_of(config: TrialConfig, results: Sequence[JobResult], info: TaskInfo) -> dict[str, Any]:
    """Return the entry of one trial from its runs: mean accuracies, and the median run's numbers.

    Parameters
    ----------
    config : TrialConfig
        The trial.
    results : sequence of JobResult
        One per seed, none of them failed.
    info : TaskInfo
        The task.

    Returns
    -------
    dict
        The contract's keys, with ``test_accuracy`` None unless every run read the test split;
        and ``layers, final_key, mask_sha256, status`` of the run of median validation accuracy.
    """
    median = median_run(results)
    vals = [r.metrics["val_accuracy"] for r in results]
    tests = [r.metrics["test_accuracy"] for r in results if "test_accuracy" in r.metrics]
    tested = len(tests) == len(results)
    return {
        **_description(config),
        **_measures(median.metrics),
        "val_accuracy": fmean(vals),
        "val_ci95": _interval(vals, info.num_val),
        "test_accuracy": fmean(tests) if tested else None,
        "test_ci95": _interval(tests, info.num_test) if tested else None,
        "test_accuracies": tests,
        "seeds": len(results),
        "layers": median.layers,
        "final_key": median.final_key,
        "final_keys": [r.final_key for r in results],
        "status": median.status,
    }


def median_run(results: Sequence[JobResult]) -> JobResult:
    """Return the run of median validation accuracy, the lower one of an even number."""
    ordered = sorted(results, key=lambda r: (r.metrics["val_accuracy"], r.job))
    return ordered[(len(ordered) - 1) // 2]


def _interval(accuracies: Sequence[float], num_examples: int) -> list[float]:
    found = accuracy_interval(accuracies, num_examples)
    return [max(0.0, found.low), min(1.0, found.high)]


def _entry(records: Sequence[Record], objectives: Sequence[str], info: TaskInfo) -> dict[str, Any]:
    """Return the entry of one trial on several seeds."""
    entry = entry_of(records[0].job.config, [r.result for r in records], info)
    median = median_run([r.result for r in records])
    return {
        **entry,
        "seeds_used": [r.job.seed for r in records],
        "epochs": records[0].job.epochs,
        "job": median.job,
        "median_job": median.job,
        "reduction": 1.0 - share_of_dense(entry, objectives[1], info),
    }


def _groups(records: Iterable[Record]) -> list[list[Record]]:
    """Group finished jobs by trial, in the order of their first jobs; failed ones are left out."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.job.number):
        if record.result.status != "failed":
            groups[record.job.tag, record.job.trial].append(record)
    return list(groups.values())


def _confirmed(state: State, objectives: Sequence[str], info: TaskInfo) -> list[dict[str, Any]]:
    """Return the front of confirmed means, least sparse first."""
    jobs = [r for r in state.records if r.job.purpose == "confirm"]
    entries = [_entry(group, objectives, info) for group in _groups(jobs)]
    kept = nondominated([values(e, objectives, info) for e in entries])
    return sorted((entries[i] for i in kept), key=lambda e: float(e["reduction"]))


def _unconfirmed(
    state: State, found: Sequence[Point], objectives: Sequence[str], info: TaskInfo
) -> list[dict[str, Any]]:
    """Return the search's own front, one run per point."""
    by_job = {record.job.number: record for record in state.searched}
    return [
        {
            **_description(point.config),
            **_measures(dict(point.metrics)),
            "val_accuracy": point.metrics["val_accuracy"],
            **dict.fromkeys(("val_ci95", "test_accuracy", "test_ci95"), None),
            "test_accuracies": [],
            "seeds": 1,
            "seeds_used": [by_job[point.job].job.seed],
            "epochs": point.epochs,
            "layers": {} if point.config.stop_round else by_job[point.job].result.layers,
            "job": point.job,
            "median_job": point.job,
            "final_key": "" if point.config.stop_round else by_job[point.job].result.final_key,
            "final_keys": [],
            "status": "ok",
            "reduction": 1.0 - share_of_dense(point.metrics, objectives[1], info),
        }
        for point in front(found)
    ]


def _baselines(state: State, objectives: Sequence[str], info: TaskInfo) -> list[dict[str, Any]]:
    """Return the baselines; of one kind at one sparsity the better by validation stays."""
    best: dict[tuple[str, float], dict[str, Any]] = {}
    for group in _groups(r for r in state.records if r.job.purpose == "baseline"):
        job = group[0].job
        entry = {**_entry(group, objectives, info), "baseline": job.tag}
        place = (job.tag, job.config.sparsity)
        if place not in best or entry["val_accuracy"] > best[place]["val_accuracy"]:
            best[place] = entry
    return list(best.values())


def _dense(references: Sequence[dict[str, Any]], state: State, info: TaskInfo) -> dict[str, Any]:
    """Return the dense model: confirmed, or as the search's jobs saw it."""
    fixed = {"params": info.params, "macs": info.macs}
    for entry in references:
        if entry["baseline"] == "dense":
            keys = ("val_accuracy", "val_ci95", "test_accuracy", "test_ci95", "seeds")
            return {**{key: entry[key] for key in keys}, **fixed}
    seen = [r.result.metrics.get("dense_val_accuracy", 0.0) for r in state.searched]
    known = next((accuracy for accuracy in seen if accuracy), None)
    return {"val_accuracy": known, "test_accuracy": None, **fixed}


def _records(searched: Sequence[Record], found: Sequence[Point]) -> list[dict[str, Any]]:
    """Return a row per finished search job and per round, in order; failed jobs have no metrics."""
    layer = {
        _place(p): rank for p, rank in zip(found, ranks([p.values for p in found]), strict=True)
    }
    on_front = {_place(p) for p in front(found)}
    rows = []
    for record in searched:
        result, config = record.result, record.job.config
        mine = [p for p in found if p.job == result.job] or [
            Point(config, result.job, record.job.epochs, result.metrics, ())
        ]
        for point in mine:
            whole = point.config == config
            rows.append(
                {
                    **_description(point.config),
                    **_measures(dict(point.metrics)),
                    "job": result.job,
                    "purpose": record.job.purpose,
                    "sparsity": point.metrics.get("sparsity", config.sparsity),
                    "val_accuracy": point.metrics.get("val_accuracy"),
                    "epochs": point.epochs,
                    "status": result.status,
                    "pareto_rank": layer.get(_place(point)),
                    "on_front": _place(point) in on_front,
                    "layers": result.layers if whole else {},
                    "epochs_trained": result.epochs_trained if whole else 0.0,
                    "epochs_reused": result.epochs_reused if whole else 0.0,
                    "error": result.error,
                }
            )
    return rows


def _place(point: Point) -> tuple[int, int | None]:
    return point.job, point.config.stop_round


def _curve(state: State, objectives: Sequence[str], info: TaskInfo) -> list[list[float]]:
    """Return the search's hypervolume by epochs spent; it never falls."""
    rows: list[tuple[float, ...]] = []
    curve, spent = [], 0.0
    for record in state.records:
        spent += record.result.epochs_trained
        if record.job.purpose in SEARCH:
            rows += [p.values for p in points([record], objectives, info)]
            rows = [rows[i] for i in nondominated(rows)]
            curve.append([spent, hypervolume(rows)])
    return curve


def _confirmed_hypervolume(
    confirmed: Sequence[dict[str, Any]], objectives: Sequence[str], info: TaskInfo
) -> float | None:
    """Return the hypervolume of the confirmed front on the test split."""
    if not confirmed:
        return None
    return hypervolume([values(e, objectives, info, "test") for e in confirmed])


def _costs(state: State) -> dict[str, Any]:
    """Return what was spent, in all and by purpose."""
    purposes: dict[str, dict[str, float]] = {}
    stages = [stage for r in state.records for stage in r.result.stages]
    for record in state.records:
        cost = purposes.setdefault(
            record.job.purpose,
            {"jobs": 0, "epochs_trained": 0.0, "epochs_reused": 0.0, "wall_s": 0.0},
        )
        cost["jobs"] += 1
        for key in ("epochs_trained", "epochs_reused", "wall_s"):
            cost[key] += getattr(record.result, key)
    return {
        "epochs_trained": state.epochs_trained,
        "epochs_reused": sum(r.result.epochs_reused for r in state.records),
        "wall_s": state.time_s,
        "train_macs": sum(r.result.train_macs for r in state.records),
        "stages_reused": sum(stage.reused for stage in stages),
        "stages_total": len(stages),
        "by_purpose": purposes,
    }
