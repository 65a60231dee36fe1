"""What our own models share. No torch at import, so that they can be listed without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[[int, tuple[int, ...], float], "nn.Module"]
"""(number of classes, input shape ``(C, H, W)``, width factor) -> a fresh model."""


@dataclass(frozen=True)
class ModelFactory:
    """A registered model.

    Parameters
    ----------
    reference : str
        Where the architecture comes from.
    build : Builder
        Makes it; draws its initial weights from torch's global generator.
    kind : str
        ``"mlp"`` or ``"cnn"``.
    """

    reference: str
    build: Builder
    kind: str = "cnn"


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times the width factor, at least 1."""
    return max(1, round(channels * width))
