"""Run jobs on Ray Tune: one Tune trial per job, handed out by a searcher that asks the engine.

Tune's own state is never restored: a restart replays the journal and starts anew. Workers are
processes that live as long as the search and open their context once.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from autoprune.core.errors import ConfigError
from autoprune.search.executors.base import Asked
from autoprune.search.signals import Interruption

MAX_FAILURES = 2
_OBJECT_STORE_BYTES = 100_000_000
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # printed to stdout; we log it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def threads_per_job(workers: int) -> int:
    """Return the threads of one job: this machine's usable cores over the workers, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


class RayExecutor:
    """Run an engine's jobs in Ray worker processes.

    Parameters
    ----------
    workers : int
        Jobs that run at once.
    setup : str
        ``"module:function"``: called once per worker process with `settings`; returns the
        function from a job's JSON to a result's JSON.
    settings : dict
        Plain JSON for `setup`. ``threads`` (cores / workers) and, on a GPU, ``memory_fraction``
        (`gpus_per_job`) are added unless they are there.
    address : str, optional
        A running cluster to join, in Ray's notation; otherwise Ray is started here and stopped
        at the end, or used as it is when the process has already connected to one.
    gpus_per_job, cpus_per_job : float
        Resources one job holds; a GPU share in (0, 1] goes with the same share of its memory.
    """

    def __init__(
        self,
        workers: int,
        setup: str,
        settings: dict[str, Any],
        address: str | None = None,
        gpus_per_job: float = 0.0,
        cpus_per_job: float = 1.0,
    ) -> None:
        self.workers, self.setup, self.address = workers, setup, address
        self.resources = {"cpu": cpus_per_job}
        self.settings = {"threads": threads_per_job(workers), **settings}
        if gpus_per_job:
            self.resources["gpu"] = gpus_per_job
            if not self.settings.get("memory_fraction"):
                self.settings["memory_fraction"] = min(gpus_per_job, 1.0)

    def run(self, engine: Asked) -> None:
        """Ask the engine for jobs until it is done, and record every result with it.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C or SIGTERM, once no more jobs are handed out and the workers are stopped;
            jobs that were out are lost and are issued again on resume.
        BadInput
            As a worker raised it when it opened its context.
        ConfigError
            If there is no cluster at `address`, or it does not let this process in.
        AutoPruneError
            If a worker could not open its context for any other reason.
        """
        with ExitStack() as stack:
            stack.enter_context(_environment(_QUIET))
            import ray  # reads its environment on import

            stack.enter_context(_quiet_logs())
            interruption = stack.enter_context(Interruption())
            storage = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="autoprune-", ignore_cleanup_errors=True)
            )
            owns_ray = not ray.is_initialized()
            if owns_ray:
                stack.callback(ray.shutdown)
                self._connect()
                interruption.listen()  # Ray has taken SIGTERM, and would print a stack
            self._tune(engine, storage, interruption.event, owns_ray)

    def trainable(self) -> Any:
        """Return the Tune function of one job, with the resources it asks for."""
        from ray import tune

        from autoprune.search.executors.ray_worker import make_trainable

        return tune.with_resources(make_trainable(self.setup, self.settings), self.resources)

    def _connect(self) -> None:
        import ray

        threads = str(self.settings["threads"])
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": dict.fromkeys(_THREAD_VARIABLES, threads)},
            "logging_level": logging.ERROR,
            "log_to_driver": False,
        }
        if self.address is None:
            options |= {
                "num_cpus": max(1, round(self.workers * self.resources["cpu"])),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
            }
        try:
            ray.init(address=self.address or "local", **options)
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            if self.address is None:
                raise
            raise ConfigError(
                "--ray-address",
                f"must be a running cluster that lets this process in ({str(error).strip()})",
                self.address,
                "start one (`ray start --head`); if it wants a token, set RAY_AUTH_MODE=token",
            ) from error

    def _tune(
        self, engine: Asked, storage: str, interrupted: threading.Event, owns_ray: bool
    ) -> None:
        from ray import tune

        from autoprune.search.executors.ray_searcher import EngineSearcher, Stop, Watch

        searcher = EngineSearcher(engine, MAX_FAILURES)
        tuner = tune.Tuner(
            self.trainable(),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=self.workers,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="jobs",
                storage_path=storage,
                failure_config=tune.FailureConfig(max_failures=0),  # the searcher tries again
                verbose=0,
                callbacks=[Watch(interrupted, searcher, owns_ray)],
            ),
        )
        try:
            tuner.fit()
        except Stop:
            raise (searcher.failure or KeyboardInterrupt()) from None


def _trial_name(trial: Any) -> str:
    return f"job_{trial.trial_id}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for as long as the search runs; the user's own win."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence Ray's loggers: what matters of them, we log."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
