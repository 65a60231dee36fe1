from __future__ import annotations

import torch

from autoprune.metrics.latency import measure_latency


def test_models_are_timed_in_turns_by_the_clock() -> None:
    now, calls = 0.0, []

    def take(name: str, seconds: list[float]):
        def call(example: torch.Tensor) -> None:
            nonlocal now
            assert torch.is_inference_mode_enabled()
            calls.append((name, len(example)))
            now += seconds.pop(0)

        return call

    # The first of each warms up and does not count.
    dense = take("dense", [9.0, 0.001, 0.002, 0.003])
    pruned = take("pruned", [9.0, 0.5, 0.5, 0.5])
    example = torch.zeros(4, 2)
    found = measure_latency(
        {"dense": dense, "pruned": pruned}, example, num_calls=3, num_warmup=1, clock=lambda: now
    )
    assert calls == [("dense", 4), ("pruned", 4)] * 4
    # 1, 2, 3 ms: the median is 2, the 90th percentile lies 0.8 of the way from 2 to 3. The clock
    # adds to 18, so the differences carry some 1e-12 of rounding.
    assert abs(found["dense"].p50_ms - 2.0) < 1e-9
    assert abs(found["dense"].p90_ms - 2.8) < 1e-9
    assert abs(found["pruned"].p50_ms - 500.0) < 1e-9
    assert (found["dense"].device, found["dense"].batch) == ("cpu", 4)
    assert (found["dense"].num_calls, found["dense"].threads) == (3, torch.get_num_threads())
