"""Tiny networks whose removable units can be counted by hand."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.seeds import torch_stream

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def tiny_mlp() -> nn.Sequential:
    """Build neurons 6 - 5 - 4 - 3: 30 + 20 + 12 = 62 prunable weights, 9 removable units."""
    return settle(
        nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    )


def tiny_conv() -> nn.Sequential:
    """Build two convolutions, the second flattened (4 positions a channel), and two linear layers.

    Takes ``(n, 1, 6, 6)``; prunable weights 54 + 324 + 168 + 21 = 567.
    """
    return settle(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 7),
            nn.BatchNorm1d(7),
            nn.ReLU(),
            nn.Linear(7, 3),
        )
    )


class PaddedBlock(nn.Module):
    """A residual block whose shortcut subsamples and pads channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        step = self.stride
        short = functional.pad(x[:, :, ::step, ::step], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(y + short)


def tiny_resnet() -> nn.Sequential:
    """Build a stem of 4 channels and blocks of 4, 8 and 8; takes ``(n, 3, 8, 8)``."""
    return settle(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, 1, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            PaddedBlock(4, 4, 1),
            PaddedBlock(4, 8, 2),
            PaddedBlock(8, 8, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
    )


def settle(model: ModuleT, seed: int = 0) -> ModuleT:
    """Draw every tensor of a model anew, variances positive, and switch to eval mode."""
    stream = torch_stream(seed, "net")
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=stream) * 0.5)
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return model.eval()
