"""Kronecker factors against autograd, and what is made of them for units."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.compact import compact
from autoprune.pruning.groups import find_groups
from autoprune.pruning.signals import kfac
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.signals.kfac import Factors, kronecker_factors, top, unit_curvature
from autoprune.pruning.view import Signal
from autoprune.testing.nets import settle, tiny_conv, tiny_mlp
from autoprune.testing.scores import ScoringTask

empirical = partial(kronecker_factors, seed=0, labels="empirical")


def task_of(inputs, labels=None):
    labels = torch.zeros(len(inputs), dtype=torch.int64) if labels is None else labels
    return ScoringTask(TensorSplit(inputs, labels, torch.zeros(1)))


def drawn(*shape, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def linear(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def matrix(size, seed=0):
    half = drawn(size, size, seed=seed)
    return half @ half.T


def test_a_linear_layer_by_hand():
    # Logits are 0 for any input, so p = (1/2, 1/2) and, for label 0, g = (-1/2, 1/2). Inputs
    # (1, 2) and (3, 0), a 1 appended: A is the mean of their outer products.
    layer = linear([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0])
    inputs = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).double()
    found = empirical(layer, task_of(inputs), ["weight"])["weight"]
    assert found.inputs.tolist() == [[[5.0, 1.0, 2.0], [1.0, 2.0, 1.0], [2.0, 1.0, 1.0]]]
    assert found.gradients.tolist() == [[[0.25, -0.25], [-0.25, 0.25]]]
    assert found.filters.shape == (1, 2, 3)


def test_damage_and_flatness_by_hand():
    # A = diag(9, 4, 1), the bias last; G = diag(2, 8); rows (1, 1, 2) and (0, 3, 0):
    # w A w = 9 + 4 + 4 = 17 and 36, times G_jj / 2 = 1 and 4.
    # Radius 9 * 8 = 72, all of it with output 1 and with input 0.
    factors = Factors(
        inputs=torch.diag(torch.tensor([9.0, 4.0, 1.0])).double()[None],
        gradients=torch.diag(torch.tensor([2.0, 8.0])).double()[None],
        filters=torch.tensor([[[1.0, 1.0, 2.0], [0.0, 3.0, 0.0]]]).double(),
    )
    assert factors.damage().tolist() == [17.0, 144.0]
    made, read = factors.flatness(2)
    assert made.tolist() == pytest.approx([0.0, 72.0], abs=1e-6)
    assert read.tolist() == pytest.approx([72.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Linear(4, 3, bias=False), (4,)),
        # As large as its input: one position, so nothing is shared and the product is exact.
        (nn.Conv2d(2, 3, (3, 2)), (2, 3, 2)),
        (nn.Conv1d(2, 3, 3, dilation=2), (2, 5)),
    ],
)
def test_of_one_image_the_product_is_the_fisher_block(layer, shape):
    # One image: G (x) A = g g^T (x) a a^T is the outer product of its gradient with itself.
    model = settle(nn.Sequential(layer, nn.Flatten(), nn.Tanh(), nn.Linear(3, 3))).double()
    inputs = drawn(1, *shape)
    loss = functional.cross_entropy(model(inputs), torch.tensor([2]))
    parts = torch.autograd.grad(loss, list(layer.parameters()))
    gradient = torch.cat([part.reshape(3, -1) for part in parts], 1)
    expected = torch.outer(gradient.flatten(), gradient.flatten())
    found = empirical(model, task_of(inputs, torch.tensor([2])), ["0.weight"])["0.weight"]
    product = torch.kron(found.gradients[0], found.inputs[0])
    assert torch.allclose(product, expected, rtol=1e-12, atol=1e-15)


OPTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": (1, 3), "groups": 2, "padding": 1},
    {"kernel_size": 3, "groups": 4, "bias": False},
    {"kernel_size": 2, "padding": 1, "padding_mode": "circular"},
]


def by_brute_force(model, inputs, labels):
    """Return A and G of the first layer, a grouped convolution's as blocks on a diagonal.

    What filter j reads at a position is the derivative of its output there by its weights; what
    comes back to it is the derivative of one image's loss.
    """
    layer = model[0]
    count = layer.groups
    width = layer.weight[0].numel() + (layer.bias is not None)
    rows = len(layer.weight) // count
    a = torch.zeros(count, width, width, dtype=torch.float64)
    g = torch.zeros(count, rows, rows, dtype=torch.float64)
    for image, label in zip(inputs, labels, strict=True):
        outputs = layer(image[None])
        loss = functional.cross_entropy(model[1:](outputs), label[None])
        (back,) = torch.autograd.grad(loss, outputs, retain_graph=True)
        for group in range(count):
            filters = slice(group * rows, (group + 1) * rows)
            made = outputs[0, filters.start].flatten()
            parts = torch.autograd.grad(
                made,
                list(layer.parameters()),
                torch.eye(len(made), dtype=torch.float64),
                retain_graph=True,
                is_grads_batched=True,
            )
            patches = torch.cat(
                [part[:, filters.start].reshape(len(made), -1) for part in parts], 1
            )
            signals = back[0, filters].flatten(1)
            for patch, signal in zip(patches, signals.T, strict=True):
                a[group] += torch.outer(patch, patch) / len(inputs)
                g[group] += torch.outer(signal, signal) / len(inputs) / len(patches)
    return a, g


@pytest.mark.parametrize("options", OPTIONS)
def test_a_convolution_against_autograd_position_by_position(options, monkeypatch):
    monkeypatch.setattr(kfac, "CHUNK", 200)  # an image or two at a time
    monkeypatch.setattr(kfac, "BATCH", 2)
    layer = nn.Conv2d(4, 4, **options)
    model = nn.Sequential(layer, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    model = settle(model).double()
    inputs, labels = drawn(3, 4, 4, 3), torch.tensor([0, 2, 1])
    a, g = by_brute_force(model, inputs, labels)
    found = empirical(model, task_of(inputs, labels), ["0.weight"])["0.weight"]
    assert torch.allclose(found.inputs, a, rtol=1e-12, atol=1e-15)
    assert torch.allclose(found.gradients, g, rtol=1e-12, atol=1e-15)
    # w^T A w is the mean square that the layer puts out, summed over positions.
    power = model[0](inputs).square().sum((2, 3)).mean(0)
    assert torch.allclose(found.damage(), power * g.diagonal(dim1=1, dim2=2).flatten() / 2)


def test_tokens_count_as_positions_and_calls_add_up():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = linear([[2.0], [1.0]])

        def forward(self, inputs):
            return (self.layer(inputs) + self.layer(input=3 * inputs)).sum(1) * 0

    # Tokens 1, 2 of one image, then 3 x: A = 1 + 4 + 9 + 36, and logits without a gradient.
    found = empirical(Twice(), task_of(torch.tensor([[[1.0], [2.0]]])), ["layer.weight"])
    assert found["layer.weight"].inputs.tolist() == [[[50.0]]]
    assert not found["layer.weight"].gradients.any()


def test_gradients_are_taken_before_what_works_in_place():
    layers = [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)]
    model = settle(nn.Sequential(*layers)).double()
    in_place = nn.Sequential(nn.ReLU(inplace=True), layers[0], nn.ReLU(inplace=True), layers[2])
    task = task_of(drawn(6, 4).abs())
    one = empirical(model, task, ["0.weight"])["0.weight"]
    other = empirical(in_place, task, ["1.weight"])["1.weight"]
    assert torch.equal(one.gradients, other.gradients)
    assert torch.equal(one.inputs, other.inputs)
    assert one.gradients.any()


def test_sampled_labels_give_the_fisher_matrix_of_the_model():
    # One input 1,000 times, logits (0, ln 2, ln 5): p = (1, 2, 5) / 8 and G = diag(p) - p p^T.
    # A share of 1,000 draws is off by at most .016 in one case of three; .06 is four times that.
    layer = linear([[0.0], [0.0], [0.0]], [0.0, 2.0, 5.0])
    layer.bias.data[1:] = layer.bias.data[1:].log()
    task = task_of(torch.ones(1000, 1).double())
    p = torch.tensor([1.0, 2.0, 5.0]).double() / 8
    exact = torch.diag(p) - torch.outer(p, p)
    found = kronecker_factors(layer, task, ["weight"], seed=0)["weight"]
    assert (found.gradients[0] - exact).abs().max() < 0.06
    # With labels 0 throughout, g = p - (1, 0, 0).
    g = p - torch.tensor([1.0, 0.0, 0.0])
    data = empirical(layer, task, ["weight"])["weight"]
    assert torch.allclose(data.gradients[0], torch.outer(g, g))
    other = kronecker_factors(layer, task, ["weight"], seed=1)["weight"]
    assert not torch.equal(other.gradients, found.gradients)


def test_a_row_at_the_optimum_of_least_squares_costs_what_is_said():
    # Card kfac_neuron (f): loss 1/2 |W x - y|^2 has G = I, so zeroing row j costs 1/2 w A w.
    inputs, targets = drawn(40, 3), drawn(40, 2, seed=1)
    padded = torch.cat([inputs, torch.ones(40, 1).double()], 1)
    best = torch.linalg.lstsq(padded, targets).solution.T
    factors = Factors((padded.T @ padded / 40)[None], torch.eye(2).double()[None], best[None])

    def loss(weight):
        return float((padded @ weight.T - targets).square().sum() / 80)

    for row, cost in enumerate(factors.damage().tolist()):
        without = best.clone()
        without[row] = 0.0
        assert loss(without) - loss(best) == pytest.approx(cost, rel=1e-10)


def test_the_top_eigenvector():
    both = torch.stack([matrix(7), matrix(7, seed=1)])
    values, vectors = torch.linalg.eigh(both)
    found, along = top(both)
    assert torch.allclose(found, values[:, -1], rtol=1e-9)
    assert torch.allclose(along.square(), vectors[:, :, -1].square(), atol=1e-5)
    # The gradients of two classes: ones, the obvious start, are mapped to 0.
    found, along = top(torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]).double())
    assert found.tolist() == pytest.approx([2.0])
    assert along.square().tolist() == [pytest.approx([0.5, 0.5])]
    found, along = top(torch.zeros(1, 3, 3).double())
    assert not found.any()
    assert not along.any()


def test_the_radius_of_the_product_is_that_of_its_factors():
    a, g = matrix(4), matrix(3, seed=2)
    made, read = Factors(a[None], g[None], torch.zeros(1, 3, 4).double()).flatness(4)
    radius = torch.linalg.eigvalsh(torch.kron(g, a))[-1]
    assert torch.allclose(made.sum(), radius, rtol=1e-9)
    assert torch.allclose(read.sum(), radius, rtol=1e-9)  # no bias: all of it is read


def mlp_task(size=60):
    return task_of(drawn(size, 6), torch.arange(size) % 3)


def conv_task(size=40):
    return task_of(drawn(size, 1, 6, 6), torch.arange(size) % 3)


def mlp():
    return tiny_mlp().double(), find_groups(tiny_mlp(), torch.zeros(2, 6)), mlp_task()


def conv():
    return tiny_conv().double(), find_groups(tiny_conv(), torch.zeros(2, 1, 6, 6)), conv_task()


@pytest.mark.parametrize("make", [mlp, conv])
def test_a_unit_is_its_row_and_the_columns_that_read_it(make):
    model, groups, task = make()
    found = unit_curvature(copy.deepcopy(model), task, groups, 0)
    assert list(found) == [group.name for group in groups]
    names = [n for n, p in model.named_parameters() if p.dim() > 1]
    factors = kronecker_factors(copy.deepcopy(model), task, names, 0)
    for group in groups:
        (reader,) = (m for m in group.members if m.role == "in")
        makes, reads = factors[group.name], factors[reader.name]
        num_inputs = model.get_parameter(reader.name).shape[1]
        made, _ = makes.flatness(model.get_parameter(group.name).shape[1])
        _, read = reads.flatness(num_inputs)
        pulled = torch.stack([read[list(index)].sum() for index in reader.index])
        assert found[group.name].shape == (2, group.num_units)
        assert torch.allclose(found[group.name][0], makes.damage())
        assert torch.allclose(found[group.name][1], made + pulled)
        assert (found[group.name] >= 0).all()
        assert found[group.name].any(1).all()


class Residual(nn.Module):
    """Two layers write into one stream, and one of them reads it."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        stem = functional.relu(self.stem(inputs))
        return self.head((stem + self.inner(stem)).mean((2, 3)))


def test_coupled_layers_are_summed():
    model = settle(Residual())
    (group,) = find_groups(model, torch.zeros(2, 1, 6, 6))
    model.double()
    found = unit_curvature(copy.deepcopy(model), conv_task(), (group,), 0)[group.name]
    names = ["stem.weight", "inner.weight", "head.weight"]
    stem, inner, head = kronecker_factors(copy.deepcopy(model), conv_task(), names, 0).values()
    assert torch.allclose(found[0], stem.damage() + inner.damage())
    made = stem.flatness(1)[0] + inner.flatness(1)[0]
    assert torch.allclose(found[1], made + head.flatness(4)[1])


@pytest.mark.parametrize("make", [mlp, conv])
def test_units_in_another_order_have_the_same_numbers(make):
    model, groups, task = make()
    before = unit_curvature(copy.deepcopy(model), task, groups, 0)
    group = groups[1]
    order = torch.randperm(group.num_units, generator=torch.Generator().manual_seed(3))
    tensors = dict(model.state_dict(keep_vars=True))
    for member in group.members:
        entries = torch.tensor([entry for unit in order for entry in member.index[unit]])
        value = tensors[member.name].data
        tensors[member.name].data = value.index_select(member.dim, entries)
    after = unit_curvature(model, task, groups, 0)
    for name, value in before.items():
        expected = value[:, order] if name == group.name else value
        # Eigenvectors are found to about 1e-6.
        assert torch.allclose(after[name], expected, rtol=1e-4, atol=1e-9), name


def sigmoid_mlp():
    return nn.Sequential(
        nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3)
    )


def sigmoid_conv():
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.Sigmoid(),
        nn.Conv2d(5, 4, 4),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


@pytest.mark.parametrize(("net", "shape"), [(sigmoid_mlp, (6,)), (sigmoid_conv, (1, 6, 6))])
def test_dead_units_are_as_good_as_gone(net, shape):
    # Sigmoid sends 1/2 even from a unit that is masked; the small net has no such column in A.
    model, example = settle(net()), torch.zeros(2, *shape)
    task = task_of(drawn(40, *shape), torch.arange(40) % 3)
    groups = find_groups(model, example)
    kept = {"0.weight": [1, 0, 1, 1, 0], "2.weight": [1, 1, 0, 1]}
    small = compact(model, kept, {}, groups).double()
    parameters = dict(model.double().named_parameters())
    for group in groups:
        gone = ~torch.tensor(kept[group.name]).bool()
        for member in group.members:
            entries = [e for unit in gone.nonzero().flatten() for e in member.index[unit]]
            parameters[member.name].data.index_fill_(member.dim, torch.tensor(entries), 0.0)
    found = unit_curvature(model, task, groups, 0)
    small_groups = find_groups(copy.deepcopy(small).float(), example)
    expected = unit_curvature(small, task, small_groups, 0)
    assert list(expected) == list(kept)
    for name, value in expected.items():
        flags = torch.tensor(kept[name]).bool()
        assert torch.allclose(found[name][:, flags], value, rtol=1e-4, atol=1e-12)
        assert not found[name][:, ~flags].any()


def test_several_sweeps_see_the_same(monkeypatch):
    model, groups, task = conv()
    whole = unit_curvature(copy.deepcopy(model), task, groups, 0)
    portions = []
    inner = kfac.kronecker_factors
    monkeypatch.setattr(kfac, "LIMIT", 3500)
    monkeypatch.setattr(
        kfac,
        "kronecker_factors",
        lambda model, task, some, *rest: portions.append(some) or inner(model, task, some, *rest),
    )
    parts = unit_curvature(copy.deepcopy(model), task, groups, 0)
    # Entries: 9^2 + 6^2, 55^2 + 6^2, 25^2 + 7^2 and 8^2 + 3^2: 117, 3,061, 674 and 73.
    assert portions == [["0.weight", "4.weight"], ["7.weight", "10.weight"]]
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_at_most_a_thousand_images_without_augmentation():
    class Counting(TensorSplit):
        def batches(self, batch_size, *, order=None, augment=None):
            assert augment is None
            seen.extend(order.tolist())
            return super().batches(batch_size, order=order, augment=augment)

    seen = []
    split = Counting(torch.rand(1100, 2), torch.zeros(1100, dtype=torch.long), torch.zeros(1))
    kronecker_factors(nn.Linear(2, 2), ScoringTask(split), ["weight"], 0)
    assert len(seen) == len(set(seen)) == 1000


def test_both_kinds_of_labels_are_gathered():
    model, groups, task = mlp()
    both = frozenset({Signal.UNIT_CURVATURE, Signal.UNIT_CURVATURE_EMPIRICAL})
    found = gather(both, model, task, groups, 0)
    drawn_, given = found[Signal.UNIT_CURVATURE], found[Signal.UNIT_CURVATURE_EMPIRICAL]
    assert not torch.equal(drawn_["0.weight"], given["0.weight"])
    assert torch.equal(
        given["0.weight"], unit_curvature(model, task, groups, 0, labels="empirical")["0.weight"]
    )


def test_layers_that_cannot_be_watched_are_refused():
    class Function(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs):
            return functional.linear(inputs, self.layer.weight)

    task = task_of(torch.rand(3, 2))
    turned = nn.Sequential(nn.ConvTranspose2d(1, 2, 3))
    for model, name in ((Function(), "layer.weight"), (turned, "0.weight")):
        with pytest.raises(TaskError, match=rf"the model's {name} must belong to a linear layer"):
            kronecker_factors(model, task, [name], 0)
