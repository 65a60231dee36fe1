"""Whole kernels as units."""

from __future__ import annotations

import pytest
import torch

from autoprune.pruning.granularities.kernel import KernelGranularity
from autoprune.pruning.granularities.weight import WeightGranularity
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import tiny_conv, tiny_mlp


def view_of(model, masks=None):
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    return ModelView(weights, masks or dense_masks(weights))


def magnitudes(view):
    return {name: weight.abs() for name, weight in view.weights.items()}


def test_a_kernel_s_score_is_the_mean_of_its_living_weights():
    # Kernels (1, 3) -> 2 and (-, 8) with one weight masked -> 8; (-, -) is dead; then (4, 6) -> 5.
    weights = {"conv": torch.tensor([[[1.0, 3.0], [5.0, 8.0]], [[9.0, 9.0], [4.0, 6.0]]])}
    mask = torch.tensor([[[True, True], [False, True]], [[False, False], [True, True]]])
    view = ModelView(weights, {"conv": mask})
    units = KernelGranularity().pool(magnitudes(view), view)["conv"]
    assert units.scores.tolist() == [[2.0, 8.0], [-torch.inf, 5.0]]
    assert units.magnitudes.flatten().tolist() == pytest.approx([10**0.5, 8.0, 0.0, 52**0.5])
    assert (units.weights_per_unit, units.shape) == (2, (2, 2, 2))
    # Two of the best: 8 (one weight) and 5 (two), each with what lives of it.
    chosen = KernelGranularity().select({"conv": units}, {"conv": 2}, view).masks["conv"]
    assert chosen.tolist() == [[[False, False], [False, True]], [[False, False], [True, True]]]


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp"])
def test_on_linear_layers_it_is_single_weights(allocation):
    view = view_of(tiny_mlp())
    for percent in range(0, 96, 5):  # of 62 weights; 75 % is 46.5, a tie that round decides
        one, other = (
            keep_masks(
                magnitudes(view), part, ALLOCATIONS.get(allocation), percent / 100, view
            ).masks
            for part in (KernelGranularity(), WeightGranularity())
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.83, 0.95])
def test_convolutions_lose_whole_kernels_and_the_count_is_near(allocation, sparsity):
    view = view_of(tiny_conv())
    masks = keep_masks(
        magnitudes(view), KernelGranularity(), ALLOCATIONS.get(allocation), sparsity, view
    ).masks
    for name in ("0.weight", "4.weight"):
        held = masks[name].flatten(2).sum(2)
        assert set(held.unique().tolist()) <= {0, 9}
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert abs(kept - 567 * (1 - sparsity)) <= 9  # one kernel more or less is nine weights


def test_half_a_kernel_counts_for_what_lives_of_it():
    # After pruning single weights, kernels hold unequal numbers; the count is of living weights.
    view = view_of(tiny_conv())
    first = keep_masks(
        magnitudes(view), WeightGranularity(), ALLOCATIONS.get("global"), 0.5, view
    ).masks
    later = ModelView(view.weights, first)
    masks = keep_masks(
        magnitudes(later), KernelGranularity(), ALLOCATIONS.get("global"), 0.8, later
    ).masks
    assert not any(bool((masks[name] & ~first[name]).any()) for name in masks)
    assert abs(sum(int(mask.sum()) for mask in masks.values()) - 567 * 0.2) <= 9
