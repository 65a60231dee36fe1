"""Layer-wise re-scaled initialisation: GradInit on a net that is already masked.

Each parameter tensor gets one scale. Step by step, the scales descend the loss after one masked
look-ahead step of SGD; where the gradient's norm exceeds its bound, they descend that norm
instead. Adam moves them. Directions, masks and zeros stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.core.seeds import torch_stream

if TYPE_CHECKING:
    from autoprune.data.base import Split

BOUND = 1.0
RATE, FIRST_DECAY, SECOND_DECAY, EPS, CLIP = 1e-2, 0.9, 0.999, 1e-8, 1.0
LEAST = 0.01

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Scales:
    """What was found.

    Parameters
    ----------
    values : dict
        Scale of each parameter that is not all zero, by name.
    bound_steps : int
        Steps that went down the gradient's norm, which was above its bound.
    images : int
        Images of each step's gradient; the look-ahead loss sees as many again.
    """

    values: dict[str, float]
    bound_steps: int
    images: int


class Objective:
    """What scales are judged by: the loss a step ahead, or the gradient's norm.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    loss : callable
        Outputs and targets to the mean loss of a batch.
    masks : mapping
        Bool masks by parameter name; a name that is absent is not masked.
    lr : float
        Length of the look-ahead step, > 0.
    bound : float
        Greatest gradient norm that is left alone, > 0.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        masks: Mapping[str, Tensor],
        *,
        lr: float,
        bound: float = BOUND,
    ) -> None:
        self.model, self.loss, self.lr, self.bound = frozen_statistics(model), loss, lr, bound
        named = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        self.masks = {n: masks[n].to(v.device, v.dtype) for n, v in named.items() if n in masks}
        self.start = {n: v * self.masks[n] if n in self.masks else v for n, v in named.items()}
        self.names = [name for name, value in self.start.items() if bool(value.any())]

    def __call__(self, scales: Tensor, batch: Batch, ahead: Batch) -> tuple[Tensor, bool]:
        """Return the objective, and whether it is the norm.

        Parameters
        ----------
        scales : Tensor ``(n,)``
            One per entry of `names`.
        batch, ahead : (inputs, targets)
            The batch of the gradient, and that of the loss after the step.
        """
        values = self._scaled(scales)
        names = list(values)
        loss = self._loss(values, batch)
        found = torch.autograd.grad(
            loss,
            list(values.values()),
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        slopes = {
            n: g * self.masks[n] if n in self.masks else g
            for n, g in zip(names, found, strict=True)
        }
        norm = torch.stack([slope.square().sum() for slope in slopes.values()]).sum().sqrt()
        if norm > self.bound:
            return norm, True
        length = self.lr / norm.detach().clamp_min(EPS)
        moved = {n: value - length * slopes[n].detach() for n, value in values.items()}
        return self._loss(moved, ahead) / self.lr, False

    def _scaled(self, scales: Tensor) -> dict[str, Tensor]:
        factors = dict(zip(self.names, scales.unbind(), strict=True))
        return {
            name: factors[name] * value if name in factors else value.clone().requires_grad_()
            for name, value in self.start.items()
        }

    def _loss(self, values: Mapping[str, Tensor], batch: Batch) -> Tensor:
        inputs, targets = batch
        return self.loss(functional_call(self.model, dict(values), (inputs,)), targets)


class ScaleAdam:
    """Adam on the scales: a first moment for each kind of objective, one second moment.

    Parameters
    ----------
    least : Tensor ``(n,)``
        What no scale may fall below.
    """

    def __init__(self, least: Tensor) -> None:
        self.least = least
        self.scales = torch.ones_like(least).requires_grad_()
        self._first = {kind: torch.zeros_like(least) for kind in (True, False)}
        self._second = torch.zeros_like(least)
        self._counts = {True: 0, False: 0}

    def step(self, slope: Tensor, kind: bool) -> None:
        """Move against a slope, cut to [-1, 1], of the objective that `kind` names."""
        slope = slope.clamp(-CLIP, CLIP)
        self._counts[kind] += 1
        self._first[kind].lerp_(slope, 1 - FIRST_DECAY)
        self._second.lerp_(slope.square(), 1 - SECOND_DECAY)
        first = self._first[kind] / (1 - FIRST_DECAY ** self._counts[kind])
        second = self._second / (1 - SECOND_DECAY ** sum(self._counts.values()))
        with torch.no_grad():
            moved = self.scales - RATE * first / (second.sqrt() + EPS)
            self.scales.copy_(torch.maximum(moved, self.least))


def find_scales(
    model: nn.Module,
    split: Split,
    loss: Loss,
    masks: Mapping[str, Tensor],
    *,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
    label: str,
) -> Scales:
    """Fit the scales; the model stays as it is.

    Parameters
    ----------
    model : nn.Module
        At the start of its training.
    split : Split
        Where images are drawn from, without augmentation.
    masks : mapping
        Bool masks by parameter name.
    steps : int
        Adam's steps; 0 leaves every scale at 1.
    lr : float
        Length of the look-ahead step: the training's learning rate.
    batch_size : int
        Of the training. A step draws three batches (a third of the split each, where that is
        less): two for the gradient, the first and the third for the loss ahead.
    seed, label
        Root and name of the streams that draw the batches, one per step.

    Notes
    -----
    ``d objective / d s`` is taken through ``s * theta_0`` directly. Dropout is off, batch norm
    uses each batch's own statistics and records none.

    Deviation: the mask acts on the gradient, and so on its norm and on the look-ahead step; the
    released code looks ahead with a dense net, which is not the one that is trained. The step is
    that of normalised SGD whatever optimiser trains.

    References
    ----------
    .. [1] C. Zhu, R. Ni, Z. Xu, K. Kong, W. R. Huang, T. Goldstein, "GradInit: Learning to
       Initialize Neural Networks for Stable and Efficient Training", NeurIPS 2021,
       arXiv 2102.08098.
    .. [2] A. Jaiswal, H. Ma, T. Chen, Y. Ding, Z. Wang, "Training Your Sparse Neural Network
       Better with Any Mask", ICML 2022, arXiv 2206.12755.
    """
    objective = Objective(copy.deepcopy(model), loss, masks, lr=lr)
    device = next(model.parameters()).device
    least = [0.0 if name.endswith("bias") else LEAST for name in objective.names]
    adam = ScaleAdam(torch.tensor(least, device=device))
    size = max(1, min(batch_size, split.size // 3))
    bound_steps = 0
    for step in range(steps):
        stream = torch_stream(seed, label, "tost_rescale", step)
        first, second, third = draw(split, size, stream, device)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            value, bounded = objective(adam.scales, join(first, second), join(first, third))
            (slope,) = torch.autograd.grad(value, adam.scales)
        if not bool(slope.isfinite().all()):
            break  # the net overflows as it is: the scales so far are the last that mean anything
        adam.step(slope, bounded)
        bound_steps += bounded
    values = dict(zip(objective.names, adam.scales.tolist(), strict=True))
    return Scales(values, bound_steps, 2 * size)


def draw(
    split: Split, size: int, generator: torch.Generator, device: torch.device
) -> Iterator[Batch]:
    """Draw three batches without a common image, as far as there are that many."""
    order = torch.randperm(split.size, generator=generator).repeat(3)[: 3 * size]
    for inputs, targets in split.batches(size, order=order):
        yield inputs.to(device), targets.to(device)


def join(one: Batch, other: Batch) -> Batch:
    """Return both batches as one."""
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])


def frozen_statistics(model: nn.Module) -> nn.Module:
    """Put a model into eval mode, but for batch norms, which use batches and record nothing."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.training, module.track_running_stats = True, False
    return model
