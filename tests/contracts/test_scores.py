"""Every registered score keeps the contract."""

from __future__ import annotations

import pytest

from autoprune.pruning.registry import SCORES
from autoprune.testing.scores import ScoreContract


class TestScore(ScoreContract):
    @pytest.fixture(params=SCORES.names())
    def make(self, request):
        return SCORES.get(request.param)
