"""Which tensors of a model are prunable."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from autoprune.core.records import LayerInfo
from autoprune.metrics.macs import inference, layer_macs

logger = logging.getLogger(__name__)

Kind = Literal["conv", "linear", "attention"]

_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def prunable_parameters(model: nn.Module) -> tuple[dict[str, Kind], list[str]]:
    """Find the weights of convolutions, linear layers and attention's in-projections.

    Biases, norms, embeddings and layers that compute nothing prunable are left out.

    Returns
    -------
    dict of str to str
        Parameter name to kind, in model order; a tied weight once, under its first name.
    list of str
        The further names of tied weights.
    """
    owners: dict[int, str] = {}
    found: dict[str, Kind] = {}
    tied: list[str] = []
    for prefix, module in model.named_modules():
        for attribute, kind in _candidates(module):
            weight = getattr(module, attribute, None)
            if not isinstance(weight, nn.Parameter):
                continue
            name = f"{prefix}.{attribute}" if prefix else attribute
            if owners.setdefault(id(weight), name) == name:
                found[name] = kind
            else:
                tied.append(name)
    return found, tied


def _candidates(module: nn.Module) -> list[tuple[str, Kind]]:
    if isinstance(module, _ConvNd):
        return [("weight", "conv")]
    if isinstance(module, nn.Linear):
        return [("weight", "linear")]
    if isinstance(module, nn.MultiheadAttention):
        return [(name, "attention") for name in _PROJECTIONS]
    return []


def prunable_layers(model: nn.Module, example: Tensor) -> tuple[LayerInfo, ...]:
    """Describe every prunable weight, in model order.

    Parameters
    ----------
    example : Tensor ``(B, ...)``
        Inputs the model is run on once, in eval mode, to count multiply-adds per input.
    """
    found, tied = prunable_parameters(model)
    if tied:
        logger.warning("tied weights are counted and pruned once: %s", ", ".join(tied))
    macs = layer_macs(model, example)
    last = output_weights(model, example, found)
    parameters = dict(model.named_parameters())
    return tuple(
        LayerInfo(name, tuple(parameters[name].shape), kind, macs.get(name, 0), name in last)
        for name, kind in found.items()
    )


def output_weights(model: nn.Module, example: Tensor, names: Collection[str]) -> set[str]:
    """Return the weights behind which no other weight comes before the model's outputs.

    There are several where outputs are a sum (two heads, a shortcut to the logits).

    Parameters
    ----------
    example : Tensor ``(B, ...)``
        Inputs the model is run on once, in eval mode, to record the graph of its gradient.
    names : collection of str
        The weights that count.

    Returns
    -------
    set of str
        The last of `names` alone where the outputs have no gradient.
    """
    parameters = [(name, p) for name, p in model.named_parameters() if name in set(names)]
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    with inference(model), torch.enable_grad():
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            outputs = model(example)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
    owners = {id(parameter): name for name, parameter in parameters}
    found: set[str] = set()
    seen: set[Any] = set()
    ahead = [getattr(outputs, "grad_fn", None)]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        before = [parent for parent, _ in node.next_functions]
        here = {owners[id(leaf)] for leaf in map(_leaf, before) if id(leaf) in owners}
        found |= here
        ahead += [] if here else before
    return found or {name for name, _ in parameters[-1:]}


def _leaf(node: Any) -> Tensor | None:
    """Return the parameter that a chain of views and transposes begins with."""
    while node is not None and not hasattr(node, "variable"):
        before = node.next_functions
        node = before[0][0] if len(before) == 1 else None
    return None if node is None else node.variable


def relu_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules that rectify as `nn.ReLU` does, in model order."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.ReLU) and type(module).forward is nn.ReLU.forward
    ]


def runs_relu_modules(model: nn.Module, example: Tensor) -> bool:
    """Say whether a forward pass goes through a ReLU that is a module, not a function."""
    ran: list[nn.Module] = []
    with ExitStack() as stack, inference(model):
        for module in relu_modules(model):
            hook = module.register_forward_hook(lambda found, *_: ran.append(found))
            stack.callback(hook.remove)
        model(example)
    return bool(ran)
