from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoprune.core.errors import DataError, TaskError
from autoprune.data.taskfile import identify
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context, probe_here
from autoprune.trial.settings import WorkerSettings, precision
from autoprune.trial.sources import sources_sha256

TASK_FILE = """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def train_data():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()

def val_data():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long()
"""


def test_other_data_than_the_driver_s_is_refused(digits_context: WorkerContext) -> None:
    settings = replace(digits_context.settings, fingerprint="f" * 64)
    with pytest.raises(DataError, match=r"must be the same on the driver and the worker.*shared"):
        WorkerContext(settings, digits_context.task)


def test_a_changed_task_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(TASK_FILE)
    task = identify(replace(TASK, task_file=str(file)))
    settings = WorkerSettings(task=task, fingerprint="", home=str(tmp_path / "home"))
    info, loaded = probe_here(settings)
    assert loaded.info.fingerprint == info.fingerprint
    assert info.num_prunable == 48
    assert not (tmp_path / "home").exists(), "looking writes nothing"
    file.write_text(TASK_FILE.replace("8", "9"))
    with pytest.raises(TaskError, match=r"task\.task_file must not change while a study runs"):
        WorkerContext(replace(settings, fingerprint=info.fingerprint))


def test_settings_travel_as_json(digits_context: WorkerContext) -> None:
    settings = replace(digits_context.settings, measure=("size_bytes",), threads=3)
    assert WorkerSettings.from_json(settings.to_json()) == settings


def test_the_numerics_are_the_settings(digits_context: WorkerContext) -> None:
    numerics = replace(digits_context.settings, threads=2).numerics()
    assert (numerics.device, numerics.dtype, numerics.threads) == ("cpu", "float32", 2)
    assert torch.__version__.startswith(numerics.torch)


def test_threads_are_set(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_context(TASK, home=tmp_path, top_epochs=TOP, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_second_model_is_frozen_and_its_own(digits_context: WorkerContext) -> None:
    weights = digits_context.task.build_model(3).state_dict()
    teacher = digits_context.second_model(weights)
    assert teacher is not digits_context.model
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, weights[name])


def test_sources_are_hashed_by_name_and_content() -> None:
    assert len(sources_sha256()) == 64
    assert sources_sha256() == sources_sha256.__wrapped__()


def test_a_gpu_trains_in_bfloat16_whoever_asks() -> None:
    assert precision("cpu") == "float32"
    assert precision("cuda") == "bfloat16"
