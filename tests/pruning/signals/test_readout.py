"""What layers make of the units they read, against hand-worked values and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.groups import find_groups
from autoprune.pruning.signals import readout as module
from autoprune.pruning.signals.readout import readout
from autoprune.pruning.view import UnitGroup, UnitMember
from autoprune.testing.nets import settle, tiny_conv, tiny_resnet
from autoprune.testing.scores import ScoringTask


def task_of(inputs):
    return ScoringTask(TensorSplit(inputs, torch.arange(len(inputs)) % 2, torch.zeros(1)))


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def singles(count):
    return tuple((unit,) for unit in range(count))


def reads(name, index, size=0):
    return UnitMember(name, 1, index, "in", size)


def linear(weight, bias):
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data.copy_(weight)
    layer.bias.data.fill_(bias)
    return layer


# Two images, (1, 0) and (2, -3). The weights' columns are (1, 0) and (2, 1), so that
# K'K = ((1, 2), (2, 5)).
TWO = torch.tensor([[1.0, 0.0], [2.0, -3.0]])
COLUMNS = [[1.0, 2.0], [0.0, 1.0]]


def test_a_linear_reader_by_hand():
    # Sums of inputs are 3 and -3, of sizes 3 and 3. The bias is no part of K.
    model = nn.Sequential(linear(COLUMNS, 7.0))
    got = readout(model, task_of(TWO), (UnitGroup("g", 2, (reads("0.weight", singles(2)),)),), 0)
    assert got["g"].tolist() == [[3.0, 3.0, -6.0], [3.0, 6.0, -15.0]]
    assert got["g"].dtype is torch.float64


def test_a_units_entries_count_together_and_others_do_not():
    # Entries 0 and 3 are unit 0, 1 is unit 1, 2 is another group's. One image (1, 2, 5, 3) and
    # weights (1, 1, 1, 2): K 1_0 = 3, K 1_1 = 1; K h_0 = 1 + 6 = 7, K h_1 = 2.
    model = nn.Sequential(linear([[1.0, 1.0, 1.0, 2.0]], 0.0))
    group = UnitGroup("g", 2, (reads("0.weight", ((0, 3), (1,)), 4),))
    got = readout(model, task_of(torch.tensor([[1.0, 2.0, 5.0, 3.0]])), (group,), 0)
    assert got["g"].tolist() == [[4.0, 21.0, 6.0], [2.0, 7.0, 2.0]]


def test_readers_are_summed():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = linear(COLUMNS, 0.0), linear([[1.0, 0.0]], 0.0)

        def forward(self, x):
            return self.a(x).sum() + self.b(input=2 * x)

    # The second reader, called by keyword, adds masses of 6 and 6, and 1 * 1 * 2 * 3 at (0, 0).
    members = (reads("a.weight", singles(2)), reads("b.weight", singles(2)))
    got = readout(Two(), task_of(TWO), (UnitGroup("g", 2, members),), 0)
    assert got["g"].tolist() == [[9.0, 9.0, -6.0], [9.0, 6.0, -15.0]]


def test_tokens_are_summed_like_images():
    group = UnitGroup("g", 2, (reads("0.weight", singles(2)),))
    model = nn.Sequential(linear(COLUMNS, 1.0))
    flat = readout(model, task_of(TWO), (group,), 0)["g"]
    assert torch.equal(readout(model, task_of(TWO.unsqueeze(0)), (group,), 0)["g"], flat)


def by_autograd(inputs, layer, norm, support):
    """``sum_b dF/dh`` of ``F = |after(h) - after(h_S)|^2 / 2`` with the second term held."""
    hidden = inputs.double().requires_grad_(True)
    after = nn.Sequential(layer, norm).double().eval()
    kept = hidden.detach() * support.reshape(1, -1, *(1,) * (hidden.dim() - 2))
    (0.5 * (after(hidden) - after(kept).detach()).square().sum()).backward()
    return hidden.grad.transpose(0, 1).flatten(1).sum(1)


LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), nn.BatchNorm1d, (5,)),
    "one by one": (lambda: nn.Conv2d(5, 4, 1), nn.BatchNorm2d, (5, 3, 4)),
    "padded": (lambda: nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d, (5, 4, 3)),
    "strided": (lambda: nn.Conv2d(5, 4, 3, 2, (1, 0), (1, 2)), nn.BatchNorm2d, (5, 6, 7)),
    "same": (lambda: nn.Conv2d(5, 4, (3, 1), padding="same"), nn.BatchNorm2d, (5, 3, 3)),
    "circular": (
        lambda: nn.Conv2d(5, 4, 3, padding=(1, 2), padding_mode="circular"),
        nn.BatchNorm2d,
        (5, 4, 4),
    ),
    "one dimension": (lambda: nn.Conv1d(5, 4, 3, padding=1), nn.BatchNorm1d, (5, 6)),
    "three": (lambda: nn.Conv3d(5, 4, 2), nn.BatchNorm3d, (5, 3, 2, 2)),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_the_gradient_of_what_is_missing_is_a_sum_of_pulls(kind, affine):
    make, norm, shape = LAYERS[kind]
    model = settle(nn.Sequential(make(), norm(4, affine=affine), nn.Flatten()))
    inputs = images(6, *shape)
    group = UnitGroup("g", 5, (reads("0.weight", singles(5)),))
    got = readout(model, task_of(inputs), (group,), 0)["g"]
    assert torch.allclose(got[:, 0], inputs.double().abs().transpose(0, 1).flatten(1).sum(1))
    for support in ([0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 1, 1, 1, 0]):
        support = torch.tensor(support, dtype=torch.float64)
        expected = by_autograd(inputs, model[0], model[1], support)
        # Both in float64, from inputs that are exact in it: sums in another order.
        assert torch.allclose(got[:, 1:] @ (1 - support), expected, rtol=1e-9, atol=1e-9)


def test_maps_are_made_in_pieces(monkeypatch):
    model, task = tiny_conv(), task_of(images(8, 1, 6, 6))
    groups = find_groups(model, torch.zeros(2, 1, 6, 6))
    whole = readout(model, task, groups, 0)
    monkeypatch.setattr(module, "CHUNK", 1)
    pieces = readout(model, task, groups, 0)
    assert {name: value.shape for name, value in whole.items()} == {
        "0.weight": (6, 7),
        "4.weight": (6, 7),
        "7.weight": (7, 8),
    }
    for name, value in whole.items():
        assert torch.allclose(value, pieces[name], rtol=1e-12)


def test_only_a_norm_that_alone_reads_the_reader_counts():
    # In a residual block the second convolution's norm scales what is read, the stream does not.
    model, task = tiny_resnet(), task_of(images(4, 3, 8, 8))
    groups = find_groups(model, torch.zeros(2, 3, 8, 8))
    before = readout(model, task, groups, 0)["3.conv1.weight"]
    model[3].bn2.weight.data.mul_(3.0)
    after = readout(model, task, groups, 0)["3.conv1.weight"]
    assert torch.allclose(after[:, 1:], 9.0 * before[:, 1:])
    assert torch.equal(after[:, 0], before[:, 0])


def test_it_reads_images_as_they_are_and_at_most_1280():
    class Counting(TensorSplit):
        def batches(self, batch_size, *, order=None, augment=None):
            assert augment is None
            seen.append(order.tolist())
            return super().batches(batch_size, order=order, augment=augment)

    seen = []
    split = Counting(torch.ones(1500, 2), torch.arange(1500) % 2, torch.zeros(1))
    group = UnitGroup("g", 2, (reads("0.weight", singles(2)),))
    got = readout(nn.Sequential(linear(COLUMNS, 0.0)), ScoringTask(split), (group,), 0)
    assert (got["g"] / 1280).tolist() == [[1.0, 1.0, 2.0], [1.0, 2.0, 5.0]]  # ten batches
    assert len(set(seen[-1])) == 1280


def test_a_reader_that_cannot_be_watched_is_refused():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return nn.functional.linear(x, self.layer.weight)

    group = UnitGroup("g", 2, (reads("layer.weight", singles(2)),))
    with pytest.raises(TaskError, match=r"the model's layer\.weight must belong to"):
        readout(Functional(), task_of(TWO), (group,), 0)
