"""Parameters, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from autoprune.core.records import LayerInfo


def count_params(model: nn.Module) -> int:
    """Return the number of parameter elements; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_nonzero(model: nn.Module) -> int:
    """Return the number of parameter elements that are not 0; tied ones count once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


def effective_macs(layers: Iterable[LayerInfo], density: Mapping[str, float]) -> float:
    """Return the sum of each layer's multiply-adds times its density, 1 for layers not named."""
    return sum(layer.macs * density.get(layer.name, 1.0) for layer in layers)
