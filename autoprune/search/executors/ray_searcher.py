"""Tune's side of the executor; importing this imports Ray.

Tune pickles searchers and callbacks to restore them; ours keep nothing, the journal being the
only truth.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.search import Searcher

from autoprune.core.errors import AutoPruneError
from autoprune.core.records import Job, JobResult
from autoprune.search.executors.ray_worker import failed_result

if TYPE_CHECKING:
    from autoprune.search.executors.base import Asked

LOOK_EVERY_S = 5.0
LOST = "search: Ray's own process has died; the same command with --resume goes on from here"

_LOG = logging.getLogger(__name__)


class Stop(Exception):  # noqa: N818 - a signal, not an error
    """Ends Tune's loop; Tune then takes its actors down."""


class Watch(tune.Callback):  # type: ignore[misc] # ray is untyped
    """Ends the search between two steps of Tune: after Ctrl-C, or when it cannot go on.

    Parameters
    ----------
    interrupted : threading.Event
        Set by Ctrl-C.
    searcher : EngineSearcher
        Its `failure` ends the search too.
    owns_ray : bool
        Whether Ray ends with the search, so that Ctrl-C need not wait for the actors.
    """

    def __init__(
        self, interrupted: threading.Event, searcher: EngineSearcher, owns_ray: bool
    ) -> None:
        self._interrupted, self._searcher, self._owns_ray = interrupted, searcher, owns_ray
        self._looked_s = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise if there is a reason to."""
        if self._owns_ray and time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                # Tune would wait for ever for a node to start the workers on.
                self._searcher.failure = AutoPruneError(LOST)
        if self._interrupted.is_set() and self._owns_ray:
            raise KeyboardInterrupt
        if self._interrupted.is_set() or self._searcher.failure is not None:
            raise Stop

    def __getstate__(self) -> dict[str, Any]:
        return {}


class EngineSearcher(Searcher):  # type: ignore[misc] # ray is untyped
    """Hands out the engine's jobs and records their results, each once.

    Parameters
    ----------
    engine : Asked
        Asked from Tune's event loop, so its answers must be quick.
    max_failures : int
        How often a job is started again whose process died.

    Notes
    -----
    A job that lost its process is handed out again as a new Tune trial. Tune's own recovery gives
    a trial up at once when the process dies that it is about to reuse.
    """

    def __init__(self, engine: Asked, max_failures: int) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._engine, self._max_failures = engine, max_failures
        self._out: dict[str, dict[str, Any]] = {}
        self._again: list[dict[str, Any]] = []
        self._deaths: Counter[int] = Counter()
        self._waits = False

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """Return a job as a Tune configuration, None to wait, or ``FINISHED``."""
        if self.failure is not None:
            return None
        if self._again:
            return self._hand_out(trial_id, self._again.pop(0))
        # Until something is recorded the engine's answer stays the same: it is not asked.
        if self._waits:
            return None
        job = self._engine.next()
        if isinstance(job, Job):
            return self._hand_out(trial_id, job.to_json())
        self._waits = bool(self._out)
        return None if self._waits else str(Searcher.FINISHED)

    def _hand_out(self, trial_id: str, job: dict[str, Any]) -> dict[str, str]:
        self._out[trial_id] = job
        return {"job": json.dumps(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record a finished job, or one whose process died once too often; else start it again."""
        job = self._out.pop(trial_id)
        self._waits = False
        if error or result is None:
            self._deaths[job["number"]] += 1
            if self._deaths[job["number"]] <= self._max_failures:
                _LOG.warning("job %d lost its worker process and is started again", job["number"])
                self._again.append(job)
                return
        try:
            self._record(job, None if error else result)
        except Exception as failure:  # noqa: BLE001 - Tune would swallow it; `Watch` raises it
            self.failure = failure

    def _record(self, job: dict[str, Any], result: dict[str, Any] | None) -> None:
        if result is None:
            text = f"its worker process died {self._max_failures + 1} times"
            self._engine.record(failed_result(job, text))
        elif "refusal" in result:
            refusal: AutoPruneError = result["refusal"]
            raise refusal
        else:
            self._engine.record(JobResult.from_json(json.loads(result["result"])))

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Keep nothing."""

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
