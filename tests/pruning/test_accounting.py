"""What is left of a model, counted by hand."""

from __future__ import annotations

import pytest
import torch

from autoprune.core.canonical import digest
from autoprune.metrics.layers import prunable_layers
from autoprune.metrics.macs import count_macs
from autoprune.pruning.accounting import account
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import find_groups
from autoprune.pruning.low_rank import project
from autoprune.pruning.masks import dense_masks, mask_sha256
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import tiny_conv, tiny_mlp, tiny_resnet

X = torch.zeros(1, 6)
NAMES = ("0.weight", "2.weight", "4.weight")


def count(model, masks=(), units=(), ranks=(), groups=(), x=X, **options):
    layers = prunable_layers(model, x)
    return account(model, dict(masks), dict(units), dict(ranks), groups, layers, x, **options)


def weights_of(model):
    return {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}


def test_a_dense_model():
    model = tiny_mlp()
    found = count(model)
    # 62 weights and 12 biases; one multiply-add per weight.
    assert found == {
        "sparsity": 0.0,
        "sparsity_total": 0.0,
        "params": 74,
        "params_nonzero": 74,
        "macs": 62,
        "macs_effective": 62.0,
        "layers": dict.fromkeys(NAMES, 1.0),
        "mask_sha256": mask_sha256(dense_masks(weights_of(model))),
    }


def test_masked_weights():
    model = tiny_mlp()
    masks = dense_masks(weights_of(model))
    masks["0.weight"][:, :3] = False
    masks["4.weight"][0] = False
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    found = count(model, masks)
    # 15 of 30 and 4 of 12 weights are gone, 19 in all.
    assert found["sparsity"] == pytest.approx(19 / 62)
    assert found["sparsity_total"] == pytest.approx(19 / 74)
    assert (found["params"], found["params_nonzero"]) == (74, 55)
    assert (found["macs"], found["macs_effective"]) == (62, pytest.approx(43))
    assert found["layers"] == {
        "0.weight": 0.5,
        "2.weight": 1.0,
        "4.weight": pytest.approx(8 / 12),
    }
    assert found["mask_sha256"] == mask_sha256(masks)


def test_the_given_dense_macs_stand_when_nothing_is_removed():
    assert count(tiny_mlp(), dense_macs=100)["macs"] == 100


def remove_units(model, x, keep):
    view = ModelView(
        weights_of(model), dense_masks(weights_of(model)), groups=find_groups(model, x)
    )
    granularity = ChannelGranularity()
    scores = {g.name: torch.arange(g.num_units, dtype=torch.float32) for g in view.groups}
    chosen = granularity.select(granularity.pool(scores, view), keep, view)
    with torch.no_grad():
        for name, mask in chosen.masks.items():
            model.get_parameter(name).mul_(mask)
    return chosen, {n: flags.int().tolist() for n, flags in chosen.units.items()}, view.groups


def test_removed_units():
    model = tiny_mlp()
    chosen, units, groups = remove_units(model, X, {"0.weight": 3, "2.weight": 2})
    found = count(model, chosen.masks, units, (), groups)
    # 6 - 3 - 2 - 3: 18 + 6 + 6 = 30 weights, 3 + 2 + 3 biases.
    assert found["sparsity"] == pytest.approx(1 - 30 / 62)
    assert found["sparsity_total"] == pytest.approx(1 - 38 / 74)
    assert found["params"] == found["params_nonzero"] == 38
    assert found["macs"] == 30
    assert found["macs_effective"] == pytest.approx(30)
    dense_shaped = {name: chosen.masks[name] for name in NAMES}
    assert found["mask_sha256"] == mask_sha256(dense_shaped)


@pytest.mark.parametrize(
    ("build", "shape"), [(tiny_conv, (1, 1, 6, 6)), (tiny_resnet, (1, 3, 8, 8))]
)
def test_measured_macs_of_the_small_model_are_the_analytic_sum(build, shape):
    model, x = build(), torch.zeros(shape)
    keep = {g.name: g.num_units // 2 for g in find_groups(model, x)}
    chosen, units, groups = remove_units(model, x, keep)
    found = count(model, chosen.masks, units, (), groups, x)
    assert found["macs"] == pytest.approx(found["macs_effective"])
    assert found["macs"] < count_macs(model, x)
    masked = sum(int(mask.sum()) for mask in chosen.masks.values())
    untouched = [p for n, p in model.named_parameters() if n not in chosen.masks]
    assert found["params"] == masked + sum(p.numel() for p in untouched)


def test_low_rank_layers():
    model = tiny_mlp()
    with torch.no_grad():
        for name in ("0.weight", "2.weight"):
            model.get_parameter(name).copy_(project(model.get_parameter(name), 1))
    ranks = {"0.weight": 1, "2.weight": 1}
    found = count(model, {}, {}, ranks)
    # 5 + 6 and 4 + 5 stored for 30 and 20; the last layer's 12 stay: 32 of 62.
    assert found["sparsity"] == pytest.approx(1 - 32 / 62)
    assert found["sparsity_total"] == pytest.approx(1 - 44 / 74)
    assert found["params"] == 44
    assert found["macs"] == 32
    assert found["macs_effective"] == pytest.approx(32)
    assert found["layers"]["0.weight"] == pytest.approx(11 / 30)
    assert found["mask_sha256"] == digest(ranks)


def test_low_rank_after_units_counts_the_small_factors():
    model = tiny_mlp()
    chosen, units, groups = remove_units(model, X, {"0.weight": 3, "2.weight": 4})
    found = count(model, chosen.masks, units, {"0.weight": 1}, groups)
    # 6 - 3 - 4 - 3: the first layer stores 6 + 3, then 12 + 12.
    assert found["sparsity"] == pytest.approx(1 - 33 / 62)
    assert found["macs"] == 33


def test_what_no_prunable_layer_computes_is_computed_all_the_same():
    """Attention's products are no layer's, so masks take nothing of them away."""
    model = tiny_mlp()
    masks = dense_masks(weights_of(model))
    masks["0.weight"][:, :3] = False
    plain = count(model, masks)
    more = count(model, masks, dense_macs=100)
    assert (plain["macs"], more["macs"]) == (62, 100)
    assert plain["macs_effective"] == 62 - 15
    assert more["macs_effective"] == 100 - 15
