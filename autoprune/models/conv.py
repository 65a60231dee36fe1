"""Conv-2, Conv-4 and Conv-6: small convolution nets without norms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from autoprune.models.base import ModelFactory, scaled

if TYPE_CHECKING:
    from torch import nn


def build(
    num_classes: int, input_shape: tuple[int, ...], width: float, *, num_blocks: int
) -> nn.Module:
    """Build blocks of two 3x3 convolutions and a pool (64, 128, 256 wide), then 256-256-classes.

    Conv-6 has 2.26 million weights at 3x32x32; the paper's table says 1.7 million.
    """
    from collections import OrderedDict

    from torch import nn

    from autoprune.models.init import glorot_normal

    channels, height, side = input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for block in range(num_blocks):
        out = scaled(64 * 2**block, width)
        for number in (2 * block + 1, 2 * block + 2):
            layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1)
            layers[f"relu{number}"] = nn.ReLU()
            channels = out
        layers[f"pool{block + 1}"] = nn.MaxPool2d(2)
        height, side = height // 2, side // 2
    layers["flatten"] = nn.Flatten()
    sizes = [channels * height * side, scaled(256, width), scaled(256, width), num_classes]
    for number in (1, 2, 3):
        layers[f"fc{number}"] = nn.Linear(sizes[number - 1], sizes[number])
        if number < 3:
            layers[f"fc_relu{number}"] = nn.ReLU()
    return glorot_normal(nn.Sequential(layers))


REFERENCE = "Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019, arXiv:1803.03635"
CONV2, CONV4, CONV6 = (ModelFactory(REFERENCE, partial(build, num_blocks=n)) for n in (1, 2, 3))
