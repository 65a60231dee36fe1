"""Projection with energy transfer, factors, ranks, and who normalises whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoprune.core.records import LayerInfo
from autoprune.metrics.layers import prunable_layers
from autoprune.pruning.low_rank import (
    bn_of,
    break_even_rank,
    factorisable,
    factorise,
    low_rank_macs,
    low_rank_reach,
    project,
    rank_of,
    ranks_for_sparsity,
    reached_macs,
    reached_sparsity,
    splittable,
    stored_weights,
)

RANK = 13


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = draw(64, 32, 3, 3)
SCALE = draw(64, seed=1).abs() + 0.5  # away from 0, where the ridge of 1e-5 shows
SCALE[::3] *= -1


def folded(weight, scale=SCALE):
    return scale[:, None] * weight.flatten(1)


def spectrum(matrix):
    return torch.linalg.svdvals(matrix)


def numerical_rank(matrix):
    values = spectrum(matrix)
    return int((values > 1e-6 * values[0]).sum())


def test_rank_is_bounded_raw_and_folded():
    low = project(WEIGHT, RANK, SCALE)
    assert low.shape == WEIGHT.shape
    assert numerical_rank(low.flatten(1)) == numerical_rank(folded(low)) == RANK


def test_energy_is_kept_in_the_folded_metric():
    before, after = folded(WEIGHT), folded(project(WEIGHT, RANK, SCALE))
    assert float(after.norm() / before.norm()) ** 2 == pytest.approx(1, abs=1e-4)  # the ridge
    plain = project(WEIGHT, RANK)
    assert float(plain.norm()) == pytest.approx(float(WEIGHT.norm()), rel=1e-12)


def test_without_transfer_the_energy_is_that_of_the_kept_values():
    low = project(WEIGHT, RANK, energy_transfer=False)
    values = spectrum(WEIGHT.flatten(1)).square()
    assert float(low.norm() ** 2) == pytest.approx(float(values[:RANK].sum()), rel=1e-12)
    # Eckart and Young: the error is the energy that went, the least a rank of 13 allows.
    error = float((low - WEIGHT).norm() ** 2)
    assert error == pytest.approx(float(values[RANK:].sum()), rel=1e-12)


def test_the_truncation_is_best_in_the_folded_metric():
    low = folded(project(WEIGHT, RANK, SCALE, energy_transfer=False))
    least = float(spectrum(folded(WEIGHT))[RANK:].square().sum())
    assert float((low - folded(WEIGHT)).norm() ** 2) == pytest.approx(least, rel=1e-3)
    unaware = folded(project(WEIGHT, RANK, energy_transfer=False))
    assert float((unaware - folded(WEIGHT)).norm() ** 2) > 1.01 * least


def test_kept_values_grow_by_one_factor_and_subspaces_stay():
    low = project(WEIGHT, RANK).flatten(1)
    before, after = spectrum(WEIGHT.flatten(1)), spectrum(low)
    factor = after[:RANK] / before[:RANK]
    wanted = (before.square().sum() / before[:RANK].square().sum()).sqrt()
    assert torch.allclose(factor, wanted.expand(RANK))
    left, _, right = torch.linalg.svd(WEIGHT.flatten(1), full_matrices=False)
    assert torch.allclose(left[:, :RANK] @ left[:, :RANK].T @ low, low)
    assert torch.allclose(low @ right[:RANK].T @ right[:RANK], low)


@pytest.mark.parametrize(("scale", "tolerance"), [(None, 1e-12), (SCALE, 1e-3)])
def test_projecting_twice_changes_nothing(scale, tolerance):
    once = project(WEIGHT, RANK, scale)
    twice = project(once, RANK, scale)
    assert float((twice - once).norm() / once.norm()) < tolerance


def test_full_rank_is_the_identity():
    assert torch.allclose(project(WEIGHT, 64), WEIGHT)
    assert torch.allclose(project(WEIGHT, 64, SCALE), WEIGHT, rtol=1e-3, atol=1e-4)


def test_a_row_that_the_norm_switches_off_is_driven_to_nothing():
    scale = SCALE.clone()
    scale[5] = 1e-4
    row = project(WEIGHT, 64, scale)[5]
    # a^2 / (a^2 + 1e-5) = 1e-8 / 1.001e-5 of it is left.
    assert float(row.norm() / WEIGHT[5].norm()) == pytest.approx(9.99e-4, rel=1e-3)


def test_projection_by_hand():
    # diag(4, 3) at rank 1: energy 16 + 9 = 25 goes into the first value, 5.
    assert torch.allclose(
        project(torch.tensor([[4.0, 0.0], [0.0, 3.0]]), 1), torch.tensor([[5.0, 0.0], [0.0, 0.0]])
    )


def test_a_vanished_weight_and_the_dtype_are_kept():
    for vanished in (1e-6 * torch.eye(3), torch.zeros(3, 2)):
        assert torch.equal(project(vanished, 1), vanished)
    assert project(WEIGHT.float(), RANK).dtype == torch.float32


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (4, 12), (12, 4)])
def test_factors_multiply_to_the_projected_weight(shape):
    low = project(draw(*shape), 3)
    first, second = factorise(low, 3)
    assert first.shape == (3, *shape[1:])
    assert second.shape == (shape[0], 3, *(1,) * (len(shape) - 2))
    assert torch.allclose(second.flatten(1) @ first.flatten(1), low.flatten(1))
    assert first.numel() + second.numel() == stored_weights(shape, 3)
    # The values are shared evenly between the two.
    assert float(first.norm()) == pytest.approx(float(second.norm()))


def test_ranks_by_hand():
    assert rank_of((16, 3, 3, 3), 0.57) == 6  # 16 - 9.12 = 6.88
    assert rank_of((16, 3, 3, 3), 0.99) == 1
    assert rank_of((64, 10), 0.0) == 10
    # 64 * 576 / 640 = 57.6 and 64 * 64 / 128 = 32, where nothing is won yet.
    assert break_even_rank((64, 64, 3, 3)) == 57
    assert break_even_rank((64, 64, 1, 1)) == 31
    assert break_even_rank((1, 5)) == 0


def resnet(depth):
    """The convolutions of CIFAR's ResNets (option A) with the side of their outputs."""
    shapes = [((16, 3, 3, 3), 32)]
    before = 16
    for width, side in ((16, 32), (32, 16), (64, 8)):
        for _ in range((depth - 2) // 3):
            shapes.append(((width, before, 3, 3), side))
            before = width
    return [
        LayerInfo(str(n), shape, "conv", torch.Size(shape).numel() * side**2)
        for n, (shape, side) in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ("depth", "removed", "macs", "params"),
    [
        (56, 0.54, "61.93", "0.425"),
        (56, 0.57, "56.06", "0.394"),
        (56, 0.70, "38.57", "0.276"),
        (110, 0.54, "124.60", None),
        (110, 0.65, "93.78", "0.655"),
        (110, 0.80, "52.77", None),
        (20, 0.57, "18.21", None),
    ],
)
def test_published_costs_of_resnets(depth, removed, macs, params):
    layers = resnet(depth)
    fc = 640
    dense = {20: "40.55", 56: "125.49", 110: "252.89"}[depth]
    assert f"{(sum(layer.macs for layer in layers) + fc) / 1e6:.2f}" == dense
    stored = {n.name: stored_weights(n.shape, rank_of(n.shape, removed)) for n in layers}
    spent = sum(n.macs * stored[n.name] / n.num_weights for n in layers) + fc
    assert f"{spent / 1e6:.2f}" == macs
    # The published parameters leave norms and biases out.
    assert params in (None, f"{(sum(stored.values()) + fc) / 1e6:.3f}")


LAYERS = (
    LayerInfo("a", (8, 1, 3, 3), "conv", 0),
    LayerInfo("b", (16, 8, 3, 3), "conv", 0),
    LayerInfo("qkv", (48, 16), "attention", 0),
    LayerInfo("c", (10, 64), "linear", 0),
)


def test_ranks_come_nearest_to_the_sparsity():
    def ranks(removed):
        every = {n.name: rank_of(n.shape, removed) for n in LAYERS if n.kind != "attention"}
        return {
            n.name: every[n.name]
            for n in LAYERS
            if n.name in every and stored_weights(n.shape, every[n.name]) < n.num_weights
        }

    reached = [reached_sparsity(LAYERS, ranks(step / 1000)) for step in range(1001)]
    for sparsity in (0.1, 0.3, 0.45, 0.6):
        got = reached_sparsity(LAYERS, ranks_for_sparsity(LAYERS, sparsity))
        assert abs(got - sparsity) == pytest.approx(min(abs(r - sparsity) for r in reached))


def test_the_ends_of_the_range():
    assert ranks_for_sparsity(LAYERS, 0.0) == {}
    assert ranks_for_sparsity(LAYERS, 0.999) == {"a": 1, "b": 1, "c": 1}
    # 17 + 88 + 768 + 74 = 947 of 72 + 1152 + 768 + 640 = 2632.
    assert low_rank_reach(LAYERS) == pytest.approx(1 - 947 / 2632)
    assert ranks_for_sparsity(LAYERS, 0.999, names=["b"]) == {"b": 1}
    assert low_rank_reach(LAYERS, names=["b"]) == pytest.approx((1152 - 88) / 2632)


def test_layers_are_split_only_where_that_is_smaller():
    # At a tenth removed: b has rank 14 of 16, 14 * 88 = 1232 > 1152; c has rank 9, 666 > 640.
    for sparsity in (0.05, 0.2, 0.4):
        for name, rank in ranks_for_sparsity(LAYERS, sparsity).items():
            layer = next(n for n in LAYERS if n.name == name)
            assert stored_weights(layer.shape, rank) < layer.num_weights


class Norms(nn.Module):
    """Declared out of order, with norms before, after, and after a sum."""

    def __init__(self):
        super().__init__()
        self.bn_first, self.bn_sum, self.bn_pre = (nn.BatchNorm2d(4) for _ in range(3))
        self.b, self.c = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.a, self.d = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
        self.fc, self.bn_fc = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        x = self.bn_first(self.a(x)).relu()
        y = self.b(x)
        x = self.bn_sum(y + self.c(x)).relu()  # a sum: belongs to neither
        z = self.d(x)
        x = z + self.bn_pre(z)  # read twice: rectifying d would be wrong
        return self.bn_fc(self.fc(x.mean((2, 3))))


def test_norms_are_paired_by_what_they_read():
    model = Norms().train()
    before = model.bn_first.running_mean.clone()
    pairs = bn_of(model, torch.zeros(2, 3, 4, 4))
    assert pairs == {"a.weight": "bn_first", "fc.weight": "bn_fc"}
    assert model.training
    assert model.bn_first.training
    assert torch.equal(model.bn_first.running_mean, before)
    assert not any(module._forward_hooks for module in model.modules())


def test_only_plain_layers_can_be_split():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "net": Norms()})
    assert factorisable(model) == [f"net.{name}.weight" for name in ("b", "c", "a", "fc")]


class HeadFirst(nn.Module):
    """Declares its head before its body, and adds a shortcut to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.d = nn.Conv2d(3, 4, 1, groups=1)
        self.b = nn.Conv2d(4, 4, 1)
        self.short = nn.Linear(3, 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.b(torch.relu(self.d(inputs)))).mean((2, 3))
        return self.head(hidden) + self.short(inputs.mean((2, 3)))


def test_what_makes_the_outputs_stays_whole_wherever_it_was_declared():
    model = HeadFirst()
    model.b.weight.requires_grad_(False)
    layers = prunable_layers(model, torch.zeros(2, 3, 4, 4))
    assert [x.name for x in layers if x.output] == ["head.weight", "short.weight"]
    assert splittable(model, layers) == ["d.weight", "b.weight"]
    assert not model.b.weight.requires_grad


def test_a_model_without_gradients_ends_with_its_last_weight():
    class Shut(HeadFirst):
        @torch.no_grad()
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)

    layers = prunable_layers(Shut(), torch.zeros(2, 3, 4, 4))
    assert [x.name for x in layers if x.output] == ["short.weight"]


def test_multiply_adds_elsewhere_stay():
    # One of two equal layers at rank 1 keeps 8 of 16; of 1,000 MACs each and 500 elsewhere,
    # 500 of 2,500 go.
    layers = [LayerInfo(n, (4, 4), "linear", 1000) for n in ("a", "b")]
    assert reached_macs(layers, {"a": 1}) == 0.25
    assert reached_macs(layers, {"a": 1}, elsewhere=500) == pytest.approx(0.2)
    assert low_rank_macs(layers, elsewhere=500) == pytest.approx(0.4)
    assert ranks_for_sparsity(layers, 0.4, of="macs", elsewhere=500) == {"a": 1, "b": 1}


def test_weights_with_two_names_are_left_whole() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alone, self.one, self.two = (nn.Linear(6, 6) for _ in range(3))
            self.two.weight = self.one.weight
            self.again, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
            self.alias = self.again

    assert factorisable(Shared()) == ["alone.weight", "head.weight"]
