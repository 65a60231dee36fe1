"""Latency: several models in turns, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAST_CALLS = 5
"""Timed calls of each function, however slow it is."""


@dataclass(frozen=True)
class Latency:
    """How long one call takes, and where that was measured.

    Parameters
    ----------
    p50_ms, p90_ms : float
        Median and 90th percentile in milliseconds.
    num_calls : int
        Timed calls.
    device : str
        Device type the inputs were on.
    threads : int
        Threads that torch used within an operation.
    batch : int
        Inputs per call.
    """

    p50_ms: float
    p90_ms: float
    num_calls: int
    device: str
    threads: int
    batch: int


def measure_latency(
    functions: Mapping[str, Callable[[Tensor], object]],
    example: Tensor,
    num_calls: int = 50,
    num_warmup: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    limit_s: float | None = None,
) -> dict[str, Latency]:
    """Time functions of one input batch, one call of each in turn.

    Parameters
    ----------
    functions : mapping
        Name (``"dense"``, ``"pruned"``) to what is timed; models are expected in eval mode.
    example : Tensor ``(B, ...)``
        The batch each call gets.
    num_calls, num_warmup : int
        Timed calls of each function (>= 1), and calls before them that do not count.
    clock : callable
        Seconds, for tests.
    limit_s : float, optional
        Once so many seconds are timed, `LEAST_CALLS` calls are enough; one that warms up is, once
        so many seconds have passed.
    """
    samples: dict[str, list[float]] = {name: [] for name in functions}
    with torch.inference_mode():
        _call(functions, example, clock, samples, num_warmup, 1, limit_s)
        samples = {name: [] for name in functions}
        _call(functions, example, clock, samples, num_calls, LEAST_CALLS, limit_s)
    return {
        name: Latency(
            p50_ms=float(np.percentile(times, 50)),
            p90_ms=float(np.percentile(times, 90)),
            num_calls=len(times),
            device=example.device.type,
            threads=torch.get_num_threads(),
            batch=len(example),
        )
        for name, times in samples.items()
    }


def _call(
    functions: Mapping[str, Callable[[Tensor], object]],
    example: Tensor,
    clock: Callable[[], float],
    samples: dict[str, list[float]],
    most: int,
    least: int,
    limit_s: float | None,
) -> None:
    """Add a time in milliseconds of each function in turn, `most` times or until it is too long."""
    spent = 0.0
    for call in range(most):
        if limit_s is not None and spent >= limit_s and call >= least:
            return
        for name, function in functions.items():
            _wait(example)
            start = clock()
            function(example)
            _wait(example)
            took = clock() - start
            spent += took
            samples[name].append(1e3 * took)


def _wait(example: Tensor) -> None:
    """Wait for the device to finish what it was given."""
    if example.device.type == "cuda":
        torch.cuda.synchronize(example.device)
