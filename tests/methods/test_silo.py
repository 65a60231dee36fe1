from __future__ import annotations

import pytest
import torch

from autoprune.trial.context import WorkerContext
from tests.methods.support import job, labelled, plan, state


def test_the_peak_rises_with_the_rounds(digits_context: WorkerContext) -> None:
    # Card silo, golden values for p = .2 (S = 1 - .8^4), q = 1, beta = 5, delta .03, epsilon .04.
    silo = {"low": 0.03, "rise": 0.04, "beta": 5.0, "delay": 1}
    last = plan(job("imp", sparsity=1 - 0.8**4, rounds=4, epochs=4, lr="silo", lr_params=silo))[-1]
    curves = [state(s, digits_context).tensors["lr_curve"] for s in labelled(last, "retrain")]
    assert [len(curve) for curve in curves] == [17] * 4
    peaks = [curve.max().item() for curve in curves]
    # The card prints six digits.
    assert peaks == pytest.approx([0.03, 0.030039, 0.032132, 0.047611], abs=5e-7)
    for curve, peak in zip(curves, peaks, strict=True):
        # The first drop comes at step 9 (.5 of 17 is 8.5), the second at 13 (12.75).
        assert torch.allclose(curve[9:13], torch.tensor(peak / 10, dtype=torch.float64))
        assert torch.allclose(curve[13:], torch.tensor(peak / 100, dtype=torch.float64))


def test_no_rise_is_a_constant_peak(digits_context: WorkerContext) -> None:
    silo = {"low": 0.05, "rise": 0.0}
    last = plan(job("imp", sparsity=0.9, rounds=3, lr="silo", lr_params=silo))[-1]
    cycles = labelled(last, "retrain")
    first, *rest = (state(stage, digits_context).tensors["lr_curve"] for stage in cycles)
    assert all(torch.equal(first, curve) for curve in rest)
