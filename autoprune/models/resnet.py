"""ResNet-20, -32 and -56 in their CIFAR form."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from autoprune.models.base import ModelFactory

if TYPE_CHECKING:
    from torch import nn


def build(
    num_classes: int, input_shape: tuple[int, ...], width: float, *, num_blocks: int
) -> nn.Module:
    """Build a ResNet of ``6 * num_blocks + 2`` layers."""
    from autoprune.models.resnet_net import ResNet

    return ResNet(num_classes, input_shape[0], width, num_blocks)


REFERENCE = "He, Zhang, Ren, Sun, Deep Residual Learning, CVPR 2016, arXiv:1512.03385 (sec. 4.2)"
RESNET20, RESNET32, RESNET56 = (
    ModelFactory(REFERENCE, partial(build, num_blocks=n)) for n in (3, 5, 9)
)
