from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.data.tensors import TensorSplit
from autoprune.training.recipes.bn_recalibration import recalibrate


def split_of(size):
    inputs = torch.randn(size, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5
    return TensorSplit(inputs, torch.zeros(size, dtype=torch.int64), torch.zeros(1))


def test_statistics_are_the_mean_over_batches():
    # One batch of everything: its own mean and unbiased variance.
    norm, split = nn.BatchNorm1d(3), split_of(40)
    recalibrate(norm, split, batch_size=40, num_batches=5)
    assert torch.allclose(norm.running_mean, split.inputs.mean(0), rtol=1e-5)
    assert torch.allclose(norm.running_var, split.inputs.var(0), rtol=1e-5)


def test_equal_batches_average_to_the_whole():
    norm, split = nn.BatchNorm1d(3), split_of(40)
    recalibrate(norm, split, batch_size=10, num_batches=5)
    assert norm.num_batches_tracked == 4
    assert torch.allclose(norm.running_mean, split.inputs.mean(0), rtol=1e-5)


@pytest.mark.parametrize(("size", "batches", "used"), [(41, 9, 4), (100, 3, 3), (7, 2, 1)])
def test_a_ragged_batch_is_left_out_unless_it_is_all_there_is(size, batches, used):
    norm = nn.BatchNorm1d(3)
    recalibrate(norm, split_of(size), batch_size=10, num_batches=batches)
    assert norm.num_batches_tracked == used


def test_nothing_but_the_statistics_changes():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    model[1].eval()
    model[1].momentum = 0.3
    model[0].weight.grad = torch.ones(3, 3)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    rng = torch.get_rng_state()
    recalibrate(model, split_of(40), 10, 3)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert (model[0].weight.grad == 1).all()
    assert model[3].weight.grad is None
    assert [m.training for m in model] == [True, False, True, True]
    assert model[1].momentum == 0.3
    assert torch.equal(rng, torch.get_rng_state())


def test_old_statistics_leave_no_trace():
    fresh, used = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    used.running_mean.fill_(99)
    used.num_batches_tracked.fill_(12)
    for norm in (fresh, used):
        recalibrate(norm, split_of(40), 10, 2)
    assert torch.equal(fresh.running_mean, used.running_mean)
    assert torch.equal(fresh.running_var, used.running_var)


def test_a_net_without_batch_norm_reads_no_data():
    recalibrate(nn.Linear(3, 2), None, 10, 2)
