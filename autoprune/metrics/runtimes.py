"""Dense and pruned side by side in every runtime of this machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.errors import AutoPruneError
from autoprune.metrics.latency import Latency, measure_latency
from autoprune.models.graph import onnx_bytes, open_onnx

BATCHES = (1, 32)
LIMIT_S = 2.0
"""A pair of runtime and batch size is timed for about so long; see `measure_latency`."""

Functions = dict[str, Callable[[Tensor], object]]


@dataclass(frozen=True)
class RuntimeReport:
    """What was timed, and what could not be.

    Parameters
    ----------
    rows : list of dict
        One per runtime, device and batch: ``runtime, device, threads, batch, calls``, for each
        model ``<name>_p50_ms`` and ``<name>_p90_ms``, and with ``dense`` and ``pruned``
        ``speedup``, the ratio of their medians (2 is twice as fast).
    left_out : dict
        Runtime to the reason why it was not timed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def side_by_side(
    models: Mapping[str, nn.Module],
    input_shape: Sequence[int],
    *,
    onnx: Mapping[str, bytes] | None = None,
    batches: Sequence[int] = BATCHES,
) -> RuntimeReport:
    """Time models in turns in torch and onnxruntime on the CPU, and in torch on a GPU if any.

    Parameters
    ----------
    models : mapping
        ``dense`` and ``pruned``, or one of them; on the CPU, in eval mode.
    input_shape : sequence of int
        Of one input.
    onnx : mapping, optional
        Contents of ONNX files there are already, by the model's name; the others are made. None
        leaves onnxruntime out.
    batches : sequence of int
        Inputs per call.
    """
    report = RuntimeReport()
    _time(report, "torch", dict(models), input_shape, batches, "cpu")
    if onnx is None:
        report.left_out["onnxruntime"] = "no ONNX file was asked for"
    else:
        _time_onnx(report, models, input_shape, batches, onnx)
    if torch.cuda.is_available():
        on_gpu: Functions = {n: copy.deepcopy(m).to("cuda") for n, m in models.items()}
        _time(report, "torch", on_gpu, input_shape, batches, "cuda")
    return report


def _time_onnx(
    report: RuntimeReport,
    models: Mapping[str, nn.Module],
    input_shape: Sequence[int],
    batches: Sequence[int],
    onnx: Mapping[str, bytes],
) -> None:
    example, threads = torch.zeros(2, *input_shape), torch.get_num_threads()
    try:
        contents = {n: onnx.get(n) or onnx_bytes(model, example) for n, model in models.items()}
        sessions: Functions = {n: open_onnx(c, n, threads) for n, c in contents.items()}
    except AutoPruneError as error:
        report.left_out["onnxruntime"] = str(error)
    else:
        _time(report, "onnxruntime", sessions, input_shape, batches, "cpu")


def _time(
    report: RuntimeReport,
    runtime: str,
    functions: Functions,
    input_shape: Sequence[int],
    batches: Sequence[int],
    device: str,
) -> None:
    """Add a row for each batch size."""
    for batch in batches:
        example = torch.zeros(batch, *input_shape, device=device)
        timed = measure_latency(functions, example, limit_s=LIMIT_S)
        report.rows.append(_row(runtime, timed))


def _row(runtime: str, timed: Mapping[str, Latency]) -> dict[str, Any]:
    first = next(iter(timed.values()))
    row = {
        "runtime": runtime,
        "device": first.device,
        "threads": first.threads,
        "batch": first.batch,
        "calls": first.num_calls,
    }
    for name, latency in timed.items():
        row |= {f"{name}_p50_ms": latency.p50_ms, f"{name}_p90_ms": latency.p90_ms}
    if {"dense", "pruned"} <= timed.keys():
        row["speedup"] = timed["dense"].p50_ms / timed["pruned"].p50_ms
    return row
