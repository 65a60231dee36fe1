"""A runner for the executors' tests: what a job does is said by its tag."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoprune.core.errors import DataError
from autoprune.core.records import Job, JobResult


def open_runner(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    folder = Path(settings["folder"])
    if settings.get("refuse"):
        raise DataError("data", "must be there", remedy="fetch it")
    (folder / f"opened-{os.getpid()}-{os.urandom(4).hex()}").touch()

    def run(content: dict[str, Any]) -> dict[str, Any]:
        job = Job.from_json(content)
        with (folder / f"started-{job.number}").open("a") as file:
            file.write("x")
        if job.tag == "raise":
            raise ValueError("no such layer")
        starts = len((folder / f"started-{job.number}").read_text())
        if job.tag == "die" or (job.tag == "die once" and starts == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        facts = {"square": float(job.number**2), "pid": float(os.getpid())}
        facts |= {
            "threads": float(settings["threads"]),
            "omp": float(os.environ["OMP_NUM_THREADS"]),
        }
        return JobResult(job.number, job.trial, "ok", facts).to_json()

    return run
