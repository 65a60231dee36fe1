"""A worker: the loaded task, one model, the store, and the function that runs jobs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.config import TaskConfig
from autoprune.core.errors import DataError, TaskError
from autoprune.core.records import Job, TaskInfo
from autoprune.data.taskfile import identify
from autoprune.pruning.view import UnitGroup
from autoprune.stages.base import KeyContext, Numerics
from autoprune.stages.store import Store
from autoprune.training.task import Task, load_task
from autoprune.trial.settings import WorkerSettings, check_place, precision


@dataclass(frozen=True)
class Measured:
    """What was measured of a round's state; the fields are those of `JobResult`."""

    metrics: dict[str, float]
    layers: dict[str, float]
    mask_sha256: str


class WorkerContext:
    """What running stages and jobs use; one per process (implements `stages.base.RunContext`).

    Raises
    ------
    DataError, TaskError
        If the data or the task file is not what the driver saw.
    """

    def __init__(self, settings: WorkerSettings, task: Task | None = None) -> None:
        self.settings = settings
        apply_numerics(settings)
        self.numerics: Numerics = settings.numerics()
        _check_files(settings.task)
        self.task = task or load_task(settings.task, settings.device)
        if self.task.info.fingerprint != settings.fingerprint:
            raise DataError(
                "data",
                "must be the same on the driver and the worker",
                self.task.info.fingerprint[:12],
                f"the driver saw {settings.fingerprint[:12]}; put home and data on a shared path",
            )
        self.store = Store(Path(settings.home) / "store")
        self.keys: KeyContext = settings.key_context()
        self.evaluations: dict[str, dict[str, float]] = {}
        self.measured: dict[tuple[str, frozenset[str]], Measured] = {}

    @cached_property
    def model(self) -> nn.Module:
        """The worker's model instance; stages load weights into it."""
        return self._new_model()

    @cached_property
    def _teacher(self) -> nn.Module:
        return self._new_model()

    @cached_property
    def groups(self) -> tuple[UnitGroup, ...]:
        """The model's removable units."""
        from autoprune.pruning.groups import find_groups

        model = self.task.build_model(0)
        return find_groups(model, torch.zeros(2, *self.task.info.input_shape))

    @cached_property
    def full_info(self) -> TaskInfo:
        """The task's description, with how far each kind of pruning reaches."""
        from autoprune.training.probe import full_info

        return full_info(self.task)

    def _new_model(self) -> nn.Module:
        model = self.task.build_model(0).to(self.settings.device)
        if self.settings.device == "cuda" and len(self.task.info.input_shape) == 3:
            model = model.to(memory_format=torch.channels_last)
        return model

    def second_model(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return the teacher instance, frozen, with the given weights."""
        self._teacher.load_state_dict(weights)
        return self._teacher.eval().requires_grad_(False)


def open_context(
    task: TaskConfig,
    *,
    home: Path,
    top_epochs: int,
    device: str = "cpu",
    threads: int = 1,
    measure: tuple[str, ...] = (),
) -> WorkerContext:
    """Load a task in this process and open a worker on it (runs without a driver)."""
    torch.set_num_threads(threads)
    loaded = load_task(task, device)
    settings = WorkerSettings(
        task=task,
        fingerprint=loaded.info.fingerprint,
        home=str(home),
        top_epochs=top_epochs,
        device=device,  # type: ignore[arg-type] # resolved by the command line
        dtype=precision(device),
        threads=threads,
        measure=measure,
    )
    return WorkerContext(settings, loaded)


def probe_here(settings: WorkerSettings) -> tuple[TaskInfo, Task]:
    """Load a task in this process: what a search needs to know of it, and the task for a worker."""
    from autoprune.training.probe import full_info

    torch.set_num_threads(settings.threads)
    task = load_task(settings.task, settings.device)
    return full_info(task), task


def apply_numerics(settings: WorkerSettings) -> None:
    """Set threads, precision and memory limits of this process."""
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = False
        if settings.memory_fraction:
            torch.cuda.set_per_process_memory_fraction(settings.memory_fraction)


def _check_files(task: TaskConfig) -> None:
    found = identify(task)
    for file, name in (("task_file", "task_sha256"), ("checkpoint", "checkpoint_sha256")):
        if getattr(found, name) != getattr(task, name):
            raise TaskError(
                f"task.{file}",
                "must not change while a study runs",
                remedy="start a new study, or put the file back",
            )


def job_runner(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Open a worker and return its function from a job's JSON to a result's JSON.

    Raises
    ------
    BadInput
        If the data, the task's files or (see `check_place`) the machine are not as the driver's.
    """
    from autoprune.trial.run import run_job

    check_place(settings, platform.node())
    context = WorkerContext(WorkerSettings.from_json(settings))

    def run(job: dict[str, Any]) -> dict[str, Any]:
        return run_job(Job.from_json(job), context).to_json()

    return run
