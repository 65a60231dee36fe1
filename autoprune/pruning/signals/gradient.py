"""The loss gradient on a scoring batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.pruning.signals.base import Scorable, balanced_sample
from autoprune.pruning.signals.norms import revive_norms
from autoprune.pruning.view import UnitGroup

PER_CLASS = 10
CHUNK = 250


def gradient(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return dL/dw of every parameter in eval mode, float64, for a class-balanced batch.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data and loss.
    groups : tuple of UnitGroup
        Not read.
    seed : int
        Root of the stream ``score``, which draws ten examples per class.

    Returns
    -------
    dict of str to Tensor
        Parameter name to its gradient, on the CPU; zeros where the loss does not reach.

    Notes
    -----
    Mean loss over the whole batch, summed up in chunks. Batch norm uses its running statistics.
    Deviation: a batch norm whose scales are all 0, as many libraries initialise the last one of a
    residual block, is given scales of 1, without which the whole block would have no gradient
    (card pruning_at_init, g).
    """
    model.double().eval().requires_grad_(True)
    revive_norms(model)
    device = next(model.parameters()).device
    chosen = balanced_sample(task.data.train.targets, PER_CLASS, seed)
    for inputs, targets in task.data.train.batches(CHUNK, order=chosen):
        loss = task.loss(model(inputs.to(device, torch.float64)), targets.to(device))
        (loss * (len(targets) / len(chosen))).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    return {
        name: (torch.zeros_like(value) if value.grad is None else value.grad).cpu()
        for name, value in model.named_parameters()
    }
