"""What a search can trade accuracy for, and which kinds of pruning gain anything in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from autoprune.methods.base import Kind

Objective = Literal["accuracy", "sparsity", "macs", "latency_ms", "params", "size_bytes"]

OBJECTIVES: tuple[str, ...] = get_args(Objective)

KINDS: dict[Kind, str] = {
    "weights": "a smaller packed file; not faster, a dense runtime computes the zeros",
    "units": "smaller and faster in every runtime",
    "low_rank": "smaller; often hardly faster (two thin layers replace one)",
}
"""What each kind of pruning buys, in the runtimes an export is for: torch and onnxruntime."""

_STORED = frozenset({"sparsity", "size_bytes"})
"""Objectives that count what is kept. The others belong to the exported graph, whose shapes a mask
leaves as they are: its zeros are stored as parameters, multiplied and waited for."""


def gains(kind: Kind, objectives: Sequence[str]) -> bool:
    """Whether a kind of pruning can lower any of the objectives after accuracy.

    Examples
    --------
    >>> gains("weights", ("accuracy", "macs"))
    False
    >>> gains("weights", ("accuracy", "macs", "size_bytes"))
    True
    """
    return kind != "weights" or bool(_STORED & set(objectives[1:]))


def no_gain(objectives: Sequence[str]) -> str:
    """Say why single weights are left out of a search."""
    return (
        f"masks of single weights do not change {' or '.join(objectives[1:])}: a dense runtime "
        "(torch, onnxruntime) computes their zeros"
    )
