"""The registry of our own models; torch-free.

Every timm and torchvision model is known by its name as well, see `autoprune.models.build`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.core.registry import Registry

if TYPE_CHECKING:
    from autoprune.models.base import ModelFactory

MODELS: Registry[ModelFactory] = Registry(
    "model",
    "autoprune.models",
    {
        "mlp": "autoprune.models.lenet300:MLP",
        "lenet300": "autoprune.models.lenet300:LENET300",
        "conv2": "autoprune.models.conv:CONV2",
        "conv4": "autoprune.models.conv:CONV4",
        "conv6": "autoprune.models.conv:CONV6",
        "resnet20": "autoprune.models.resnet:RESNET20",
        "resnet32": "autoprune.models.resnet:RESNET32",
        "resnet56": "autoprune.models.resnet:RESNET56",
        "vgg16_bn": "autoprune.models.vgg:VGG16_BN",
    },
)
