"""How often the right class is among the k best outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.data.base import Split
from autoprune.metrics.macs import inference


def num_in_top(outputs: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return how many targets are among the k greatest outputs.

    Parameters
    ----------
    outputs : Tensor ``(B, classes)``
        Logits, or anything of their order.
    targets : Tensor ``(B,)`` of int64
        Class numbers.
    k : int
        At least 1; every target counts where there are no more classes.

    Returns
    -------
    Tensor ``()`` of int64
        The count.
    """
    right = targets.unsqueeze(1)
    own = outputs.gather(1, right)
    # NaN is ahead of everything, so that a net that answers NaN is right about nothing.
    ahead = ~(outputs <= own)
    # Tie-break: the lower class number, as argmax does.
    ahead |= (outputs == own) & (torch.arange(outputs.shape[1], device=outputs.device) < right)
    ahead.scatter_(1, right, value=False)
    return (ahead.sum(dim=1) < k).sum()


def top_accuracy(model: nn.Module, split: Split, k: int, batch_size: int = 1024) -> float:
    """Return the fraction of a split's examples whose class is among the k greatest outputs.

    Parameters
    ----------
    model : nn.Module
        On the split's device; it runs in eval mode, and its mode is put back.
    k : int
        At least 1; the fraction is 1 where there are no more classes.
    batch_size : int
        Inputs per forward pass, at least 1; batches count by their examples.
    """
    found = torch.zeros((), dtype=torch.int64)
    with inference(model):
        for inputs, targets in split.batches(batch_size):
            found = num_in_top(model(inputs), targets, k) + found.to(targets.device)
    return found.item() / split.size
