"""Every registered sparsity schedule keeps the contract."""

from __future__ import annotations

import pytest

from autoprune.pruning.registry import SPARSITY_SCHEDULES
from autoprune.testing.schedules import SparsityScheduleContract


class TestSparsitySchedule(SparsityScheduleContract):
    @pytest.fixture(params=SPARSITY_SCHEDULES.names())
    def make(self, request):
        part = SPARSITY_SCHEDULES.get(request.param)
        return lambda: part
