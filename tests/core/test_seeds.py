from __future__ import annotations

import subprocess
import sys

import torch

from autoprune.core.seeds import global_stream, numpy_stream, stream_seed, torch_stream


def test_a_stream_is_its_name() -> None:
    seeds = [stream_seed(r, *labels) for r in (0, 1) for labels in ((), ("a",), ("a", 1), ("b",))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(0, "a", 1) == stream_seed(0, "a", "1")


def test_a_seed_is_the_first_eight_bytes_of_a_hash() -> None:
    # printf 0/init | sha256sum begins with 2a29a3e290b9715c; halved, for 63 bits.
    assert stream_seed(0, "init") == 0x2A29A3E290B9715C >> 1


def test_streams_do_not_share_state() -> None:
    one, other = torch_stream(0, "x"), torch_stream(0, "x")
    torch.rand(5, generator=one)
    assert torch.equal(
        torch.rand(3, generator=other), torch.rand(3, generator=torch_stream(0, "x"))
    )
    assert numpy_stream(0, "x").random() == numpy_stream(0, "x").random()


def test_the_global_generator_is_put_back() -> None:
    before = torch.random.get_rng_state()
    with global_stream(0, "model"):
        inside = torch.rand(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    with global_stream(0, "model"):
        assert torch.equal(torch.rand(2), inside)


def test_a_raising_body_puts_it_back_too() -> None:
    before = torch.random.get_rng_state()
    try:
        with global_stream(0, "model"):
            torch.rand(2)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.random.get_rng_state(), before)


def test_core_needs_no_torch() -> None:
    code = """
import sys
import autoprune.core.canonical, autoprune.core.config, autoprune.core.errors
import autoprune.core.records, autoprune.core.registry, autoprune.core.seeds
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
