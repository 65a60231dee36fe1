"""Run jobs on all cores, one row a job in a file that a later run goes on with."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoprune.core.config import TaskConfig
from autoprune.core.records import Job, JobResult

_CONTEXTS: dict[str, Any] = {}


class Results:
    """The rows of all finished jobs.

    Parameters
    ----------
    path : Path
        A file of JSON lines; made when missing. A torn last line is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, dict[str, Any]] = {}
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))  # else the next row would be glued to it
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row["key"]] = row

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows[row["key"]] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def of(self, label: str, job: Job) -> dict[str, Any] | None:
        """Return a finished job's row; one that failed is run again."""
        row = self.rows.get(key_of(label, job))
        return None if row is None or row["status"] == "failed" else row


def key_of(label: str, job: Job) -> str:
    """Name a job: its entry, configuration, length, seed, and whether it read the test split."""
    return f"{label}/{job.trial}/{job.epochs}/{job.seed}/{int(job.test)}"


@dataclass(frozen=True)
class Needs:
    """What a worker is told besides its jobs.

    Parameters
    ----------
    home : str
        Folder of the store.
    top : int
        The top rung.
    deadline : float
        Time (as `time.monotonic`) from which on no job is started.
    measure : tuple of str
        Further figures (`autoprune.trial.settings.FIGURES`).
    structure : bool
        Keep in the row which units and ranks are left, and the share of units after every round.
    """

    home: str
    top: int
    deadline: float
    measure: tuple[str, ...] = ()
    structure: bool = False


def run_all(
    jobs: Iterable[tuple[str, Job]],
    results: Results,
    home: Path,
    top: int,
    deadline: float,
    *,
    measure: tuple[str, ...] = (),
    structure: bool = False,
    inline: bool = False,
) -> bool:
    """Run what is missing; return whether all is there.

    Parameters
    ----------
    jobs : iterable of (str, Job)
        Labels and jobs.
    home, top, deadline, measure, structure
        See `Needs`.
    inline : bool
        Run in this process, one job after the other.
    """
    missing = [(label, job) for label, job in jobs if results.of(label, job) is None]
    if not missing:
        return True
    needs = Needs(str(home), top, deadline, measure, structure)
    finished = _here(missing, needs) if inline else _in_processes(missing, needs)
    for number, (label, job, found) in enumerate(finished, start=1):
        if found is None:
            continue
        result = JobResult.from_json(found["result"])
        results.add(_row(label, job, result) | found["structure"])
        _tell(number, len(missing), label, job, result)
    return all(results.of(label, job) for label, job in missing)


Finished = Iterator[tuple[str, Job, dict[str, Any] | None]]


def _here(jobs: list[tuple[str, Job]], needs: Needs) -> Finished:
    for label, job in jobs:
        yield label, job, _run(job.to_json(), needs)


def _in_processes(jobs: list[tuple[str, Job]], needs: Needs) -> Finished:
    """Yield jobs as they finish, in one process a core."""
    workers = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        futures = {pool.submit(_run, job.to_json(), needs): (label, job) for label, job in jobs}
        for future in as_completed(futures):
            yield *futures[future], future.result()


def _run(job: dict[str, Any], needs: Needs) -> dict[str, Any] | None:
    """Run a job in a worker process; None when it is too late."""
    from autoprune.trial.run import run_job

    if time.monotonic() > needs.deadline:
        return None
    parsed = Job.from_json(job)
    context = context_of(parsed.config.task, needs)
    result = run_job(parsed, context)
    usable = needs.structure and result.status in ("ok", "collapsed")
    return {
        "result": result.to_json(),
        "structure": _structure(parsed, context) if usable else {},
    }


def context_of(task: TaskConfig, needs: Needs) -> Any:
    """Return this process's worker for a task; the last one is kept."""
    from autoprune.trial.context import open_context

    name = json.dumps([asdict(task), needs.home, needs.top, needs.measure], sort_keys=True)
    if name not in _CONTEXTS:
        _CONTEXTS.clear()
        _CONTEXTS[name] = open_context(
            task, home=Path(needs.home), top_epochs=needs.top, threads=1, measure=needs.measure
        )
    return _CONTEXTS[name]


def _structure(job: Job, context: Any) -> dict[str, Any]:
    """Return the units and ranks that are left; the states are in the store."""
    from autoprune.trial.plan import make_plan
    from autoprune.trial.resolve import Resolver

    resolver = Resolver(context)
    states = [resolver.state(stage) for stage in make_plan(job, context.settings.top_epochs)]
    units = [state.structure.units for state in states]
    flags = [[flag for group in kept.values() for flag in group] for kept in units]
    return {
        "units": {name: "".join(map(str, kept)) for name, kept in units[-1].items()},
        "ranks": dict(states[-1].structure.ranks),
        "alive": [sum(kept) / len(kept) if kept else 1.0 for kept in flags],
    }


def _row(label: str, job: Job, result: JobResult) -> dict[str, Any]:
    return {
        "key": key_of(label, job),
        "label": label,
        "model": job.config.task.model,
        "method": job.config.method,
        "target": job.config.sparsity,
        "peak": float(job.config.lr.params.get("peak", job.config.train.lr)),
        "seed": job.seed,
        "status": result.status,
        "error": result.error,
        "epochs": result.epochs_trained + result.epochs_reused,
        "trained": result.epochs_trained,
        "wall_s": result.wall_s,
        "metrics": result.metrics,
        "rounds": [record.metrics for record in result.rounds],
        "layers": result.layers,
    }


def _tell(number: int, total: int, label: str, job: Job, result: JobResult) -> None:
    accuracy = result.metrics.get("val_accuracy", float("nan"))
    print(
        f"{number}/{total} {label} {job.config.sparsity:g} seed {job.seed}: {result.status}, "
        f"val {accuracy:.4f}, {result.wall_s:.1f} s {result.error}",
        flush=True,
    )
