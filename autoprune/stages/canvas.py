"""The partition of the input space on a slice through it, and how far it moves (card spline, c3).

Inputs are a grid of mixtures of two training images of different classes. Of each the sign of
every batch norm's output is kept, as one bit: which side of each unit's hyperplane it lies on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.core.seeds import torch_stream

if TYPE_CHECKING:
    from autoprune.stages.base import RunContext
    from autoprune.training.task import Task

BATCH = 256

Bits = np.ndarray[Any, np.dtype[np.uint8]]

Partition = dict[str, tuple[Bits, int]]
"""Layer to its packed signs, and how many they are."""


def canvas(task: Task, side: int, seed: int) -> Tensor:
    """Return ``a x0 + b x1`` for a and b on a grid over [0, 1], two training images of two classes.

    Parameters
    ----------
    side : int
        Steps of the grid along each side, >= 2.
    seed : int
        Root of the stream that draws the images.

    Returns
    -------
    Tensor ``(side ** 2, ...)``
        Inputs.
    """
    train = task.data.train
    order = torch.randperm(train.size, generator=torch_stream(seed, "canvas"))
    inputs, targets = next(iter(train.batches(min(BATCH, train.size), order=order)))
    others = (targets != targets[0]).nonzero().flatten()
    other = int(others[0]) if len(others) else len(targets) - 1
    steps = torch.linspace(0.0, 1.0, side, device=inputs.device)
    shape = (-1, *[1] * (inputs.dim() - 1))
    a, b = steps.repeat_interleave(side).reshape(shape), steps.repeat(side).reshape(shape)
    return a * inputs[:1] + b * inputs[other : other + 1]


def partition_of(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> Partition:
    """Return the signs of every batch norm's outputs; without norms, of the layers' own.

    Parameters
    ----------
    model : nn.Module
        Read in eval mode, and left in the mode it was in.
    inputs : Tensor
        The canvas.
    layers : sequence of str
        Weights whose outputs are units: all but what makes the model's outputs.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    paths = norms or [name.rpartition(".")[0] for name in layers]
    found: dict[str, list[Bits]] = {path: [] for path in paths}
    sizes = dict.fromkeys(paths, 0)

    def note(_: nn.Module, __: Any, output: Tensor, *, path: str) -> None:
        signs = (output > 0).flatten().cpu().numpy()
        found[path].append(np.packbits(signs))
        sizes[path] += signs.size

    handles = [
        model.get_submodule(path).register_forward_hook(partial(note, path=path)) for path in paths
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in torch.split(inputs, BATCH):
                model(batch)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return {path: (np.concatenate(found[path]), sizes[path]) for path in paths if found[path]}


def partition_distance(one: Partition, other: Partition) -> float:
    """Return the share of signs that differ, the mean over layers.

    Examples
    --------
    >>> bits = [np.packbits(np.array(row, dtype=bool)) for row in ([1, 1, 0, 0], [1, 0, 0, 0])]
    >>> partition_distance({"a": (bits[0], 4)}, {"a": (bits[1], 4)})
    0.25
    """
    shares = [
        int(np.unpackbits(np.bitwise_xor(bits, other[path][0])).sum()) / size
        for path, (bits, size) in one.items()
    ]
    return float(np.mean(shares))


def look(weights: Mapping[str, Tensor], inputs: Tensor, context: RunContext) -> Partition:
    """Return the partition of the worker's model with the given weights."""
    model = context.model
    model.load_state_dict(weights)
    device = next(model.parameters()).device
    names = [layer.name for layer in context.task.info.layers if not layer.output]
    return partition_of(model, inputs.to(device), names)
