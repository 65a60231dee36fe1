from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoprune.core.config import TaskConfig
from autoprune.metrics.topk import num_in_top, top_accuracy
from autoprune.training.task import Task, load_task

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(TaskConfig())


# The class with the greatest output is at place 0; of equal ones the lower number is before.
@pytest.mark.parametrize(
    ("outputs", "places"),
    [
        ([0.1, 0.9, 0.4, 0.3], [3, 0, 1, 2]),
        ([2.0, 2.0, 2.0, 2.0], [0, 1, 2, 3]),
        ([1.0, 3.0, 1.0, 3.0], [2, 0, 3, 1]),
        ([-INF, 0.0, INF, INF], [3, 2, 0, 1]),
        ([0.0, -0.0, 1.0, -1.0], [1, 2, 0, 3]),
        # A NaN is ahead of every number, and no class with a NaN is ahead of the others.
        ([5.0, NAN, 1.0, 2.0], [1, 3, 3, 2]),
        ([NAN, NAN, NAN, NAN], [3, 3, 3, 3]),
    ],
)
def test_places_by_hand(outputs: list[float], places: list[int]) -> None:
    for target, place in enumerate(places):
        for k in range(1, 6):
            found = num_in_top(torch.tensor([outputs]), torch.tensor([target]), k)
            assert found.item() == int(place < k), (target, k)


def test_a_batch_adds_up() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
    targets = torch.tensor([1, 2, 1])  # places 1, 2 and 1
    assert [num_in_top(outputs, targets, k).item() for k in (1, 2, 3, 4)] == [0, 2, 3, 3]


rows = st.lists(st.integers(-2, 2), min_size=4, max_size=4)


@given(outputs=st.lists(rows, min_size=1, max_size=6), data=st.data())
def test_more_places_hold_more_and_the_first_is_argmax(outputs: Any, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(0, 3), min_size=len(outputs), max_size=len(outputs)))
    scores, right = torch.tensor(outputs, dtype=torch.float32), torch.tensor(targets)
    found = [num_in_top(scores, right, k).item() for k in range(1, 6)]
    assert found[0] == (scores.argmax(dim=1) == right).sum().item()
    assert all(a <= b for a, b in pairwise(found))
    assert found[3:] == [len(outputs)] * 2


def test_it_is_the_mean_over_examples(task: Task) -> None:
    model, split = task.build_model(0), task.data.val
    inputs, targets = next(iter(split.batches(360)))
    with torch.no_grad():
        best = model(inputs).topk(5, dim=1).indices
    expected = (best == targets[:, None]).any(dim=1).sum().item() / 360
    assert 0.0 < expected < 1.0
    # 350 and 10: a mean over batches would give ten examples as much weight as the rest.
    assert top_accuracy(model, split, 5, batch_size=350) == expected
    assert top_accuracy(model, split, 5) == expected
    assert top_accuracy(model, split, 10) == 1.0
    assert top_accuracy(model, split, 11) == 1.0


def test_the_model_is_left_as_it_was(task: Task) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 10))
    mean = model[1].running_mean.clone()
    first = top_accuracy(model, task.data.val, 3)
    assert first == top_accuracy(model, task.data.val, 3)  # no dropout
    assert model.training
    assert torch.equal(model[1].running_mean, mean)
