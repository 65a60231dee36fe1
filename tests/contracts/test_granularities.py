"""Every registered granularity keeps the contract."""

from __future__ import annotations

import pytest

from autoprune.pruning.registry import GRANULARITIES
from autoprune.testing.granularities import GranularityContract


class TestGranularities(GranularityContract):
    @pytest.fixture(params=GRANULARITIES.names())
    def make(self, request):
        return GRANULARITIES.get(request.param)
