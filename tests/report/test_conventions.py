"""A 3-layer net by hand.

Shapes (4, 10), (5, 4), (2, 5): 40 + 20 + 10 = 70 weights, 11 biases, 81 parameters, 70 MACs.
Kept shares .5, .25, 1: 20 + 5 + 10 = 35 weights, so 46 non-zero parameters and 35 effective MACs.
Without the first layer 15 of 30 weights are kept: RigL's sparsity is 50 %.
"""

from __future__ import annotations

from typing import Any

import pytest

from autoprune.report.conventions import convention_rows, physical, translate
from tests.report import synthetic

LAYERS = [
    {"name": "a", "shape": [4, 10]},
    {"name": "b", "shape": [5, 4]},
    {"name": "c", "shape": [2, 5]},
]
DENSE = {"params": 81, "macs": 70}
MASKED: dict[str, Any] = {
    "kind": "weights",
    "params": 81,
    "params_nonzero": 46,
    "macs": 70,
    "macs_effective": 35,
    "layers": {"a": 0.5, "b": 0.25, "c": 1.0},
}
SLIM = MASKED | {"kind": "units", "params": 27, "params_nonzero": 27, "macs": 14}


def test_a_masked_model_by_hand() -> None:
    value = translate(MASKED, DENSE, LAYERS)
    assert value.shrinkbench_compression == pytest.approx(81 / 46)
    assert value.shrinkbench_speedup == 2.0
    assert value.rigl_sparsity == pytest.approx(0.5)
    assert value.rigl_flops == 70.0
    assert value.rigl_flops_share == 0.5
    assert (value.modelopt_params, value.modelopt_flops) == (1.0, 1.0)
    assert (value.torch_pruning_params, value.torch_pruning_macs) == (1.0, 1.0)


def test_a_slim_model_by_hand() -> None:
    value = translate(SLIM, DENSE, LAYERS)
    assert value.modelopt_params == pytest.approx(1 / 3)
    assert value.modelopt_flops == pytest.approx(0.2)
    assert value.torch_pruning_params == pytest.approx(3.0)
    assert value.torch_pruning_macs == pytest.approx(5.0)


def test_rigl_needs_the_layers() -> None:
    assert translate(MASKED, DENSE).rigl_sparsity is None
    assert translate(MASKED | {"layers": {}}, DENSE, LAYERS).rigl_sparsity is None


def test_every_front_point_has_a_row_sparsest_last() -> None:
    summary = synthetic.summary()
    rows = convention_rows(summary | {"front": summary["front"][::-1]})
    assert [row["trial"] for row in rows] == [entry["trial"] for entry in summary["front"]]


def test_words_tell_zeros_from_size() -> None:
    zeros = physical(MASKED, DENSE)
    assert zeros.startswith("Only holds zeros")
    assert "35 of them are 0" in zeros
    slim = physical(SLIM, DENSE)
    assert slim.startswith("Physically smaller. Units are gone: 27 of 81")
    assert "20.0 % of the MACs" in slim
    assert "thin factors" in physical(SLIM | {"kind": "low_rank"}, DENSE)
