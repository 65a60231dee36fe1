"""The residual network for small images."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn

from autoprune.models.base import scaled
from autoprune.models.init import he_normal


class PadShortcut(nn.Module):
    """Option A: every other pixel, and zero channels on both sides; no weights."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.before = extra // 2
        self.after = extra - self.before

    def forward(self, inputs: Tensor) -> Tensor:
        """Subsample and pad ``(B, C, H, W)`` to ``(B, C + extra, H/2, W/2)``."""
        return F.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity() if stride == 1 else PadShortcut(out - channels)
        self.relu2 = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what follows the addition."""
        inner = self.relu1(self.bn1(self.conv1(inputs)))
        total: Tensor = self.relu2(self.bn2(self.conv2(inner)) + self.shortcut(inputs))
        return total


class ResNet(nn.Module):
    """ResNet for small images: 6n + 2 layers in three stages, 16, 32, 64 channels wide.

    The shortcuts between stages have no weights (option A): channels of one stage lie in the
    middle of the next one's, so that removing one takes it out of all later stages.

    Parameters
    ----------
    num_blocks : int
        Blocks per stage, n.
    """

    def __init__(self, num_classes: int, num_channels: int, width: float, num_blocks: int) -> None:
        super().__init__()
        first, second, third = (scaled(c, width) for c in (16, 32, 64))
        self.conv1 = nn.Conv2d(num_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(first, first, 1, num_blocks)
        self.layer2 = _stage(first, second, 2, num_blocks)
        self.layer3 = _stage(second, third, 2, num_blocks)
        self.fc = nn.Linear(third, num_classes)
        he_normal(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits ``(B, classes)``."""
        hidden = self.relu(self.bn1(self.conv1(inputs)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.fc(hidden.mean(dim=(2, 3)))
        return logits


def _stage(channels: int, out: int, stride: int, num_blocks: int) -> nn.Sequential:
    rest = (Block(out, out, 1) for _ in range(num_blocks - 1))
    return nn.Sequential(Block(channels, out, stride), *rest)
