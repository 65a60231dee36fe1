"""Augmentation of whole batches, drawn from one generator."""

from __future__ import annotations

import torch
from torch import Tensor


def random_crop_flip(inputs: Tensor, black: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its side, and mirror half of them.

    Parameters
    ----------
    inputs : Tensor ``(B, C, H, W)``
        Normalised images (a side of 32 is padded by 4, the usual choice for CIFAR).
    black : Tensor ``(C, 1, 1)``
        The colour of the padding.
    generator : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor ``(B, C, H, W)``
        New images; the inputs are left as they are.
    """
    count, channels, height, width = inputs.shape
    pad = max(1, height // 8)
    canvas = black.expand(count, channels, height + 2 * pad, width + 2 * pad).clone()
    canvas[:, :, pad : pad + height, pad : pad + width] = inputs
    shifts = torch.randint(0, 2 * pad + 1, (2, count), generator=generator, device=generator.device)
    flips = torch.rand(count, generator=generator, device=generator.device) < 0.5
    down, right = shifts.to(inputs.device)
    windows = canvas.unfold(2, height, 1).unfold(3, width, 1)
    cropped = windows[torch.arange(count, device=inputs.device), :, down, right]
    return torch.where(flips.to(inputs.device)[:, None, None, None], cropped.flip(3), cropped)
