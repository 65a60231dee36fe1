"""What a Ray worker process does: open its context once, then run jobs."""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from autoprune.core.errors import AutoPruneError, BadInput, StudyError
from autoprune.core.records import JobResult
from autoprune.core.registry import load_object

Runner = Callable[[dict[str, Any]], dict[str, Any]]


def make_trainable(setup: str, settings: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return the Tune function that runs ``config["job"]`` in a worker and reports its result."""
    opened = json.dumps(settings)
    # A reused cluster keeps its processes: what an earlier search opened is not this one's.
    search = uuid.uuid4().hex

    def autoprune_job(config: dict[str, Any]) -> None:
        from ray import tune

        tune.report(run_in_worker(search, setup, opened, config["job"]))

    return autoprune_job


def run_in_worker(search: str, setup: str, settings: str, job: str) -> dict[str, Any]:
    """Run one job in this process: ``{"result": JSON}``, or ``{"refusal": exception}``."""
    try:
        runner = _open(search, setup, settings)
    except BadInput as error:
        return {"refusal": error}
    except Exception as error:  # noqa: BLE001 - it goes to the driver, which raises it
        text = "".join(traceback.format_exception_only(error)).strip()
        return {"refusal": AutoPruneError(f"a worker could not start: {text}")}
    content = json.loads(job)
    try:
        return {"result": json.dumps(runner(content))}
    except StudyError as error:  # the home cannot be written: the job can run again later
        return {"refusal": error}
    except Exception as error:  # noqa: BLE001 - an exception inside a job is a result
        text = "".join(traceback.format_exception_only(error)).strip()
        return {"result": json.dumps(failed_result(content, text).to_json())}


@cache
def _open(search: str, setup: str, settings: str) -> Runner:
    """Open this process's runner, once per search."""
    opener: Any = load_object(setup)
    runner: Runner = opener(json.loads(settings))
    return runner


def failed_result(job: dict[str, Any], error: str) -> JobResult:
    """Build the result of a job (as JSON) that ended in an exception or lost its process."""
    return JobResult(job["number"], job["trial"], "failed", error=error)
