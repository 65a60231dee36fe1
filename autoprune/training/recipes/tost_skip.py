"""Ghost skips: dense branches beside the layers of a sparse net that fade out in training.

A layer's output becomes ``out + gain * norm(project(x))`` with a 1x1 convolution of the layer's
stride (a matrix for linear layers) and a batch norm of its own; the gain falls linearly from 1.
When it is 0 the branches are deleted, with their part of the optimiser.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autoprune.core.errors import TaskError
from autoprune.core.seeds import torch_stream
from autoprune.metrics.layers import prunable_parameters
from autoprune.metrics.macs import inference
from autoprune.pruning.low_rank import bn_of
from autoprune.training.events import Event, LoopState

MOMENTUM, EPS = 0.1, 1e-5
CONVOLVE: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def gain_at(progress: float, share: float) -> float:
    """Return the gain at `progress`: linear from 1, 0 from `share` on."""
    return max(0.0, 1.0 - progress / share)


class Ghost(nn.Module):
    """A branch beside one layer; never a part of the model.

    Parameters
    ----------
    layer : nn.Module
        A convolution or a linear layer, on the device where the branch shall live.
    generator : torch.Generator
        Draws the projection by He's normal rule, on the CPU.
    """

    def __init__(self, layer: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        weight = layer.get_parameter("weight")
        out, inner = weight.shape[:2]
        drawn = torch.randn(out, inner, generator=generator) * math.sqrt(2 / inner)
        self.stride = layer.stride if isinstance(layer, _ConvNd) else None
        shape = (out, inner, *(1 for _ in weight.shape[2:]))
        self.weight = nn.Parameter(drawn.reshape(shape).to(weight.device))
        self.scale = nn.Parameter(torch.ones(out, device=weight.device))
        self.shift = nn.Parameter(torch.zeros(out, device=weight.device))
        self.register_buffer("mean", torch.zeros(out, device=weight.device))
        self.register_buffer("variance", torch.ones(out, device=weight.device))

    def forward(self, inputs: Tensor, training: bool) -> Tensor:
        """Project and normalise, by the batch's statistics in training, else by the running ones.

        A batch with one value per channel has no spread; it is normalised as in evaluation.
        """
        values = self.project(inputs)
        channels = values.shape[1] if self.stride is not None else values.shape[-1]
        rows = values if self.stride is not None else values.reshape(-1, channels)
        normed = F.batch_norm(
            rows,
            self.get_buffer("mean"),
            self.get_buffer("variance"),
            self.scale,
            self.shift,
            training and rows.numel() > channels,
            MOMENTUM,
            EPS,
        )
        return normed.reshape(values.shape)

    def project(self, inputs: Tensor) -> Tensor:
        """Return the branch before its norm."""
        values = inputs.to(self.weight.dtype)
        if self.stride is None:
            return F.linear(values, self.weight)
        projected: Tensor = CONVOLVE[len(self.stride)](values, self.weight, stride=self.stride)
        return projected


class GhostSkips:
    """Adds ghosts over the first `share` of training, and deletes them after it.

    Parameters
    ----------
    share : float
        Share of training over which ghosts act, in (0, 1).
    seed : int
        Root of the stream ``<label>/tost_skip``, one per layer.

    Notes
    -----
    A ghost's output is added behind the batch norm that alone reads the layer, else right behind
    the layer: in a basic residual block that is the released form. Grouped and transposed
    convolutions get none, nor does a layer whose output has another shape than a 1x1 convolution
    of its stride gives, nor the last layer to run: there is nothing to skip to from the logits.

    Deviation: the released code draws constant weights of 1e-4, which the norm blows up to equal
    channels of full size; here they are He's. It keeps ghosts for good at a gain of 1; how the
    paper anneals could not be read again, so the linear fall is this package's own.

    References
    ----------
    .. [1] A. Jaiswal, H. Ma, T. Chen, Y. Ding, Z. Wang, "Training Your Sparse Neural Network
       Better with Any Mask", ICML 2022, arXiv 2206.12755.
    """

    def __init__(self, share: float, seed: int) -> None:
        self.share, self.seed = share, seed
        self.gain = 1.0
        self.ghosts: dict[str, Ghost] = {}
        self._inputs: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        self._groups: list[dict[str, Any]] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Attach before the first step, fade after each, delete when the share is over."""
        if event is Event.FIT_START:
            loop.undo.callback(self.detach, loop)
        elif event is Event.BEFORE_LOSS and not self._hooks and loop.progress < self.share:
            self.gain = gain_at(loop.progress, self.share)
            self.attach(loop)
        elif event is Event.AFTER_STEP:
            self.gain = gain_at(loop.progress, self.share)
            if self.gain == 0.0:
                self.detach(loop)
        elif event is Event.FIT_END:
            self.detach(loop)

    def attach(self, loop: LoopState) -> None:
        """Make the ghosts, hang them beside their layers and give them to the optimiser.

        Raises
        ------
        TaskError
            If no layer can have one.
        """
        example = loop.inputs[:2]
        self.ghosts, loop.ghost_macs = build_ghosts(loop.model, example, self.seed, loop.label)
        if not self.ghosts:
            raise TaskError("the model", "must have a hidden layer for recipe 'tost_skip' to skip")
        norms = bn_of(loop.model, example)
        for name, ghost in self.ghosts.items():
            layer = loop.model.get_submodule(name)
            after = loop.model.get_submodule(norms.get(f"{name}.weight", name))
            read = layer.register_forward_pre_hook(partial(self._read, name), with_kwargs=True)
            self._hooks += [read, after.register_forward_hook(partial(self._add, name, ghost))]
        decay = max(group["weight_decay"] for group in loop.optimizer.param_groups)
        ghosts = self.ghosts.values()
        self._groups = [
            {"params": [g.weight for g in ghosts], "weight_decay": decay, "lr": loop.lr},
            {
                "params": [p for g in ghosts for p in (g.scale, g.shift)],
                "weight_decay": 0.0,
                "lr": loop.lr,
            },
        ]
        for group in self._groups:
            loop.optimizer.add_param_group(group)

    def detach(self, loop: LoopState) -> None:
        """Delete the ghosts: from the model, the optimiser and the accounts."""
        for hook in self._hooks:
            hook.remove()
        mine = [id(group) for group in self._groups]
        groups = loop.optimizer.param_groups
        groups[:] = [group for group in groups if id(group) not in mine]
        for group in self._groups:
            for parameter in group["params"]:
                loop.optimizer.state.pop(parameter, None)
        self._hooks, self._groups = [], []
        self._inputs, self.ghosts, loop.ghost_macs = {}, {}, 0.0

    def _read(self, name: str, _: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self._inputs[name] = args[0] if args else kwargs["input"]

    def _add(self, name: str, ghost: Ghost, module: nn.Module, _: Any, output: Tensor) -> Tensor:
        inputs = self._inputs.pop(name, None)
        if inputs is None:  # a norm that several layers share, run behind another one
            return output
        branch: Tensor = ghost(inputs, module.training)
        return output + (self.gain * branch).to(output.dtype)


def build_ghosts(
    model: nn.Module, example: Tensor, seed: int, label: str
) -> tuple[dict[str, Ghost], float]:
    """Make a ghost for every layer that can have one.

    Parameters
    ----------
    example : Tensor ``(B, ...)``
        Inputs the model is run on once, in eval mode, to see the layers' shapes.
    seed, label
        Root and name of the streams that draw the projections.

    Returns
    -------
    dict of str to Ghost
        By the layer's module name, in the order in which they run.
    float
        Multiply-adds that they add to one image's forward pass.
    """
    runs = watch_layers(model, example)
    ghosts, macs = {}, 0.0
    for name, (layer, inputs, shape) in list(runs.items())[:-1]:
        if isinstance(layer, _ConvTransposeNd) or getattr(layer, "groups", 1) > 1:
            continue
        ghost = Ghost(layer, torch_stream(seed, label, "tost_skip", name))
        with torch.no_grad():
            projected = ghost.project(inputs)
        if projected.shape == shape:
            ghosts[name] = ghost
            positions = projected.numel() / ghost.weight.shape[0] / len(example)
            macs += ghost.weight.numel() * positions
    return ghosts, macs


def watch_layers(
    model: nn.Module, example: Tensor
) -> dict[str, tuple[nn.Module, Tensor, torch.Size]]:
    """Return the convolutions and linear layers, with their input and their output's shape.

    In the order in which they run; a layer that runs twice is told of once.
    """
    found: dict[str, tuple[nn.Module, Tensor, torch.Size]] = {}

    def note(name: str, layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        found.setdefault(name, (layer, args[0] if args else kwargs["input"], output.shape))

    hooks = []
    try:
        for weight, kind in prunable_parameters(model)[0].items():
            name = weight.rpartition(".")[0]
            layer = model.get_submodule(name)
            if kind != "attention":
                hook = partial(note, name)
                hooks.append(layer.register_forward_hook(hook, with_kwargs=True))
        with inference(model):
            model(example)
    finally:
        for handle in hooks:
            handle.remove()
    return found
