"""Multiply-adds: measured from the operations that run, and worked out layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's own mode is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Run attention as visible operations: no fast path, no fused kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Count the multiply-adds of one input: half the flops of the matrix products that run.

    Parameters
    ----------
    example : Tensor ``(B, ...)``
        Inputs on the model's device; the count is per input, so B may be any number >= 1.

    Returns
    -------
    int
        Multiply-adds (one multiplication and one addition count 1) of convolutions, linear
        layers and attention's products; norms and activations count 0.
    """
    with inference(model):
        return count_run(model, example)


def count_run(run: Callable[[Tensor], Any], example: Tensor) -> int:
    """Count the multiply-adds that anything does for one input, as `count_macs` does for a model.

    Parameters
    ----------
    run : callable
        Takes the inputs, such as an exported program's module.
    example : Tensor ``(B, ...)``
        Inputs.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _plain_attention(), counter:
        run(example)
    return counter.get_total_flops() // 2 // len(example)


def layer_macs(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Work out the multiply-adds of one input in each prunable weight.

    A convolution does one per weight and output position, a linear layer one per weight and
    token; a weight used several times adds up under its first name.

    Returns
    -------
    dict of str to int
        Parameter name to multiply-adds; a weight that never ran is absent.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, int] = {}

    def hook(module: Any, inputs: Any, kwargs: Any, output: Any) -> None:
        named = [kwargs[k] for k in ("input", "query", "key", "value") if k in kwargs]
        for weight, macs in _module_macs(module, [*inputs, *named], output):
            if (name := names.get(id(weight))) is not None:
                found[name] = found.get(name, 0) + macs // len(example)

    with ExitStack() as stack, inference(model), _plain_attention():
        for module in model.modules():
            if isinstance(module, (_ConvNd, nn.Linear, nn.MultiheadAttention)):
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        model(example)
    return found


def _module_macs(module: nn.Module, inputs: list[Any], output: Any) -> list[tuple[Tensor, int]]:
    """Return a module's weights with the multiply-adds of the whole batch."""
    if isinstance(module, nn.Linear):
        return [(module.weight, output.numel() * module.in_features)]
    if isinstance(module, _ConvNd):
        # A transposed convolution applies each weight once per input position, not per output.
        grid = inputs[0] if isinstance(module, _ConvTransposeNd) else output
        dims = len(module.kernel_size)
        batch = output.shape[0] if output.dim() == dims + 2 else 1
        return [(module.weight, module.weight.numel() * prod(grid.shape[-dims:]) * batch)]
    assert isinstance(module, nn.MultiheadAttention)
    return _attention_macs(module, inputs)


def _attention_macs(module: nn.MultiheadAttention, inputs: list[Any]) -> list[tuple[Tensor, int]]:
    """Projections only: one multiply-add per weight and token of what it projects."""
    query, key, value = (tensor.numel() // tensor.shape[-1] for tensor in inputs[:3])
    out = (module.out_proj.weight, module.out_proj.weight.numel() * query)
    if module.in_proj_weight is not None:
        # Three square matrices stacked: one each for queries, keys and values.
        return [(module.in_proj_weight, module.embed_dim**2 * (query + key + value)), out]
    pairs = (
        (module.q_proj_weight, query),
        (module.k_proj_weight, key),
        (module.v_proj_weight, value),
    )
    return [*((weight, weight.numel() * tokens) for weight, tokens in pairs), out]
