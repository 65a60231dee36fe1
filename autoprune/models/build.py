"""Build a model by name: ours, timm's, or torchvision's."""

from __future__ import annotations

from typing import Any

from torch import nn

from autoprune.core.errors import ConfigError, unknown_name
from autoprune.models.registry import MODELS


def build_model(
    name: str, num_classes: int, input_shape: tuple[int, ...], width: float = 1.0
) -> nn.Module:
    """Build a fresh model in train mode on the CPU.

    Parameters
    ----------
    name : str
        One of ours first, then timm's, then torchvision's.
    input_shape : tuple of int
        ``(C, H, W)``.
    width : float
        Width factor, > 0; for our own models only.

    Raises
    ------
    UnknownNameError
        If nobody knows the name.
    ConfigError
        If a width factor is asked of a model that is not ours.
    """
    if name in MODELS:
        return MODELS.get(name).build(num_classes, input_shape, width)
    if width != 1.0:
        raise ConfigError("task.width", "must be 1 for a model that is not AutoPrune's own", width)
    import timm
    import torchvision

    if timm.is_model(name):
        return _timm_model(name, num_classes, input_shape)
    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
        return model
    raise unknown_name("task.model", "model", name, {*MODELS, *timm.list_models(), *known})


def _timm_model(name: str, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Build timm's model, with the image size where its constructor takes one."""
    import timm

    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": input_shape[0]}
    model: nn.Module
    try:
        model = timm.create_model(name, pretrained=False, img_size=input_shape[1:], **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, pretrained=False, **options)
    return model
