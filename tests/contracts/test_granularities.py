"""Every registered granularity keeps the contract, and so do the patterns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoprune.pruning.granularities.spec import resolve_granularity
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.registry import GRANULARITIES
from autoprune.pruning.view import ModelView
from autoprune.testing.granularities import GranularityContract
from autoprune.testing.nets import settle


class TestGranularities(GranularityContract):
    @pytest.fixture(params=GRANULARITIES.names())
    def make(self, request):
        return GRANULARITIES.get(request.param)


class TestPatterns(GranularityContract):
    """Patterns have no names of their own, and layers of whole blocks to be tried on."""

    @pytest.fixture(params=["2:4", "1:4", "n:4", "n:8"])
    def make(self, request):
        self.size = int(request.param[2:])
        return lambda: resolve_granularity(request.param)

    @pytest.fixture(params=["mlp", "conv"])
    def view(self, request):
        linear = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 3))
        convs = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1), nn.Linear(16, 5))
        model = settle(linear if request.param == "mlp" else convs)
        weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
        return ModelView(weights, dense_masks(weights))

    def first_units(self, like: Tensor, count: int) -> Tensor:
        # Half of every layer is N = M / 2: the first of every block.
        assert count == like.numel() // 2
        inside = torch.arange(like.shape[1]) % self.size < self.size // 2
        return inside.reshape(-1, *(1,) * (like.dim() - 2)).expand(like.shape)
