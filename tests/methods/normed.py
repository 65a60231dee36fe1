"""The net that methods are tested on which refuse the mlp: one with batch norms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.errors import BadInput
from autoprune.core.records import LayerInfo, TaskInfo
from autoprune.data.taskfile import identify
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.plan import check_fit
from tests.methods.support import job

NORMED = identify(TaskConfig(task_file=str(Path(__file__).with_name("normed_task.py"))))


# What methods ask of the mlp on digits; loading it would take seconds whenever tests are collected.
MLP = TaskInfo(
    num_train=1077,
    num_val=360,
    num_test=360,
    num_classes=10,
    input_shape=(1, 8, 8),
    layers=tuple(
        LayerInfo(f"fc{number}.weight", (out, size), "linear", out * size)
        for number, (out, size) in enumerate(((300, 64), (100, 300), (10, 100)), start=1)
    ),
    params=50_610,
    macs=50_200,
    fingerprint="",
)


def task_for(method: str) -> TaskConfig:
    """The mlp, or the net with norms where the method refuses it."""
    try:
        check_fit(job(method).config, MLP)
    except BadInput:
        return NORMED
    return TASK


@pytest.fixture(scope="session")
def normed_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerContext]:
    threads = torch.get_num_threads()
    yield open_context(NORMED, home=tmp_path_factory.mktemp("normed"), top_epochs=TOP, threads=1)
    torch.set_num_threads(threads)


class OnNorms:
    """Stands before `MethodContract` where the mlp is refused."""

    task: ClassVar[TaskConfig] = NORMED

    @pytest.fixture
    def digits_context(self, normed_context: WorkerContext) -> WorkerContext:
        return normed_context
