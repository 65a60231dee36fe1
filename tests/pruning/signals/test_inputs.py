"""The root mean square of what each weight multiplies."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.signals.inputs import input_rms
from autoprune.testing.scores import ScoringTask


def task_of(inputs):
    return ScoringTask(
        TensorSplit(inputs, torch.zeros(len(inputs), dtype=torch.long), torch.zeros(1))
    )


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_linear_layer_by_hand():
    # Inputs (1, -3) and (7, 1): sqrt((1 + 49) / 2) = 5 and sqrt((9 + 1) / 2) = sqrt 5, each row.
    model = nn.Sequential(nn.Linear(2, 3))
    found = input_rms(model, task_of(torch.tensor([[1.0, -3.0], [7.0, 1.0]])), (), 0)
    assert found["0.weight"].tolist() == [pytest.approx([5, 5**0.5])] * 3
    assert found["0.weight"].dtype is torch.float64


def test_hidden_inputs_are_those_of_the_net_as_it_stands():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[2.0], [-1.0]])
    # x = 1 and -3: relu(2 x) is 2 and 0, relu(-x) is 0 and 3.
    found = input_rms(model, task_of(torch.tensor([[1.0], [-3.0]])), (), 0)
    assert found["2.weight"][0].tolist() == pytest.approx([2**0.5, 4.5**0.5])


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": (1, 3), "groups": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    ],
)
def test_a_convolution_sees_patches(options):
    layer = nn.Conv2d(4, 6, **options)
    inputs = images(5, 4, 7, 7)
    found = input_rms(nn.Sequential(layer), task_of(inputs), (), 0)["0.weight"]
    assert found.shape == layer.weight.shape
    # The output of a filter that is 1 at one place and 0 elsewhere is that place's input.
    probe = nn.Conv2d(4, 6, **options, bias=False)
    for place in ((0, 0, 0, 0), (5, 1, 0, 2), (3, layer.weight.shape[1] - 1, 0, 1)):
        probe.weight.data.zero_()
        probe.weight.data[place] = 1.0
        seen = probe(inputs)[:, place[0]].double()
        assert found[place].item() == pytest.approx(seen.square().mean().sqrt().item(), rel=1e-6)


def test_a_module_called_twice_is_averaged_and_tokens_count_alike():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, inputs):
            return self.layer(inputs) + self.layer(input=3 * inputs)

    # x = 1, 2 as tokens of one image, then 3 x: sqrt((1 + 4 + 9 + 36) / 4).
    found = input_rms(Twice(), task_of(torch.tensor([[[1.0], [2.0]]])), (), 0)
    assert found["layer.weight"].item() == pytest.approx(12.5**0.5)


def test_at_most_a_thousand_images_without_augmentation():
    class Counting(TensorSplit):
        def batches(self, batch_size, *, order=None, augment=None):
            assert augment is None
            seen.extend(order.tolist())
            return super().batches(batch_size, order=order, augment=augment)

    seen = []
    split = Counting(torch.rand(1100, 2), torch.zeros(1100, dtype=torch.long), torch.zeros(1))
    input_rms(nn.Sequential(nn.Linear(2, 1)), ScoringTask(split), (), 0)
    assert len(seen) == len(set(seen)) == 1000


def test_weights_that_cannot_be_watched_are_refused():
    class Function(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs):
            return functional.linear(inputs, self.layer.weight)

    attention = nn.MultiheadAttention(2, 1)
    for model, name in ((Function(), "layer.weight"), (attention, "in_proj_weight")):
        with pytest.raises(TaskError, match=rf"the model's {name} must belong to a linear layer"):
            input_rms(model, task_of(torch.rand(3, 2)), (), 0)
