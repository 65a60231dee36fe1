"""How large the inputs are that each weight multiplies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from autoprune.core.errors import TaskError
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.signals.base import Scorable, scoring_batches
from autoprune.pruning.view import UnitGroup

NUM_IMAGES = 1000
BATCH = 100


def input_rms(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return the root mean square of what each prunable weight multiplies.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data; up to 1,000 training images are passed, without augmentation.
    groups : tuple of UnitGroup
        Not read.
    seed : int
        Root of the stream ``score``, which draws the images.

    Returns
    -------
    dict of str to Tensor
        Prunable weight's name to a float64 tensor of its shape, on the CPU.

    Raises
    ------
    TaskError
        If a prunable weight does not belong to a linear layer or convolution called as a module.

    Notes
    -----
    Mean over images and output positions, where padding counts with what it pads. The sum of
    squares that a weight multiplies is the derivative, by that weight, of the layer's summed
    outputs on squared inputs: so stride, padding, dilation and groups are the layer's own.
    """
    model.double().eval().requires_grad_(False)
    names = list(prunable_parameters(model)[0])
    squares: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> None:
        layer = model.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, (nn.Linear, _ConvNd)):
            raise _unseen(name)
        weight = layer.weight.requires_grad_(True)
        width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels

        def add(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            values = args[0] if args else kwargs["input"]
            with torch.enable_grad():
                outputs = layer.forward(values.detach().square())
                (total,) = torch.autograd.grad(outputs.sum(), weight)
            squares[name] = squares.get(name, torch.zeros(())) + total.cpu()
            counts[name] = counts.get(name, 0) + outputs.numel() // width

        layer.register_forward_pre_hook(add, with_kwargs=True)

    for name in names:
        watch(name)
    device = next(model.parameters()).device
    with torch.no_grad():
        for inputs, _ in scoring_batches(task, seed, NUM_IMAGES, BATCH):
            model(inputs.to(device, torch.float64))
    for name in names:
        if name not in counts:
            raise _unseen(name)
    return {name: (squares[name] / counts[name]).sqrt() for name in names}


def _unseen(name: str) -> TaskError:
    return TaskError(
        f"the model's {name}",
        "must belong to a linear layer or a convolution that is called as a module, for a score "
        "that weighs connections by their inputs",
        remedy="use another rule, such as tail_tolerance",
    )
