"""Named random streams: a draw more in one never shifts another.

Every random number comes from a stream that is named by a root seed and a path of labels, so a
stage draws the same numbers whatever ran before it in the same process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(root: int, *labels: str | int) -> int:
    """Derive the 63-bit seed of a named stream from a root seed."""
    text = "/".join([str(root), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(root: int, *labels: str | int) -> np.random.Generator:
    """Return NumPy's generator for a named stream."""
    return np.random.default_rng(stream_seed(root, *labels))


def torch_stream(root: int, *labels: str | int) -> torch.Generator:
    """Return a CPU generator of torch's for a named stream."""
    import torch

    return torch.Generator().manual_seed(stream_seed(root, *labels))


@contextmanager
def global_stream(root: int, *labels: str | int) -> Iterator[None]:
    """Seed torch's global generators from a named stream, and put them back afterwards.

    Model constructors and dropout draw from the global generator; nothing else may.
    """
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(root, *labels))
        yield
