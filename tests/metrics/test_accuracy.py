from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoprune.core.config import TaskConfig
from autoprune.metrics.accuracy import Evaluation, evaluate
from autoprune.training.task import Task, load_task


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(TaskConfig())


def test_it_equals_one_pass_over_everything(task: Task) -> None:
    model = task.build_model(0)
    found = evaluate(model, task.data.val, task, batch_size=100)
    inputs, targets = next(iter(task.data.val.batches(360)))
    outputs = model(inputs)
    assert found.correct == (outputs.argmax(1) == targets).sum().item()
    assert found.total == 360
    assert found.accuracy == found.correct / 360
    # float32 sums over 360 images in another order
    expected = nn.functional.cross_entropy(outputs, targets).item()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_modes_gradients_and_statistics_are_left_alone(task: Task) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 10))
    model[1].eval()
    mean = model[1].running_mean.clone()
    first = evaluate(model, task.data.val, task)
    assert first == evaluate(model, task.data.val, task)
    assert [module.training for module in model] == [True, False, True, True]
    assert torch.equal(model[1].running_mean, mean)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loss_that_is_not_a_number_is_a_result(task: Task) -> None:
    model = task.build_model(0)
    with torch.no_grad():
        model.fc1.weight.fill_(math.nan)
    found = evaluate(model, task.data.val, task)
    assert math.isnan(found.loss)
    assert isinstance(found, Evaluation)
