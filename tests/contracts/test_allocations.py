"""Every registered allocation keeps the contract."""

from __future__ import annotations

import pytest

from autoprune.pruning.registry import ALLOCATIONS
from autoprune.testing.allocations import AllocationContract


class TestAllocation(AllocationContract):
    @pytest.fixture(params=ALLOCATIONS.names())
    def make(self, request):
        part = ALLOCATIONS.get(request.param)
        return lambda: part
