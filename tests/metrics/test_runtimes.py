from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoprune.metrics import runtimes
from autoprune.metrics.latency import LEAST_CALLS, measure_latency
from autoprune.metrics.runtimes import side_by_side


class Slow(nn.Module):
    """A net that torch runs and no graph can hold."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 2 if float(inputs.sum()) > 1e9 else inputs


def test_a_slow_function_is_called_less_often() -> None:
    now = 0.0

    def call(example: Tensor) -> None:
        nonlocal now
        now += 1.0

    found = measure_latency({"a": call}, torch.zeros(1, 2), clock=lambda: now, limit_s=2.0)["a"]
    assert (found.num_calls, found.p50_ms) == (LEAST_CALLS, 1000.0)
    # Two calls to warm up, after which two seconds have passed, and the least that are timed.
    assert now == 2.0 + LEAST_CALLS


def test_dense_and_pruned_stand_side_by_side_in_each_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def opener(content: bytes, name: str, threads: int) -> nn.Module:
        opened.append((name, content, threads))
        return nn.Identity()

    monkeypatch.setattr(runtimes, "onnx_bytes", lambda model, example: b"made")
    monkeypatch.setattr(runtimes, "open_onnx", opener)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    models = {"dense": nn.Linear(4, 400), "pruned": nn.Linear(4, 2)}
    found = side_by_side(models, (4,), onnx={"pruned": b"given"})
    assert [(r["runtime"], r["device"], r["batch"]) for r in found.rows] == [
        ("torch", "cpu", 1),
        ("torch", "cpu", 32),
        ("onnxruntime", "cpu", 1),
        ("onnxruntime", "cpu", 32),
    ]
    threads = torch.get_num_threads()
    assert opened == [("dense", b"made", threads), ("pruned", b"given", threads)]
    assert found.left_out == {}
    for row in found.rows:
        assert row["threads"] == threads
        assert row["speedup"] == row["dense_p50_ms"] / row["pruned_p50_ms"]
        assert 0 < row["pruned_p50_ms"] <= row["pruned_p90_ms"]


def test_what_cannot_be_timed_is_named() -> None:
    found = side_by_side({"dense": Slow()}, (4,), batches=(1,))
    assert found.left_out == {"onnxruntime": "no ONNX file was asked for"}
    assert [row["runtime"] for row in found.rows][:1] == ["torch"]
    assert "speedup" not in found.rows[0]
    refused = side_by_side({"dense": Slow()}, (4,), onnx={}, batches=(1,))
    assert "must be traceable" in refused.left_out["onnxruntime"]
