"""H g for GraSP and dR/d|w| for SynFlow, on nets small enough to know the answer."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import ALLOCATIONS, GRANULARITIES, SCORES
from autoprune.pruning.signals.flow import GradientFlow, hessian_gradient, synaptic_flow
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.view import ModelView, Signal
from autoprune.testing.nets import settle, tiny_resnet
from autoprune.testing.scores import ScoringTask


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def task_of(*shape, size=60, classes=3, seed=1):
    inputs = torch.randn(size, *shape, generator=stream(seed))
    return ScoringTask(TensorSplit(inputs, torch.arange(size) % classes, torch.zeros(1)))


def chain(*sizes, bias=False, unit=nn.ReLU, seed=0):
    """Linear layers with an activation in between, all drawn from N(0, 1/4)."""
    layers = []
    for number, (a, b) in enumerate(pairwise(sizes)):
        layers += [unit()] * bool(number) + [nn.Linear(a, b, bias=bias)]
    return settle(nn.Sequential(*layers), seed)


def view_of(model, signal, task, masks=None):
    weights = {name: model.get_parameter(name).detach() for name in prunable_parameters(model)[0]}
    signals = gather(frozenset({signal}), model, task, (), 0)
    return ModelView(weights, masks or dense_masks(weights), signals)


def scores_of(name, model, task):
    score = SCORES.get(name)()
    return score(view_of(model, *score.needs, task))


# GraSP -------------------------------------------------------------------------------------------


def test_hessian_gradient_is_the_difference_of_gradients():
    # H g = (grad L(w + e g) - grad L(w - e g)) / 2e + O(e^2): card pruning_at_init, f3.
    model, task = chain(4, 6, 5, 3, bias=True, unit=nn.Tanh), task_of(4)
    found = hessian_gradient(copy.deepcopy(model), task, (), 0)
    direction = GradientFlow(copy.deepcopy(model), task, 0).gradient()
    step = 1e-2 / max(float(value.abs().max()) for value in direction.values())
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(model).double()
        for name, value in direction.items():
            moved.get_parameter(name).data += sign * step * value
        ends.append(GradientFlow(moved, task, 0).gradient())
    for name, value in found.items():
        slope = (ends[0][name] - ends[1][name]) / (2 * step)
        assert (value - slope).norm() < 1e-3 * slope.norm()


def test_score_sums_are_the_quadratic_form_of_the_whole_hessian():
    # sum(w * H g) = w' H g, with H written out by autograd over all weights at once (f3).
    model, task = chain(3, 4, 3, unit=nn.Tanh).double(), task_of(3)
    shapes = {name: value.shape for name, value in model.named_parameters()}
    inputs, targets = task.train.inputs.double(), task.train.targets
    chosen = GradientFlow(copy.deepcopy(model), task, 0).chosen

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        values = {n: p.reshape(shapes[n]) for n, p in zip(shapes, parts, strict=True)}
        outputs = torch.func.functional_call(model, values, (inputs[chosen],)) / 200
        return task.loss(outputs, targets[chosen])

    flat = torch.cat([value.detach().flatten() for value in model.parameters()]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(flat), flat)
    hessian = torch.autograd.functional.hessian(loss, flat.detach())
    scores = scores_of("grasp", model, task)
    total = sum(float(value.sum()) for value in scores.values())
    expected = flat.detach() @ hessian @ gradient
    assert total == pytest.approx(float(expected), rel=1e-9)
    flow = torch.cat([value.flatten() for value in scores.values()])
    assert torch.allclose(flow, flat.detach() * (hessian @ gradient), rtol=1e-8, atol=1e-18)


def test_the_product_is_linear_in_the_gradient_so_rankings_ignore_its_scale():
    flow = GradientFlow(chain(4, 6, 3, unit=nn.Tanh), task_of(4), 0)
    direction = flow.gradient()
    once = flow.hessian_times(direction)
    many = flow.hessian_times({name: 8 * value for name, value in direction.items()})
    assert all(torch.equal(many[name], 8 * once[name]) for name in once)  # 8 is a power of two


def test_keeping_the_largest_is_removing_the_largest_of_the_paper():
    model, task = chain(4, 6, 3), task_of(4)
    view = view_of(model, Signal.HESSIAN_GRADIENT, task)
    scores = SCORES.get("grasp")()(view)
    weight, product = GRANULARITIES.get("weight")(), view.signals[Signal.HESSIAN_GRADIENT]
    masks = keep_masks(scores, weight, ALLOCATIONS.get("global"), 0.5, view).masks
    paper = torch.cat([(-w.double() * product[n]).flatten() for n, w in view.weights.items()])
    removed = paper.argsort(descending=True)[: len(paper) // 2]
    found = torch.cat([mask.flatten() for mask in masks.values()])
    assert not found[removed].any()
    assert found.sum() == len(paper) - len(removed)


def test_chunks_add_up_to_the_whole():
    # 30 classes: 300 images in two chunks of 150, against one pass over all of them.
    model, task = chain(4, 6, 30, unit=nn.Tanh), task_of(4, size=300, classes=30)
    sizes = [len(v) for v in _batches(GradientFlow(copy.deepcopy(model), task, 0))]
    assert sizes == [150, 150]
    found = hessian_gradient(copy.deepcopy(model), task, (), 0)
    weights = list(model.double().parameters())
    loss = task.loss(model(task.train.inputs.double()) / 200, task.train.targets)
    slopes = torch.autograd.grad(loss, weights, create_graph=True)
    along = sum((slope * slope.detach()).sum() for slope in slopes)
    for value, whole in zip(found.values(), torch.autograd.grad(along, weights), strict=True):
        assert torch.allclose(value, whole, rtol=1e-9, atol=1e-18)


def _batches(flow):
    seen = []
    flow.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    list(flow.losses())
    return seen


def test_no_chunk_is_a_single_image_and_classes_are_mixed():
    # 251 images of 251 classes: 126 and 125 rather than 250 and one, which batch norm refuses.
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 251))
    flow = GradientFlow(model, task_of(2, size=251, classes=251), 0)
    assert [len(batch) for batch in _batches(flow)] == [126, 125]
    assert flow.chosen.tolist() != sorted(flow.chosen.tolist())


def test_pruned_weights_are_no_direction():
    # With w_00 = 0 the gradient has no part along it: H g by differences along the rest.
    model, task = chain(4, 6, 3, unit=nn.Tanh), task_of(4)
    model[0].weight.data[0, 0] = 0.0
    direction = GradientFlow(copy.deepcopy(model), task, 0).gradient()
    assert direction["0.weight"][0, 0] == 0.0
    assert direction["0.weight"].count_nonzero() == 23
    scores = scores_of("grasp", model, task)
    assert scores["0.weight"][0, 0] == 0.0


def norm_net():
    return settle(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
    )


def test_grasp_uses_the_batch_s_statistics_and_no_dropout():
    model, task = norm_net(), task_of(1, 6, 6)
    first = hessian_gradient(copy.deepcopy(model), task, (), 0)
    assert first["0.weight"].any()
    # Running statistics play no part, and without dropout nothing is drawn.
    model[1].running_mean += 5.0
    model[1].running_var *= 9.0
    second = hessian_gradient(copy.deepcopy(model), task, (), 0)
    assert all(torch.equal(first[name], second[name]) for name in first)
    # In eval mode they would: the gradient on them is another one.
    before, after = (
        gather(frozenset({Signal.GRADIENT}), net, task, (), 0)[Signal.GRADIENT]["0.weight"]
        for net in (norm_net(), model)
    )
    assert not torch.allclose(before, after)


def test_grasp_sees_behind_a_norm_of_zero_scales():
    model = norm_net()
    model[1].weight.data.zero_()
    model[1].bias.data.fill_(1.0)
    assert hessian_gradient(model, task_of(1, 6, 6), (), 0)["0.weight"].any()


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


def test_attention_has_second_derivatives():
    found = hessian_gradient(settle(Attending()), task_of(5, 4), (), 0)
    assert found["attention.in_proj_weight"].any()
    assert all(bool(value.isfinite().all()) for value in found.values())


# SynFlow -----------------------------------------------------------------------------------------


def test_synaptic_flow_by_hand():
    # |W1| = [[1, 2], [3, 0]] on (1, 1) gives (3, 3); |W2| = [[1, 1]] gives R = 6. dR/d|W2| is
    # what the layer reads, dR/d|W1| what the unit is worth behind it: 1, everywhere.
    model = chain(2, 2, 1)
    model[0].weight.data = torch.tensor([[1.0, -2.0], [-3.0, 0.0]])
    model[2].weight.data = torch.tensor([[1.0, -1.0]])
    found = synaptic_flow(copy.deepcopy(model), task_of(2), (), 0)
    assert found["0.weight"].tolist() == [[1, 1], [1, 1]]
    assert found["2.weight"].tolist() == [[3, 3]]
    scores = scores_of("synflow", model, task_of(2))
    assert scores["0.weight"].tolist() == [[1, 2], [3, 0]]
    assert scores["2.weight"].tolist() == [[3, 3]]
    assert scores["0.weight"].dtype is torch.float64


@pytest.mark.parametrize("unit", [nn.ReLU, nn.ReLU6, nn.GELU, nn.Identity])
def test_every_layer_s_scores_sum_to_the_flow(unit):
    model = chain(5, 8, 7, 6, 3, unit=unit)
    scores = scores_of("synflow", model, task_of(5))
    signal = torch.ones(5, dtype=torch.float64)
    for layer in model:
        signal = layer.weight.double().abs() @ signal if isinstance(layer, nn.Linear) else signal
    total = float(signal.detach().sum())
    assert total > 6  # beyond where ReLU6 is flat
    for value in scores.values():
        assert (value >= 0).all()
        assert float(value.sum()) == pytest.approx(total, rel=1e-12)


def test_flow_is_conserved_in_a_convolution_net_whatever_its_norms_hold():
    model = settle(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, groups=2, bias=False),
            nn.GroupNorm(2, 6),
            nn.ReLU6(inplace=True),
            nn.Flatten(),
            nn.Linear(6, 3, bias=False),
        )
    )
    model[1].weight.data.zero_()  # as residual blocks are initialised
    sums = [float(v.sum()) for v in scores_of("synflow", model, task_of(1, 6, 6)).values()]
    assert sums[0] > 0
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_flow_is_conserved_across_the_cuts_of_a_residual_net():
    # Stem and classifier carry all of R, the two convolutions of a block the branch's part of it.
    model = tiny_resnet()
    model[-1].bias.data.zero_()
    sums = {n: float(v.sum()) for n, v in scores_of("synflow", model, task_of(3, 8, 8)).items()}
    assert sums["0.weight"] == pytest.approx(sums["8.weight"], rel=1e-12)
    for block in ("3", "4", "5"):
        one, two = (sums[f"{block}.conv{number}.weight"] for number in (1, 2))
        assert one == pytest.approx(two, rel=1e-12)
        assert one < sums["0.weight"]


def test_synflow_reads_no_data_and_draws_nothing():
    model = chain(5, 8, 3)
    first = scores_of("synflow", model, task_of(5, seed=1))
    second = scores_of("synflow", model, task_of(5, size=7, classes=2, seed=2))
    other = gather(frozenset({Signal.SYNAPTIC_FLOW}), model, task_of(5), (), 9)
    assert all(torch.equal(first[name], second[name]) for name in first)
    again = SCORES.get("synflow")()(ModelView(dict(model.named_parameters()), {}, other))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_signal_beyond_float64_is_refused():
    # R is near 1e450, its derivatives near 1e300: scores, their products with 1e150, overflow.
    model = chain(4, 4, 4, 3).double()
    for value in model.parameters():
        value.data.fill_(1e150)
    with pytest.raises(TaskError, match="float64"):
        synaptic_flow(model, task_of(4), (), 0)


def prune(model, name, task, kept, rounds):
    """Score and mask without training in between; returns the masks of every round."""
    model = copy.deepcopy(model)
    score, weight = SCORES.get(name)(), GRANULARITIES.get("weight")()
    weights = {n: model.get_parameter(n).detach() for n in prunable_parameters(model)[0]}
    masks, history = dense_masks(weights), []
    total = sum(value.numel() for value in weights.values())
    for k in range(1, rounds + 1):
        view = view_of(model, *score.needs, task, masks)
        part = 1 - (kept / total) ** (k / rounds)
        masks = keep_masks(score(view), weight, ALLOCATIONS.get("global"), part, view).masks
        for n, value in weights.items():
            value.mul_(masks[n])
        history.append(masks)
    return history


@pytest.mark.parametrize("kept", [6, 9, 30])
def test_a_hundred_rounds_empty_no_layer(kept):
    # Six layers, the last of 3 * 8 weights and the first of 8 * 40: a chain of K >= 6 weights is
    # left. One round of it empties a layer, and so does SNIP.
    model = chain(40, 8, 40, 8, 40, 8, 3)
    history = prune(model, "synflow", task_of(40), kept, 100)
    assert sum(int(mask.sum()) for mask in history[-1].values()) == kept
    assert all(bool(mask.any()) for mask in history[-1].values())
    for before, after in pairwise(history):
        assert not any(bool((after[n] & ~before[n]).any()) for n in after)
    once = prune(model, "synflow", task_of(40), kept, 1)[-1]
    assert any(not torch.equal(once[n], mask) for n, mask in history[-1].items())
    if kept == 6:
        assert not all(bool(mask.any()) for mask in once.values())


# SNIP and SynFlow --------------------------------------------------------------------------------


def test_snip_s_signed_sums_are_equal_in_every_layer():
    # A chain without biases is homogeneous of degree 1 in each layer, so sum(w * g) is one number.
    model, task = chain(5, 8, 7, 3), task_of(5)
    gradients = gather(frozenset({Signal.GRADIENT}), model, task, (), 0)[Signal.GRADIENT]
    weights = {name: value.detach().double() for name, value in model.named_parameters()}
    sums = [float((weight * gradients[name]).sum()) for name, weight in weights.items()]
    assert abs(sums[0]) > 1e-3
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_scores_ignore_a_scale_that_the_next_layer_takes_back(name):
    model, task = chain(5, 8, 7, 3), task_of(5)
    before = scores_of(name, model, task)
    model[0].weight.data *= 4.0
    model[2].weight.data /= 4.0
    after = scores_of(name, model, task)
    for key, value in before.items():
        assert torch.allclose(value, after[key], rtol=1e-12, atol=0)
    magnitudes = SCORES.get("magnitude")()(ModelView(dict(model.named_parameters()), {}))
    assert not torch.allclose(magnitudes["0.weight"], chain(5, 8, 7, 3)[0].weight.abs())
