"""The partition on a canvas, and its distance (card spline, f)."""

from __future__ import annotations

import copy
import doctest

import pytest
import torch
from torch import nn

from autoprune.stages import canvas as module
from autoprune.stages.canvas import canvas, partition_distance, partition_of
from autoprune.trial.context import WorkerContext
from tests.methods.normed import normed_context

__all__ = ["normed_context"]


def net() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return made


INPUTS = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
LAYERS = ("0.weight",)


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(module).failed == 0


def test_equal_nets_lie_nowhere_apart_and_positive_scales_do_not_count() -> None:
    one, other = net(), net()
    with torch.no_grad():
        other[1].weight[3] *= 5.0
        other[1].bias[3] *= 5.0
    found = [partition_of(model, INPUTS, LAYERS) for model in (one, one, other)]
    assert [partition_distance(found[0], f) for f in found] == [0.0, 0.0, 0.0]
    assert list(found[0]) == ["1"]


def test_it_is_the_share_of_signs_that_flipped() -> None:
    one = net()
    other = copy.deepcopy(one)
    with torch.no_grad():
        other[1].weight[3] *= -1.0
        other[1].bias[3] *= -1.0
    # One of eight units switches its side for every input, in either direction.
    found = [partition_of(model, INPUTS, LAYERS) for model in (one, other)]
    assert partition_distance(*found) == partition_distance(*found[::-1]) == 1 / 8


def test_without_norms_the_layers_outputs_are_looked_at() -> None:
    plain = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).train()
    assert list(partition_of(plain, INPUTS, ("0.weight",))) == ["0"]
    assert plain.training


def test_the_canvas_mixes_two_images_of_two_classes(normed_context: WorkerContext) -> None:
    found = canvas(normed_context.task, 3, seed=0)
    assert found.shape == (9, 1, 8, 8)
    # a over the rows, b over the columns, each 0, .5, 1.
    x0, x1 = found[6], found[2]
    assert not found[0].any()
    assert torch.allclose(found[4], (x0 + x1) / 2)
    assert torch.allclose(found[8], x0 + x1)
    train = normed_context.task.data.train
    images, targets = next(iter(train.batches(1200, order=torch.arange(train.size))))
    labels = [int(targets[(images == x).flatten(1).all(1)][0]) for x in (x0, x1)]
    assert labels[0] != labels[1]
    assert pytest.approx(found) == canvas(normed_context.task, 3, seed=0)
