"""The hyperplanes on which units switch, with the batch norms behind them folded in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.signals.base import Scorable
from autoprune.pruning.view import UnitGroup


def hyperplanes(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return the normal and the offset of each unit's hyperplane ``<w, x> + b = 0``.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data; the first training image is passed.
    groups : tuple of UnitGroup
        The removable units.
    seed : int
        Not read.

    Returns
    -------
    dict of str to Tensor
        Name of a weight that makes up units to a float64 matrix ``(out, fan_in + 1)`` on the CPU,
        the offset last.

    Notes
    -----
    A batch norm that reads a layer's output as it is belongs to the layer (card spline, c2)::

        w <- (gamma / sigma) w        b <- beta + (gamma / sigma) (b - mu)

    Which one does is seen from one image: names and the order of a group's members do not tell
    where residual branches meet. A norm without running statistics is not folded. Grouped
    convolutions are left out beside others of their group: kernels of a few entries are alike by
    chance (card spline, g).
    """
    model.double().eval().requires_grad_(False)
    layers = {name: model.get_submodule(_path(name)) for name in _made_of(model, groups)}
    norms = _norms_behind(model, {_path(name) for name in layers}, task)
    return {name: _plane(layer, norms.get(_path(name))).cpu() for name, layer in layers.items()}


def _path(name: str) -> str:
    return name.rpartition(".")[0]


def _made_of(model: nn.Module, groups: Iterable[UnitGroup]) -> list[str]:
    """Return the weights that units are made of, in model order."""
    prunable = prunable_parameters(model)[0]
    chosen: set[str] = set()
    for group in groups:
        names = {m.name for m in group.members if m.role == "out" and m.name in prunable}
        whole = {n for n in names if getattr(model.get_submodule(_path(n)), "groups", 1) == 1}
        chosen |= whole or names
    return [name for name in prunable if name in chosen]


def _norms_behind(model: nn.Module, paths: set[str], task: Scorable) -> dict[str, _BatchNorm]:
    """Pass one image, and see which batch norm is given which layer's output."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensors live on, so no id comes twice
    behind: dict[str, _BatchNorm] = {}

    def note(_: nn.Module, __: Any, output: Tensor, *, path: str) -> None:
        made[id(output)] = (path, output)

    def look(norm: nn.Module, args: tuple[Any, ...], *, batch_norm: _BatchNorm) -> None:
        if args and id(args[0]) in made:
            behind.setdefault(made[id(args[0])][0], batch_norm)

    for path, module in model.named_modules():
        if path in paths:
            module.register_forward_hook(partial(note, path=path))
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(partial(look, batch_norm=module))
    image, _ = next(iter(task.data.train.batches(1, order=torch.zeros(1, dtype=torch.int64))))
    with torch.no_grad():
        model(image.to(next(model.parameters()).device, torch.float64))
    return behind


def _plane(layer: nn.Module, norm: _BatchNorm | None) -> Tensor:
    """Return a layer's rows with their offsets, as the norm turns them."""
    weight: Tensor = layer.weight.flatten(1)  # type: ignore[operator] # a linear layer or convolution
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
    assert isinstance(bias, Tensor), "a layer's bias is a tensor or None"
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        scale = (norm.running_var + norm.eps).rsqrt()
        shift = torch.zeros_like(scale)
        if norm.affine:
            scale, shift = scale * norm.weight, norm.bias
        weight, bias = weight * scale[:, None], shift + scale * (bias - norm.running_mean)
    return torch.cat([weight, bias[:, None]], dim=1)
