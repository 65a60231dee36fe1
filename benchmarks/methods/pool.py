"""Run jobs on all cores, one row a job in a file that a later run goes on with."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
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
        for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
            if line.endswith("\n"):
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


def run_all(
    jobs: Iterable[tuple[str, Job]], results: Results, home: Path, top: int, deadline: float
) -> bool:
    """Run what is missing; return whether all is there.

    Parameters
    ----------
    jobs : iterable of (str, Job)
        Labels and jobs.
    deadline : float
        Time (as `time.monotonic`) from which on no job is started.
    """
    missing = [(label, job) for label, job in jobs if results.of(label, job) is None]
    if not missing:
        return True
    workers = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        futures = {
            pool.submit(_run, job.to_json(), str(home), top, deadline): (label, job)
            for label, job in missing
        }
        for number, future in enumerate(as_completed(futures), start=1):
            label, job = futures[future]
            found = future.result()
            if found is None:
                continue
            result = JobResult.from_json(found)
            results.add(_row(label, job, result))
            _tell(number, len(missing), label, job, result)
    return all(results.of(label, job) for label, job in missing)


def _run(job: dict[str, Any], home: str, top: int, deadline: float) -> dict[str, Any] | None:
    """Run a job in a worker process; None when it is too late."""
    from autoprune.trial.context import open_context
    from autoprune.trial.run import run_job

    if time.monotonic() > deadline:
        return None
    parsed = Job.from_json(job)
    name = json.dumps(job["config"]["task"], sort_keys=True)
    if name not in _CONTEXTS:
        task: TaskConfig = parsed.config.task
        _CONTEXTS.clear()
        _CONTEXTS[name] = open_context(task, home=Path(home), top_epochs=top, threads=1)
    return run_job(parsed, _CONTEXTS[name]).to_json()


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
        "wall_s": result.wall_s,
        "metrics": result.metrics,
        "layers": result.layers,
    }


def _tell(number: int, total: int, label: str, job: Job, result: JobResult) -> None:
    accuracy = result.metrics.get("val_accuracy", float("nan"))
    print(
        f"{number}/{total} {label} {job.config.sparsity:g} seed {job.seed}: {result.status}, "
        f"val {accuracy:.4f}, {result.wall_s:.1f} s {result.error}",
        flush=True,
    )
