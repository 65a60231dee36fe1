"""VGG-16 with batch norms in its CIFAR form: thirteen convolutions and one linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.models.base import ModelFactory, scaled

if TYPE_CHECKING:
    from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def build(num_classes: int, input_shape: tuple[int, ...], width: float) -> nn.Module:
    """Build it; stages pool as long as there are two pixels to pool."""
    from collections import OrderedDict

    from torch import nn

    from autoprune.models.init import he_normal

    channels, side = input_shape[0], min(input_shape[1:])
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    number = 0
    for base, count in STAGES:
        out = scaled(base, width)
        for _ in range(count):
            number += 1
            layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1, bias=False)
            layers[f"bn{number}"] = nn.BatchNorm2d(out)
            layers[f"relu{number}"] = nn.ReLU()
            channels = out
        if side >= 2:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
            side //= 2
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, num_classes)
    return he_normal(nn.Sequential(layers))


VGG16_BN = ModelFactory(
    "Simonyan and Zisserman, VGG, ICLR 2015, arXiv:1409.1556; one linear layer, for small images",
    build,
)
