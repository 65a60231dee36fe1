from __future__ import annotations

import subprocess
import sys

import pytest

from autoprune.metrics.statistics import accuracy_interval


def test_three_seeds_by_hand() -> None:
    found = accuracy_interval([0.90, 0.92, 0.94], 1000)
    # s = 0.02, t(2) = 4.302653: 4.302653 * 0.02 / sqrt(3) = 0.0496827.
    # 1.959964 * sqrt(0.92 * 0.08 / 1000) = 0.0168148. Root of the squares' sum: 0.0524510.
    assert found.mean == pytest.approx(0.92)
    assert found.half_width == pytest.approx(0.0524510, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.867549, 0.972451), abs=1e-6)
    assert found.num_seeds == 3


def test_one_seed_has_the_test_sets_term_only() -> None:
    # 1.959964 * sqrt(0.5 * 0.5 / 100) = 0.0979982
    assert accuracy_interval([0.5], 100).half_width == pytest.approx(0.0979982, abs=1e-6)


def test_a_perfect_score_has_no_width() -> None:
    assert accuracy_interval([1.0, 1.0, 1.0], 360).half_width == 0.0


def test_scipy_and_torch_come_late() -> None:
    code = (
        "import sys, autoprune.metrics.statistics; assert not {'scipy', 'torch'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
