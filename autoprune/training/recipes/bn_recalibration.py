"""Batch-norm recalibration: statistics of the net as it is now."""

from __future__ import annotations

import torch
from torch import nn

from autoprune.core.seeds import torch_stream
from autoprune.data.base import Split
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="bn_recalibration",
    reference="Li et al. (EagleEye), ECCV 2020, arXiv 2007.02491",
    description="estimates batch norm's running statistics anew on training images after the last "
    "step; does nothing in a net without batch norm",
    space={"bn_recalibration": [False, True]},
)


def recalibrate(model: nn.Module, split: Split, batch_size: int, num_batches: int) -> None:
    """Estimate the running statistics of every batch norm anew; nothing else changes.

    Parameters
    ----------
    model : nn.Module
        Its batch norms' buffers are changed in place.
    split : Split
        Where images are drawn from, without augmentation and always in the same order.
    batch_size, num_batches : int
        How many images at a time, and how many times at most; a ragged last batch is left out.

    Notes
    -----
    The mean over batches, not an exponential average: only batch norm is in train mode, so
    dropout draws nothing.

    References
    ----------
    .. [1] B. Li, B. Wu, J. Su, G. Wang, "EagleEye: Fast Sub-net Evaluation for Efficient Neural
       Network Pruning", ECCV 2020, arXiv 2007.02491 (adaptive batch normalisation).
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    whole = max(1, min(num_batches, split.size // batch_size)) * batch_size
    order = torch.randperm(split.size, generator=torch_stream(0, "recalibrate"))[:whole]
    device = next(model.parameters()).device
    with torch.no_grad():
        for inputs, _ in split.batches(batch_size, order=order):
            model(inputs.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
