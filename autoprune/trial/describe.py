"""Describe a task to a driver that may not load it; torch-free."""

from __future__ import annotations

from autoprune.core.config import TaskConfig
from autoprune.core.records import TaskInfo
from autoprune.training.probe_client import probe_in_subprocess


def describe_task(task: TaskConfig) -> TaskInfo:
    """Load a task in a process of its own, and return what a search needs to know of it.

    Raises
    ------
    DataError, TaskError, UnknownNameError, ConfigError
        As loading it here would.
    """
    return probe_in_subprocess(task)
