"""Every registered learning-rate schedule keeps the contract."""

from __future__ import annotations

import pytest

from autoprune.testing.lr import LRContract
from autoprune.training.registry import LR_SCHEDULES


class TestLR(LRContract):
    @pytest.fixture(params=LR_SCHEDULES.names())
    def make(self, request):
        return LR_SCHEDULES.get(request.param)
