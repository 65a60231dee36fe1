"""What LRPET's exports hold, counted from a net that is really split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autoprune.metrics.macs import count_macs
from autoprune.models.build import build_model
from autoprune.pruning.compact import compact
from autoprune.pruning.low_rank import rank_of

PAPER = {0.57: (56.06e6, 0.394e6)}
"""Share of singular values that go, to multiply-adds and weights in the authors' table."""

SHARES = (0.54, 0.57, 0.65, 0.70, 0.80)
SHAPE = (3, 32, 32)


def measure(name: str, shares: Sequence[float] = SHARES) -> list[dict[str, Any]]:
    """Split every convolution of a net, as the authors do, and count what the result holds.

    Returns
    -------
    list of dict
        ``share`` (0 is dense), ``macs`` and ``weights`` of convolutions and linear layers.
    """
    model = build_model(name, 10, SHAPE).eval()
    rows = [_row(0.0, model)]
    for share in shares:
        ranks = {
            f"{path}.weight": rank_of(layer.weight.shape, share)
            for path, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d)
        }
        rows.append(_row(share, compact(model, {}, ranks, ())))
    return rows


def _row(share: float, model: nn.Module) -> dict[str, Any]:
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return {
        "share": share,
        "macs": count_macs(model, torch.zeros(1, *SHAPE)),
        "weights": sum(layer.weight.numel() for layer in layers),
    }
