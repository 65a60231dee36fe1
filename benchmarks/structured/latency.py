"""How long small nets take beside the dense one: one thread, in turns, exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.config import TaskConfig
from autoprune.metrics.latency import measure_latency
from autoprune.models.build import build_model
from autoprune.models.graph import onnx_bytes, open_onnx
from autoprune.pruning.compact import compact
from autoprune.pruning.groups import find_groups

BATCHES = (1, 32)


def widths(row: Mapping[str, Any]) -> str:
    """Name a structure by what is left of each group and layer: equal names, equal nets."""
    units = [f"{name}:{kept.count('1')}" for name, kept in row["units"].items()]
    return " ".join([*units, *(f"{name}~{rank}" for name, rank in row["ranks"].items())])


class Nets:
    """Rebuilds nets of a task from what jobs left of them, with fresh weights."""

    def __init__(self, task: TaskConfig, classes: int, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.dense = build_model(task.model, classes, shape, task.width).eval()
        self._groups: Any = None

    @property
    def groups(self) -> Any:
        """Unit groups, traced once."""
        if self._groups is None:
            self._groups = find_groups(self.dense, torch.zeros(2, *self.shape))
            self.dense.eval()
        return self._groups

    def of(self, row: Mapping[str, Any]) -> nn.Module:
        """Return the small net of a row."""
        units = {name: [int(bit) for bit in kept] for name, kept in row["units"].items()}
        groups = self.groups if units else ()
        slim = compact(self.dense, units, row["ranks"], groups).eval().requires_grad_(False)
        for parameter in slim.parameters():  # factors are views of larger storages
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        return slim


def exported(model: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return a model as onnxruntime runs its exported file, on one thread."""
    return open_onnx(onnx_bytes(model, torch.zeros(2, *shape)), "model", 1)


def timed(
    nets: Mapping[str, nn.Module],
    shape: tuple[int, ...],
    calls: int,
    repeats: int,
    *,
    export: bool = True,
) -> list[dict[str, Any]]:
    """Time nets in turns, each batch size and repetition by itself.

    Parameters
    ----------
    nets : mapping
        ``dense`` among them.
    export : bool
        Time exported files in onnxruntime, not torch.

    Returns
    -------
    list of dict
        ``net, batch, repeat, p50_ms, p90_ms, ratio``: medians, and their share of the dense one.
    """
    torch.set_num_threads(1)
    runs: Mapping[str, Callable[[Tensor], object]] = nets
    if export:
        runs = {name: exported(net, shape) for name, net in nets.items()}
    rows = []
    for repeat in range(repeats):
        for batch in BATCHES:
            found = measure_latency(runs, torch.zeros(batch, *shape), calls)
            for name, one in found.items():
                rows.append(
                    {
                        "net": name,
                        "batch": batch,
                        "repeat": repeat,
                        "p50_ms": one.p50_ms,
                        "p90_ms": one.p90_ms,
                        "ratio": one.p50_ms / found["dense"].p50_ms,
                    }
                )
    return rows
