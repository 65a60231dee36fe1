from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.config import TaskConfig, TrainConfig, TrialConfig
from autoprune.core.records import Job
from autoprune.data.taskfile import identify
from autoprune.export.folder import export_job
from autoprune.methods.base import complete
from autoprune.trial.context import WorkerContext, open_context

Start = Callable[..., tuple[Job, WorkerContext]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A job of one epoch and the worker for it; all share one store."""
    home = tmp_path_factory.mktemp("home")

    def make(
        method: str = "magnitude",
        sparsity: float = 0.9,
        params: dict[str, Any] | None = None,
        **task: Any,
    ) -> Any:
        config = TrialConfig(
            task=identify(TaskConfig(**task)),
            train=TrainConfig(epochs=1, lr=0.05),
            method=method,
            sparsity=sparsity,
            params=params or {},
        )
        config = complete(config)
        context = open_context(config.task, home=home, top_epochs=1)
        return Job(0, config, 1, 0, "run", test=True), context

    return make


@pytest.fixture(scope="session")
def exported(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits on the mlp at 90 %, in every format. Read it, never write to it."""
    out = tmp_path_factory.mktemp("out") / "model"
    job, context = start()
    export_job(replace(job, epochs=2), context, out, figures={"val_accuracy": 0.5}, study="digits")
    return out


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))
