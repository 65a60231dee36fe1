"""Cutout: hide a random square of every image."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.core.seeds import torch_stream
from autoprune.training.events import Event, LoopState
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="cutout",
    reference="DeVries & Taylor, arXiv 1708.04552",
    description="hides a square of so many pixels a side; about half the image's side on CIFAR-10, "
    "less on CIFAR-100; pointless on centred digits",
    space={"cutout": [0, 8]},
)


def cut_out(inputs: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Set a square of each image to 0, the mean colour of normalised images.

    Parameters
    ----------
    inputs : Tensor ``(B, C, H, W)``
        Images; left as they are.
    size : int
        Side of the square in pixels, >= 0. Its centre may be any pixel, so part of the square
        can lie outside.
    generator : torch.Generator
        Draws the centres, on the CPU.

    Returns
    -------
    Tensor ``(B, C, H, W)``
        New images.
    """
    count, _, height, width = inputs.shape

    def band(length: int) -> Tensor:
        centre = torch.randint(0, length, (count, 1), generator=generator)
        start = centre - size // 2
        pixel = torch.arange(length)
        return (pixel >= start) & (pixel < start + size)

    rows, columns = band(height), band(width)
    square = rows[:, None, :, None] & columns[:, None, None, :]
    return inputs.masked_fill(square.to(inputs.device), 0.0)


class Cutout:
    """Hides a square of every training image, another one at every step.

    Parameters
    ----------
    size : int
        Side in pixels, >= 1.
    seed : int
        Root of the stream ``<label>/cutout``, one per step.

    References
    ----------
    .. [1] T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with
       Cutout", arXiv 1708.04552.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def on(self, event: Event, loop: LoopState) -> None:
        """Replace the inputs before the forward pass."""
        if event is Event.BEFORE_LOSS:
            stream = torch_stream(self.seed, loop.label, "cutout", loop.step)
            loop.inputs = cut_out(loop.inputs, self.size, stream)
