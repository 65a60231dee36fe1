"""The contract of a granularity."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autoprune.pruning.groups import find_groups
from autoprune.pruning.keep import Granularity, keep_masks
from autoprune.pruning.masks import MaskSet, dense_masks
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView, Scores
from autoprune.testing.nets import tiny_conv, tiny_mlp

SPARSITIES = (0.1, 0.37, 0.5, 0.63)


def _views() -> list[ModelView]:
    made = []
    for model, shape in ((tiny_mlp(), (2, 6)), (tiny_conv(), (2, 1, 6, 6))):
        weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
        groups = find_groups(model, torch.zeros(shape))
        made.append(ModelView(weights, dense_masks(weights), groups=groups))
    return made


def _flags(masks: MaskSet) -> dict[str, Tensor]:
    return masks.units or masks.masks


class GranularityContract:
    """Inherit it and supply `make`; every test then runs on your granularity."""

    @pytest.fixture
    def make(self) -> Callable[[], Granularity]:
        """Return a factory, so that tests share no state."""
        raise NotImplementedError

    @pytest.fixture(params=range(2), ids=["mlp", "conv"])
    def view(self, request: pytest.FixtureRequest) -> ModelView:
        """Return a dense view of a tiny network."""
        return _views()[int(request.param)]

    @pytest.fixture(params=["magnitude", "constant"])
    def scores(self, request: pytest.FixtureRequest, view: ModelView) -> Scores:
        """Return scores of single weights, distinct or all tied."""
        constant = request.param == "constant"
        return {n: torch.ones_like(w) if constant else w.abs() for n, w in view.weights.items()}

    def _keep(
        self, granularity: Granularity, scores: Scores, sparsity: float, view: ModelView
    ) -> MaskSet:
        return keep_masks(scores, granularity, ALLOCATIONS.get("global"), sparsity, view)

    def test_sparsity_zero_is_the_identity(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores
    ) -> None:
        masks = self._keep(make(), scores, 0.0, view).masks
        assert all(bool(mask.all()) for mask in masks.values())

    @pytest.mark.parametrize("sparsity", SPARSITIES)
    def test_no_other_count_comes_nearer_to_the_target(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores, sparsity: float
    ) -> None:
        granularity, allocate = make(), ALLOCATIONS.get("global")
        units = granularity.pool(scores, view)
        count = granularity.kept_count(units, sparsity, allocate, view)

        def miss(kept: int) -> float:
            masks = granularity.select(units, allocate(units, kept), view)
            return abs(masks.sparsity(list(view.weights)) - sparsity)

        total = sum(layer.num_units for layer in units.values())
        others = [kept for kept in (count - 1, count + 1) if 0 < kept <= total]
        assert all(miss(count) <= miss(kept) for kept in others)

    @pytest.mark.parametrize("sparsity", SPARSITIES)
    def test_masks_are_bool_of_the_weights_shapes(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores, sparsity: float
    ) -> None:
        masks = self._keep(make(), scores, sparsity, view).masks
        assert {n: masks[n].shape for n in view.weights} == {
            n: w.shape for n, w in view.weights.items()
        }
        assert {mask.dtype for mask in masks.values()} == {torch.bool}

    def test_ties_go_to_the_lower_index_and_the_count_is_exact(
        self, make: Callable[[], Granularity], view: ModelView
    ) -> None:
        granularity = make()
        units = granularity.pool({n: torch.ones_like(w) for n, w in view.weights.items()}, view)
        # Equal scores over all: units made of equally many weights tie within their layer.
        keep = {name: (layer.num_units + 1) // 2 for name, layer in units.items()}
        chosen = granularity.select(units, keep, view)
        for name, flags in _flags(chosen).items():
            size = 1 if chosen.units else units[name].weights_per_unit
            assert torch.equal(flags, self.first_units(flags, keep[name] * size))

    def first_units(self, like: Tensor, count: int) -> Tensor:
        """Return the flags that keep `count` entries where all scores tie.

        Override it where units are not a layer's entries in order.
        """
        return (torch.arange(like.numel()) < count).reshape(like.shape)

    @pytest.mark.parametrize("first", SPARSITIES[:2])
    def test_masks_only_shrink(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores, first: float
    ) -> None:
        granularity = make()
        before = self._keep(granularity, scores, first, view).masks
        turned = {name: -score for name, score in scores.items()}
        after = self._keep(granularity, turned, 0.6, replace(view, masks=before)).masks
        assert not any(bool((after[name] & ~before[name]).any()) for name in before)
        assert sum(int(m.sum()) for m in after.values()) < sum(
            int(m.sum()) for m in before.values()
        )

    def test_the_view_is_untouched(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores
    ) -> None:
        tensors = [*view.weights.values(), *view.masks.values(), *scores.values()]
        copies = [tensor.clone() for tensor in tensors]
        self._keep(make(), scores, 0.5, view)
        assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))

    def test_it_pickles(
        self, make: Callable[[], Granularity], view: ModelView, scores: Scores
    ) -> None:
        granularity = make()
        again = pickle.loads(pickle.dumps(granularity))  # noqa: S301 - our own bytes
        first, second = (self._keep(g, scores, 0.5, view).masks for g in (granularity, again))
        assert all(torch.equal(first[name], second[name]) for name in first)
