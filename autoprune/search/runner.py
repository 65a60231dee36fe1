"""What runs a study's jobs: a task looked at once, and the workers it is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job, JobResult, TaskInfo
from autoprune.core.registry import load_object
from autoprune.search.executors.base import Asked
from autoprune.search.executors.inline import InlineExecutor
from autoprune.stages.store_files import check_usable
from autoprune.trial.describe import describe_task
from autoprune.trial.settings import WorkerSettings, precision, usable_threads


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where jobs run, and how many at once.

    Parameters
    ----------
    executor : str or None
        ``ray`` or ``inline``; None is ray where there is more than one core.
    ray_address : str or None
        A running cluster to join.
    workers : int or None
        Jobs that run at once; one per core (or GPU share) by default.
    device : str
        ``cpu`` or ``cuda``, resolved.
    gpus_per_job : float
        Share of a GPU that a job takes, on ``cuda``.

    Raises
    ------
    ConfigError
        If a number breaks its rule, or a lone process is to run several jobs.
    """

    executor: Literal["ray", "inline"] | None = None
    ray_address: str | None = None
    workers: int | None = None
    device: str = "cpu"
    gpus_per_job: float = 1.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError("--workers", "must be at least 1", self.workers)
        if self.workers not in {None, 1} and not self.on_ray:
            remedy = "give --executor ray"
            rule = "must be 1 for jobs in one process"
            raise ConfigError("--workers", rule, self.workers, remedy)
        gpus = self.gpus_per_job
        if not 0.0 < gpus <= 1.0 and not (gpus > 1.0 and float(gpus).is_integer()):
            raise ConfigError("--gpus-per-job", "must be in (0, 1], or whole", gpus)

    @property
    def on_ray(self) -> bool:
        """Whether jobs run in Ray's workers."""
        return (self.executor or ("ray" if _cores() > 1 else "inline")) == "ray"

    def with_threads(self, threads: int) -> Workers:
        """Return as many workers as the cores have room for, unless the user said how many.

        Two busy processes with more threads than cores slow a step a hundredfold.
        """
        room = max(1, usable_threads() // threads)
        if self.workers is not None or self.count <= room:
            return self
        return replace(self, workers=room)

    @property
    def count(self) -> int:
        """How many jobs run at once."""
        if not self.on_ray:
            return 1
        if self.workers is not None:
            return self.workers
        if self.device == "cuda":
            gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
            return max(1, int(gpus / self.gpus_per_job))
        return _cores()


class Runner:
    """Looks at a task, and runs an engine's jobs on it.

    Parameters
    ----------
    task : TaskConfig
        With file hashes filled in.
    home : Path
        Folder that holds the store.
    top_epochs : int
        The top rung.
    measure : tuple of str
        Further figures each job measures.

    Raises
    ------
    BadInput
        If the task, its data or the home is not as it must be; nothing is written then.
    """

    def __init__(
        self,
        task: TaskConfig,
        workers: Workers,
        *,
        home: Path,
        top_epochs: int,
        measure: tuple[str, ...] = (),
    ) -> None:
        self.workers = workers
        check_usable(home / "store")
        settings = WorkerSettings(
            task=task,
            fingerprint="",
            home=str(home.resolve()),
            top_epochs=top_epochs,
            device=workers.device,  # type: ignore[arg-type] # resolved by the command line
            dtype=precision(workers.device),
            threads=max(1, usable_threads() // workers.count),
            measure=measure,
        )
        self._task: Any = None
        self._context: Any = None
        self.info: TaskInfo
        if workers.on_ray:
            self.info = describe_task(task)
        else:
            probe: Any = load_object("autoprune.trial.context:probe_here")
            self.info, self._task = probe(settings)
        self.settings = replace(settings, fingerprint=self.info.fingerprint)

    def keep_threads(self, threads: int) -> None:
        """Go on with the threads a study began with: its bits depend on them."""
        self.settings = replace(self.settings, threads=threads)

    def run(self, engine: Asked) -> None:
        """Run an engine's jobs until it is done; Ctrl-C passes on."""
        if self.workers.on_ray:
            self._run_on_ray(engine)
        else:
            InlineExecutor(self._run_inline()).run(engine)

    def _run_on_ray(self, engine: Asked) -> None:
        executor: Any = load_object("autoprune.search.executors.ray:RayExecutor")
        on_gpu = self.settings.device == "cuda"
        executor(
            self.workers.count,
            "autoprune.trial.context:job_runner",
            self.settings.sent(),
            address=self.workers.ray_address,
            gpus_per_job=self.workers.gpus_per_job if on_gpu else 0.0,
        ).run(engine)

    def _run_inline(self) -> Callable[[Job], JobResult]:
        run_job: Any = load_object("autoprune.trial.run:run_job")
        if self._context is None or self._context.settings != self.settings:
            context: Any = load_object("autoprune.trial.context:WorkerContext")
            self._context = context(self.settings, self._task)
        return lambda job: run_job(job, self._context)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
