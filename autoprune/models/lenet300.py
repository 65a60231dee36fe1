"""LeNet-300-100: two hidden layers, any input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoprune.models.base import ModelFactory, scaled

if TYPE_CHECKING:
    from torch import nn


def build(num_classes: int, input_shape: tuple[int, ...], width: float) -> nn.Module:
    """Build in-300-100-classes with ReLU, weights drawn by Glorot's normal rule."""
    from collections import OrderedDict

    from torch import nn

    from autoprune.models.init import glorot_normal

    sizes = [math.prod(input_shape), scaled(300, width), scaled(100, width), num_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number in (1, 2, 3):
        layers[f"fc{number}"] = nn.Linear(sizes[number - 1], sizes[number])
        if number < 3:
            layers[f"relu{number}"] = nn.ReLU()
    return glorot_normal(nn.Sequential(layers))


REFERENCE = "LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998 (LeNet-300-100)"
LENET300 = ModelFactory(REFERENCE, build, kind="mlp")
MLP = ModelFactory(f"in-300-100-classes; {REFERENCE}", build, kind="mlp")
