"""ResNet-20 on noise of CIFAR-10's shape, for machines without the images: a task file."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from autoprune.models.build import build_model

SIZE = int(os.environ.get("SYNTHETIC_SIZE", "50000"))
WIDTH = float(os.environ.get("SYNTHETIC_WIDTH", "1"))


def _noise(count: int, seed: int) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=stream, dtype=torch.uint8)
    return images, torch.arange(count) % 10


def model() -> nn.Module:
    """Return a fresh network."""
    return build_model("resnet20", 10, (3, 32, 32), WIDTH)


def train_data() -> tuple[Tensor, Tensor]:
    """Return as many images as ``SYNTHETIC_SIZE`` says."""
    return _noise(SIZE, 0)


def val_data() -> tuple[Tensor, Tensor]:
    """Return a tenth of that."""
    return _noise(max(20, SIZE // 10), 1)


def test_data() -> tuple[Tensor, Tensor]:
    """Return a tenth of that."""
    return _noise(max(20, SIZE // 10), 2)
